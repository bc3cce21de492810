"""A hundred things a user may get wrong, over all verbs: each ends in one clear line and leaves nothing behind.

`pytest -s tests/cli/test_bad_inputs.py` prints the table: every command line and what it is told.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from deployrec.data import Dataset
from deployrec.training.runs import DataSource
from deployrec.training.train import start
from tests.cli.conftest import Ended
from tests.support import random_model

HEADER = "user_id,item_id,timestamp\n"
GOOD = HEADER + "".join(f"u{user},i{(user + step) % 7},{step + 1}\n" for user in range(9) for step in range(6))
LOGS = {
    "good.csv": GOOD,
    "empty.csv": "",
    "header.csv": HEADER,
    "one-user.csv": HEADER + "1,2,3\n1,3,4\n1,4,5\n",
    "one-item.csv": HEADER + "1,2,3\n2,2,4\n3,2,5\n",
    "short-histories.csv": HEADER + "1,2,3\n1,3,4\n2,2,4\n2,3,5\n",
    "columns.csv": "visitor,item_id,timestamp\n1,2,3\n",
    "twice.csv": "user_id,item_id,item_id,timestamp\n1,2,2,3\n2,3,3,4\n",
    "no-item.csv": HEADER + "1,2,3\n1,,4\n2,3,5\n",
    "no-user.csv": HEADER + "1,2,3\n,3,4\n2,3,5\n",
    "quoted-nothing.csv": HEADER + '"1","2","3"\n"","3","4"\n"2","3","5"\n',
    "no-time.csv": HEADER + "1,2,3\n1,3,noon\n2,3,5\n",
    "short-row.csv": HEADER + "1,2,3\n1,3\n2,3,5\n",
    "log.xlsx": "not a log",
    "broken.parquet": "not parquet",
    "broken.csv.gz": "not gzip",
}
BUNDLES: dict[str, Callable[[Path], object]] = {
    "edited": lambda folder: _flip(folder / "items.bin"),
    "truncated": lambda folder: _cut(folder / "step.onnx"),
    "incomplete": lambda folder: (folder / "encode.onnx").unlink(),
    "newer": lambda folder: _replace(folder / "manifest.json", '"schema_version": 2', '"schema_version": 99'),
    "rewritten": lambda folder: _replace(folder / "manifest.json", '"opset"', '"opsets"'),
    "no-json": lambda folder: (folder / "manifest.json").write_text("{"),
    "binary": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "unsealed": lambda folder: (folder / "manifest.json").unlink(),
}
RUNS: dict[str, Callable[[Path], object]] = {
    "run-no-json": lambda folder: (folder / "run.json").write_text("{"),
    "run-newer": lambda folder: _replace(folder / "run.json", '"schema": 1', '"schema": 99'),
    "run-keys": lambda folder: (folder / "run.json").write_text('{"schema": 1}'),
    "run-settings": lambda folder: _replace(folder / "run.json", '"epochs": ', '"epochs": -'),
    "run-unfinished": lambda folder: _replace(folder / "run.json", '"finished": true', '"finished": false'),
    "run-no-weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "run-cut-weights": lambda folder: _cut(folder / "weights.safetensors"),
    "run-nan-weights": lambda folder: _poison(folder / "weights.safetensors"),
}

CASES = """
train --model foo
train --model ''
train --model recblr --preset slow
train --model recblr --seed -1
train --model recblr --seed 1.5
train --model recblr --seed 99999999999
train --model recblr --set dim
train --model recblr --set =3
train --model recblr --set depth=3
train --model recblr --set dim=wide
train --model recblr --set dim=
train --model recblr --set dim=1.5
train --model recblr --set epochs=0
train --model recblr --set epochs=-3
train --model recblr --set clip=-1
train --model recblr --set patience=-1
train --model recblr --set temperature=-1
train --model recblr --set learning_rate=nan
train --model recblr --set learning_rate=inf
train --model recblr --set learning_rate=0
train --model recblr --set ema=1.5
train --model recblr --set label_smoothing=1
train --model recblr --set warmup_steps=-5
train --model recblr --set negatives=0
train --model recblr --set loss=hinge
train --model recblr --set schedule=linear
train --model recblr --set precision=16
train --model recblr --set device=tpu
train --model recblr --set conv=maybe
train --model recblr --set seed=1 --seed 2
train --model recblr --set dim=16 --set dim=32
train --model recblr --set dim=0
train --model recblr --set dropout=1.5
train --model recblr --set dropout=nan
train --model recblr --set kernel=0
train --model recblr --set layers=-1
train --model glintru --set heads=0
train --model glintru --set heads=7 --data good.csv
train --model sasrec --set heads=3 --set dim=64 --data good.csv
train --model nowhere.model:MyModel
train --model deployrec.models.recblr:Missing
train --model :
train --model recblr --set tokens=3 --data good.csv
train --model recblr --set negatives=9 --data good.csv
train --model sasrec --set carried_state=0.5 --data good.csv
train --model recblr --set validate_every=99 --data good.csv
train --data nowhere.csv
train --data empty.csv
train --data header.csv
train --data one-user.csv
train --data one-item.csv
train --data short-histories.csv
train --data columns.csv
train --data twice.csv
train --data no-item.csv
train --data no-user.csv
train --data quoted-nothing.csv
train --data no-time.csv
train --data short-row.csv
train --data log.xlsx
train --data broken.parquet
train --data broken.csv.gz
train --data good.csv --user visitor
train --data good.csv --min-user 0
train --data good.csv --min-item 999
train --data good.csv --limit 0
train --data good.csv --on-bad-row guess
train --data sample --user visitor
train --data good.csv --out good.csv
train --resume nowhere
train --resume run
train --resume run-no-json
train --resume run-unfinished --seed 3
train --resume run-unfinished --model recblr
train --resume run-unfinished --user visitor
train --nope
train --seed 1 --seed 2
train --model recblr --data good.csv --model=sasrec
export --run run --force=yes
train --seed
train recblr
evaluate nowhere
evaluate run --split train
evaluate run --device tpu
evaluate run --model recblr
evaluate run --runs runs
evaluate run --data good.csv
evaluate --model foo
evaluate --model recblr --runs nowhere
evaluate run-unfinished
evaluate run-no-weights
evaluate run-cut-weights
evaluate run-nan-weights
evaluate run-settings
evaluate bundle --data good.csv
evaluate edited
export
export --model foo
export --model recblr --run nowhere
export --model recblr --run run-newer
export --model recblr --run run-keys
export --model recblr --run run-unfinished
export --model gru4rec --run run
export --run run --runs elsewhere
export --run run --out bundle
export --run run --out good.csv --force
export --run run --out good.csv/bundle
export --run run --top-k 0
export --run run --top-k 4000
export --run run --top-k many
export --run run --data good.csv
export --model recblr --runs nowhere --data good.csv
export --model recblr --runs nowhere --items good.csv
verify
verify nowhere
verify good.csv
verify edited
verify truncated
verify incomplete
verify newer
verify rewritten
verify no-json
verify binary
verify unsealed
verify run
verify bundle --backend abacus
verify bundle bundle
info nowhere
info edited
info newer
info bundle --jsn
recommend
recommend nowhere
recommend edited
recommend unsealed
recommend bundle --k 0
recommend bundle --k -3
recommend bundle --k ten
recommend bundle --k 3 --k 4
recommend bundle --history atlantis --on-unknown-item error
recommend bundle --on-unknown-item guess
models foo
models nowhere:Model
models recblr sasrec
build
build plan bundle
build engine nowhere
build engine edited
build engine bundle --precision int8
build engine bundle --max-batch 0
build engine bundle --max-history -1
bench
bench nowhere
bench bundle --out .
bench bundle --out good.csv/report.json
bench bundle --rival foo
bench bundle --backend abacus --quick
bench bundle --data nowhere.csv
bench bundle --seed -1
bench edited --quick
demo nowhere
demo edited
demo bundle --port 99999
demo bundle --port zero
demo bundle --address 999.1.1.1
data
data get
data get netflix
data info nowhere.csv
data info twice.csv
data list
oops
--nope
"""
LINES = [line for line in CASES.splitlines() if line]
SHAPE = re.compile(r"deployrec: (\S+:\d+: )?expected .+; got .+; .+")
told: dict[str, str] = {}


@pytest.fixture(scope="module")
def place(bundle_of: Callable[[str], Path], sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with good and bad logs, bundles and runs."""
    folder = tmp_path_factory.mktemp("place")
    for name, text in LOGS.items():
        (folder / name).write_text(text)
    for name, spoil in {"bundle": lambda folder: None, **BUNDLES}.items():
        spoil(shutil.copytree(bundle_of("recblr"), folder / name))
    made, _ = start("recblr", DataSource("sample"), settings=["dim=16"], root=folder / "made", dataset=sample)
    made.finish(random_model("recblr", sample), {}, {})
    shutil.copytree(made.path, folder / "run")
    shutil.rmtree(folder / "made")
    for name, spoil in RUNS.items():
        spoil(shutil.copytree(folder / "run", folder / name))
    return folder


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Prints what every command line was told, for `pytest -s`."""
    yield
    for line, answer in told.items():
        print(f"\n$ deployrec {line}\n  {answer}")


def test_there_are_a_hundred() -> None:
    assert len(set(LINES)) == len(LINES) >= 100
    verbs = {line.split()[0] for line in LINES}
    assert {
        "train",
        "evaluate",
        "export",
        "verify",
        "info",
        "recommend",
        "models",
        "build",
        "bench",
        "demo",
        "data",
    } <= verbs


@pytest.mark.parametrize("line", LINES)
def test_one_line_and_nothing_left(
    line: str, place: Path, deployrec: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = _content(place)
    ended = deployrec(*shlex.split(line))
    told[line] = ended.err.strip()
    assert ended.code == 2, ended
    assert "Traceback" not in ended.out + ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert SHAPE.fullmatch(ended.err.rstrip("\n")), ended.err
    assert _content(place) == before


def _content(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file and folder."""
    stats = {path: path.lstat() for path in folder.rglob("*")}
    return {
        str(path): (stat.st_size if path.is_file() else 0, stat.st_mtime_ns if path.is_file() else 0)
        for path, stat in stats.items()
    }


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def _poison(file: Path) -> None:
    weights = load_file(file)
    weights["embedding.weight"][1, 0] = float("nan")
    save_file(weights, file)
