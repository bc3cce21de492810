"""Makes the checkpoints of this folder, with RecBole 1.2 and the published code of RecBLR and not with deployrec.

    git clone https://github.com/chengkai-liu/RecBLR
    PYTHONPATH=RecBLR python tests/importing/recbole/make.py tests/importing/recbole

runs in an environment of RecBole's own (recbole 1.2.1, numpy 1.26, pandas 2.2, scipy 1.13, setuptools below 81). It
writes a small log with its items; of each model a checkpoint that RecBole's trainer saved and MODEL.json.gz: what
RecBole itself answers to every test user, the 20 best items with their scores; and datasets.json.gz: what RecBole makes
of the log under other settings. Nothing here is run by a test.
"""

from __future__ import annotations

import gzip
import importlib
import json
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

USERS, ITEMS, RARE, EVENTS, K = 240, 150, 60, 35, 20
DATA = {
    "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
    "user_inter_num_interval": "[5,inf)",
    "item_inter_num_interval": "[3,inf)",
    "val_interval": {"rating": "[2,inf)"},
    "MAX_ITEM_LIST_LENGTH": 20,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
}
TRAINING = {
    "epochs": 3,
    "learning_rate": 0.01,
    "train_batch_size": 512,
    "train_neg_sample_args": None,
    "use_gpu": False,
    "state": "ERROR",
    "show_progress": False,
}
MODELS: dict[str, dict[str, Any]] = {
    "GRU4Rec": {"embedding_size": 12, "hidden_size": 20, "num_layers": 2},
    "SASRec": {"hidden_size": 16, "n_heads": 2, "inner_size": 24, "hidden_act": "swish", "layer_norm_eps": 1e-6},
    "BERT4Rec": {"hidden_size": 12, "n_heads": 3, "n_layers": 2, "inner_size": 20, "hidden_act": "relu"},
    "NARM": {"embedding_size": 12, "hidden_size": 16, "dropout_probs": [0.25, 0.5]},
    "RecBLR": {"hidden_size": 12, "num_layers": 2, "dropout_prob": 0.2, "expand": 2, "d_conv": 4, "loss_type": "CE"},
}  # fmt: skip

INTER = {"inter": ["user_id", "item_id", "rating", "timestamp"]}
OTHER_SETTINGS: list[dict[str, Any]] = [
    {"load_col": INTER},
    {"load_col": INTER, "normalize_all": True, "item_inter_num_interval": "(3,40]"},
    {"load_col": INTER, "val_interval": {"rating": "[1,2);[4,5]"}, "user_inter_num_interval": "[6,inf)"},
    {"load_col": None, "val_interval": {"item_id": [f"i{item}" for item in range(40)]}},
    {"load_col": {**INTER, "item": ["item_id", "title"]}},
    {"load_col": {**INTER, "item": "*"}, "item_inter_num_interval": "[2,inf)", "user_inter_num_interval": "[9,30]"},
]


def write_log(folder: Path) -> None:
    """A log in no order, whose events stand so close in time that RecBole's float32 times tie."""
    draw = np.random.default_rng(7)
    rows = []
    for user in range(USERS):
        now, item = int(draw.integers(950_000_000, 1_040_000_000)), int(draw.integers(ITEMS))
        for _ in range(int(draw.integers(4, EVENTS))):
            item = (item + int(draw.integers(1, 4))) % ITEMS if draw.random() < 0.8 else int(draw.integers(ITEMS))
            now += int(draw.integers(1, 5))
            shown = ITEMS + int(draw.integers(RARE)) if draw.random() < 0.01 else item
            rows.append(f"u{user}\ti{shown}\t{draw.integers(1, 6)}\t{now}")
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "log.inter").write_text("\n".join([header, *draw.permutation(rows)]) + "\n", encoding="utf-8")
    titles = [f"i{item}\tFilm {item}\t{1900 + item % 100}" for item in range(ITEMS + RARE)]
    text = "\n".join(["item_id:token\ttitle:token_seq\tyear:token", *titles]) + "\n"
    (folder / "log.item").write_text(text, encoding="utf-8")


def scan_in_torch() -> types.ModuleType:
    """Stands for the published `parallel_scan`, whose Triton kernel needs a GPU: h_t = gate_t h_(t-1) + token_t."""

    def parallel_scan(gates: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        hidden, states = torch.zeros_like(tokens[..., 0]), []
        for gate, token in zip(gates.unbind(-1), tokens.unbind(-1), strict=True):
            hidden = gate * hidden + token
            states.append(hidden)
        return torch.stack(states, -1)

    module = types.ModuleType("parallel_scan")
    vars(module)["parallel_scan"] = parallel_scan
    return module


def model_class(name: str) -> Any:
    if name != "RecBLR":
        from recbole.utils import get_model

        return get_model(name)
    sys.modules["parallel_scan"] = scan_in_torch()
    einops = types.ModuleType("einops")
    vars(einops)["rearrange"] = None  # for its CUDA path alone
    sys.modules.setdefault("einops", einops)
    return importlib.import_module("RecBLR").RecBLR


def train(name: str, options: dict[str, Any], data_path: Path, dataset_name: str, out: Path, k: int = K) -> None:
    """Trains one model on data_path/dataset_name as RecBole does; writes out/NAME.pth and out/NAME.json.gz."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import init_seed

    kind = model_class(name)
    with tempfile.TemporaryDirectory() as saved:
        settings = {**DATA, **TRAINING, **options, "data_path": str(data_path), "checkpoint_dir": saved}
        config = Config(model=kind, dataset=dataset_name, config_dict=settings)
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        train_data, valid_data, test_data = data_preparation(config, dataset)
        model = kind(config, train_data.dataset)
        trainer = Trainer(config, model)
        trainer.fit(train_data, valid_data, saved=True, show_progress=False)
        shutil.copy(trainer.saved_model_file, out / f"{name}.pth")
        state = torch.load(trainer.saved_model_file, weights_only=False)["state_dict"]
    model.load_state_dict(state)
    answers = answer(model.eval(), dataset, test_data, k)
    with gzip.GzipFile(out / f"{name}.json.gz", "wb", mtime=0) as file:
        file.write(json.dumps(answers).encode())


@torch.no_grad()
def answer(model: Any, dataset: Any, test_data: Any, k: int) -> list[dict[str, Any]]:
    """[{user, history, top, scores}] of every test user: ids as the log has them, the padding item left out."""
    answers = []
    for batch in test_data:
        interaction = batch[0]
        scores = model.full_sort_predict(interaction).view(len(interaction), -1)
        scores[:, 0] = -torch.inf
        values, items = scores.topk(k)
        for row in range(len(interaction)):
            length = int(interaction["item_length"][row])
            history = interaction["item_id_list"][row][:length].numpy()
            answers.append(
                {
                    "user": str(dataset.id2token("user_id", int(interaction["user_id"][row]))),
                    "history": [str(token) for token in dataset.id2token("item_id", history)],
                    "top": [str(token) for token in dataset.id2token("item_id", items[row].numpy())],
                    "scores": [round(float(score), 6) for score in values[row]],
                }
            )
    return answers


def datasets(data_path: Path, dataset_name: str) -> list[dict[str, Any]]:
    """[{settings, item_ids, histories}]: items in RecBole's order, and each user's events in its order."""
    from recbole.config import Config
    from recbole.data import create_dataset

    made = []
    for settings in OTHER_SETTINGS:
        unfiltered = {"user_inter_num_interval": "[0,inf)", "item_inter_num_interval": "[0,inf)", "val_interval": None}
        options = {**DATA, **TRAINING, **unfiltered, **settings, "data_path": str(data_path)}
        config = Config(model="GRU4Rec", dataset=dataset_name, config_dict={**options, "MAX_ITEM_LIST_LENGTH": 100})
        dataset = create_dataset(config)
        dataset._change_feat_format()
        events, histories = dataset.inter_feat, {}
        for row in range(len(events)):  # the last row of a user is the longest
            before = events["item_id_list"][row][: int(events["item_length"][row])].numpy()
            items = dataset.id2token("item_id", [*before, int(events["item_id"][row])])
            user = dataset.id2token("user_id", int(events["user_id"][row]))
            histories[str(user)] = [str(item) for item in items]
        kept = {key: value for key, value in config.final_config_dict.items() if _is_plain(value)}
        ids = [str(item) for item in dataset.field2id_token["item_id"][1:]]
        made.append({"settings": kept, "item_ids": ids, "histories": histories})
    return made


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "log"
        folder.mkdir()
        write_log(folder)
        for name, options in MODELS.items():
            train(name, options, Path(scratch), "log", out)
        with gzip.GzipFile(out / "datasets.json.gz", "wb", mtime=0) as file:
            file.write(json.dumps(datasets(Path(scratch), "log")).encode())
        with gzip.GzipFile(out / "log.inter.gz", "wb", mtime=0) as file:
            file.write((folder / "log.inter").read_bytes())
        shutil.copy(folder / "log.item", out / "log.item")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
