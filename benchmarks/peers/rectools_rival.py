"""RecTools' HSTU and SASRec on an event log, by the protocol of accuracy.py: what a Transformer reaches there.

    python -m venv rectools && rectools/bin/pip install "rectools[torch]==0.19.0"
    rectools/bin/python benchmarks/peers/rectools_rival.py ml-1m-timed-half.inter --model hstu --epochs 40

Runs in RecTools' own environment. Trains on all but the last two items of each user, validates on the one before the
last every --every epochs (the newest --window events, all items ranked, seen ones left out), and prints the test
figures of the epoch with the best validation NDCG@10. HSTU attends by the time between events and is told each
request's own time, as a server would be.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import HSTUModel, SASRecModel

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="RecBole's .inter: user, item and seconds, separated by tabs")
    parser.add_argument("--model", choices=("hstu", "sasrec"), default="hstu")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file for what is printed")
    arguments = parser.parse_args()
    found = train(arguments, read(arguments.log))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


def read(path: Path) -> pd.DataFrame:
    """Events in order, each with its place from its user's end on: 0 is tested, 1 validates."""
    log = pd.read_csv(path, sep="\t")
    log.columns = [name.partition(":")[0] for name in log.columns]
    names = {"user_id": Columns.User, "item_id": Columns.Item, "timestamp": Columns.Datetime}
    log = log.rename(columns=names)[list(names.values())].sort_values(
        [Columns.User, Columns.Datetime], kind="stable", ignore_index=True
    )
    log[Columns.Datetime] = pd.to_datetime(log[Columns.Datetime], unit="s")
    log[Columns.Weight] = 1
    sizes = log.groupby(Columns.User)[Columns.Item].transform("size")
    log["left"] = sizes - 1 - log.groupby(Columns.User).cumcount()
    log.loc[sizes < 3, "left"] = 2  # too short to be held out
    return log


def train(arguments: argparse.Namespace, log: pd.DataFrame) -> dict[str, Any]:
    """Figures on validation by epoch, and on test at the best."""
    pytorch_lightning.seed_everything(arguments.seed, verbose=False)
    kind = {"hstu": HSTUModel, "sasrec": SASRecModel}[arguments.model]
    model = kind(
        n_blocks=arguments.blocks,
        n_heads=arguments.heads,
        n_factors=arguments.dim,
        dropout_rate=arguments.dropout,
        session_max_len=arguments.window,
        batch_size=arguments.batch,
        loss="softmax",
    )
    history = Dataset.construct(log[log["left"] >= 2].drop(columns="left"))
    best: dict[str, Any] = {}
    done, begun = 0, time.monotonic()
    while done < arguments.epochs:
        model.fit_partial(history, min_epochs=arguments.every, max_epochs=arguments.every)
        done += arguments.every
        validation = figures(model, log, 1)
        line = {"epoch": done, "minutes": round((time.monotonic() - begun) / 60, 1), "validation": validation}
        if not best or validation["ndcg@10"] > best["validation"]["ndcg@10"]:
            best = {**line, "test": figures(model, log, 0)}
        print(json.dumps(line), flush=True)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("log", "out")}
    found = {"data": arguments.log.stem, **settings, "threads": torch.get_num_threads(), "trained": done, **best}
    print(json.dumps(found))
    return found


def figures(model: HSTUModel | SASRecModel, log: pd.DataFrame, left: int) -> dict[str, float]:
    """HR@10 and NDCG@10 of the events that so many follow, each asked for at its own time."""
    targets = log[log["left"] == left]
    users = targets[Columns.User].to_numpy()
    asked: dict[str, Any] = {}
    if model.require_recommend_context:
        asked["context"] = targets[[Columns.User, Columns.Datetime, Columns.Weight]].copy()
    lists = model.recommend(
        users, Dataset.construct(log[log["left"] > left].drop(columns="left")), k=K, filter_viewed=True, **asked
    )
    hits = lists.merge(targets[[Columns.User, Columns.Item]], on=[Columns.User, Columns.Item])
    gains = 1 / np.log2(hits[Columns.Rank].to_numpy() + 1)
    return {"hr@10": len(hits) / len(users), "ndcg@10": float(gains.sum() / len(users))}


if __name__ == "__main__":
    main()
