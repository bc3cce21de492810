"""Does a corruption that changes an answer ever pass? Five hundred of them, over every model.

    python -m benchmarks.mutations [--count 500] [--seed 0] [--models glintru recblr ...]

Each corruption is made in a copy of a bundle, which is then opened, loaded and verified. What is refused nowhere is
held against histories that its certificate has never seen: answers beyond the gates there are a miss, others prove it
harmless. "certified" corruptions forge the certificate's digests as well, as an export that went wrong would: only the
comparisons can find these. Writes mutations.json; the exit code is 1 where something was missed, or ended in anything
but one line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from rich.progress import track

from benchmarks.measuring import UNTRACKED, add_out, machine, markdown, write_results
from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import ITEM_TABLE, ITEMS, MANIFEST, PARITY_CASES
from deployrec.bundle.parity import CERTIFIED_K, LONG, ParityCases
from deployrec.data import Dataset, load_dataset
from deployrec.errors import DeployrecError
from deployrec.export import export_bundle
from deployrec.export.again import torch_model
from deployrec.export.bundle import MAX_EXCLUDE
from deployrec.export.parity import choose_histories, reference_cases
from deployrec.files import sha256_file
from deployrec.models import build_model
from deployrec.runtime.recommender import Recommender
from deployrec.runtime.verify import compare_graphs, verify

MODELS = ("glintru", "recblr", "gru4rec", "sasrec")
OTHER = {"Sigmoid": "Tanh", "Tanh": "Sigmoid", "Mul": "Add", "Add": "Mul", "Sub": "Add", "Relu": "Tanh", "Erf": "Tanh"}
"""What an operator is mistaken for."""

Draw = np.random.Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=500, help="corruptions over all models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="whose bundles are corrupted")
    add_out(parser)
    arguments = parser.parse_args()
    outcomes = run(arguments.models, arguments.count, arguments.seed)
    results = {"machine": machine("cpu"), "seed": arguments.seed, "outcomes": outcomes}
    write_results("mutations", results, arguments.out or UNTRACKED)
    columns = ("open", "load", "verify", "harmless", "missed", "raw")
    counts = {kind: Counter(o["ended"] for o in outcomes if o["kind"] == kind) for kind in KINDS}
    rows = [[kind, str(sum(c.values())), *(str(c[column]) for column in columns)] for kind, c in counts.items()]
    print(markdown(["corruption", "tried", *columns], rows))
    if wrong := [outcome for outcome in outcomes if outcome["ended"] in ("missed", "raw")]:
        sys.exit(f"{len(wrong)} of {len(outcomes)} corruptions passed or raised: {json.dumps(wrong[:5])}")


def run(models: list[str], count: int, seed: int) -> list[dict[str, str]]:
    """How each corruption ended: refused at open, load or verify; harmless; missed; raw for any other exception."""
    dataset, draw, outcomes = load_dataset("sample"), np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory() as scratch:
        subjects = {key: Subject(key, dataset, Path(scratch) / key) for key in models}
        for number in track(range(count), description="corrupting", disable=not sys.stderr.isatty()):
            kind = list(KINDS)[number % len(KINDS)]
            subject = subjects[models[number // len(KINDS) % len(models)]]
            folder = shutil.copytree(subject.bundle.path, Path(scratch) / "corrupted")
            what = KINDS[kind](folder, draw)
            outcomes.append({"kind": kind, "model": subject.key, "what": what, "ended": subject.ended(folder)})
            shutil.rmtree(folder)
    return outcomes


class Subject:
    """A bundle of a model with random weights, and histories that its certificate has never seen."""

    def __init__(self, key: str, dataset: Dataset, folder: Path) -> None:
        self.key = key
        torch.manual_seed(0)
        model = build_model(key, dataset.num_items, {"dim": 16})
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            model.embedding.weight[0] = 0
        self.bundle = export_bundle(model.eval(), dataset, folder, window=50, longest=LONG).bundle
        histories = choose_histories(dataset, [0, 1, 2, 3, 7, 40, 90, 300, 700], LONG, seed=1)
        with torch.no_grad():
            self.fresh = reference_cases(
                torch_model(self.bundle), histories, {}, min(CERTIFIED_K, dataset.num_items), MAX_EXCLUDE
            )
        self.listed = most_popular(folder)

    def ended(self, folder: Path) -> str:
        stage = "open"
        try:
            bundle = Bundle.open(folder)
            stage = "load"
            listed = most_popular(folder)
            stage = "verify"
            if not verify(folder).passed:
                return stage
            same = all(row.passed for row in compare_graphs(bundle, self.fresh)) and listed == self.listed
        except DeployrecError as error:
            return stage if "\n" not in str(error) else "raw"
        except Exception:
            return "raw"
        return "harmless" if same else "missed"


def most_popular(folder: Path) -> list[Any]:
    """What a user without events gets."""
    return Recommender.load(folder).recommend("nobody", 20)


def reseal(folder: Path, certify: bool = False) -> None:
    """Seals the folder as genuine where that is possible; with `certify` the certificate's digests are forged too."""
    document = json.loads((folder / MANIFEST).read_text())
    try:
        if certify:
            table = np.fromfile(folder / ITEM_TABLE, np.float32).reshape(document["model"]["num_items"] + 1, -1)
            path = folder / PARITY_CASES
            cases = ParityCases.parse(path.read_bytes(), path, table)
            replace(cases, files={name: sha256_file(folder / name) for name in cases.files}).save(path)
        seal(folder, document)
    except DeployrecError:
        document["files"] = {
            name: {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
            for name in document["files"]
        }
        (folder / MANIFEST).write_text(json.dumps(document))


def chosen_file(folder: Path, draw: Draw) -> Path:
    return folder / str(draw.choice(sorted(path.name for path in folder.iterdir() if path.is_file())))


def flip(path: Path, draw: Draw) -> str:
    content = bytearray(path.read_bytes())
    at, bit = int(draw.integers(len(content))), int(draw.integers(8))
    content[at] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {at} of {path.name}"


def flipped_bit(folder: Path, draw: Draw) -> str:
    return flip(chosen_file(folder, draw), draw)


def truncation(folder: Path, draw: Draw) -> str:
    path = chosen_file(folder, draw)
    size = int(draw.integers(path.stat().st_size))
    path.write_bytes(path.read_bytes()[:size])
    return f"{path.name} cut to {size} bytes"


def resealed_bit(folder: Path, draw: Draw) -> str:
    path = chosen_file(folder, draw)
    what = flip(path, draw)
    if path.name != MANIFEST:
        reseal(folder)
    return what


def swapped_files(folder: Path, draw: Draw) -> str:
    """Two graphs, two lines of items or two rows of the item table in each other's place."""
    kind = str(draw.choice(["graphs", "items", "rows"]))
    if kind == "graphs":
        a, b = draw.choice(sorted(folder.glob("*.onnx")), 2, replace=False)
        first, second = a.read_bytes(), b.read_bytes()
        a.write_bytes(second), b.write_bytes(first)
        kind = f"{a.name} and {b.name}"
    elif kind == "items":
        lines = (folder / ITEMS).read_text().splitlines(keepends=True)
        i, j = draw.choice(np.arange(1, len(lines)), 2, replace=False)
        lines[i], lines[j] = lines[j], lines[i]
        (folder / ITEMS).write_text("".join(lines))
    else:
        rows = json.loads((folder / MANIFEST).read_text())["model"]["num_items"] + 1
        table = np.fromfile(folder / ITEM_TABLE, np.float32).reshape(rows, -1)
        i, j = draw.choice(np.arange(1, rows), 2, replace=False)
        table[[i, j]] = table[[j, i]]
        table.tofile(folder / ITEM_TABLE)
    reseal(folder)
    return f"{kind} swapped"


def emptied_certificate(folder: Path, draw: Draw) -> str:
    """Fewer histories than promised, or an answer replaced by another's."""
    cases, path = Bundle.open(folder).cases(), folder / PARITY_CASES
    if draw.integers(2):
        kept = int(draw.integers(len(cases)))
        cases.keep(list(range(kept))).save(path)
        what = f"{kept} histories kept"
    else:
        cases.user[:] = cases.user[::-1].copy()
        cases.save(path)
        what = "user vectors reversed"
    reseal(folder)
    return what


def in_graph(change: Callable[[onnx.ModelProto, Draw], str | None], graphs: tuple[str, ...]) -> Callable[..., str]:
    """A corruption of one graph, certified and sealed as genuine."""

    def corrupt(folder: Path, draw: Draw) -> str:
        path = folder / f"{draw.choice([name for name in graphs if (folder / f'{name}.onnx').exists()])}.onnx"
        model = onnx.load(path, load_external_data=False)
        what = change(model, draw) or "nothing to change"
        onnx.save(model, path)
        reseal(folder, certify=True)
        return f"{path.name}: {what}"

    return corrupt


def drifted_weight(model: onnx.ModelProto, draw: Draw) -> str | None:
    own = [t for t in model.graph.initializer if t.data_type == 1 and not t.external_data and np.prod(t.dims) > 8]
    if not own:
        return None
    tensor = own[int(draw.integers(len(own)))]
    weight = numpy_helper.to_array(tensor).copy()
    weight *= (1 + draw.choice([0.1, 0.01]) * draw.standard_normal(weight.shape)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    return tensor.name


def wrong_operator(model: onnx.ModelProto, draw: Draw) -> str | None:
    nodes = [node for node in model.graph.node if node.op_type in OTHER and not node.domain]
    if not nodes:
        return None
    node = nodes[int(draw.integers(len(nodes)))]
    before, node.op_type = node.op_type, OTHER[node.op_type]
    return f"{before} {node.output[0]} as {node.op_type}"


def dropped_constant(model: onnx.ModelProto, draw: Draw) -> str | None:
    small = [t for t in model.graph.initializer if t.data_type == 1 and not t.external_data and np.prod(t.dims) <= 1]
    if not small:
        return None
    tensor = small[int(draw.integers(len(small)))]
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(value), tensor.name))
    return f"{tensor.name} = {value} as 0"


def reread(model: onnx.ModelProto, name: str, nodes: list[onnx.NodeProto]) -> None:
    """Whoever read the input `name` reads "other" instead, which `nodes` make of it."""
    for node in model.graph.node:
        node.input[:] = ["other" if given == name else given for given in node.input]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def padding_dependence(model: onnx.ModelProto, _: Draw) -> str:
    """Every row of a batch as long as its longest."""
    nodes = [
        helper.make_node("ReduceMax", ["lengths"], ["longest"], keepdims=1),
        helper.make_node("Shape", ["lengths"], ["as_many"]),
        helper.make_node("Expand", ["longest", "as_many"], ["other"]),
    ]
    reread(model, "lengths", nodes)
    return "lengths as the batch's longest"


def planted_look_ahead(model: onnx.ModelProto, draw: Draw) -> str:
    """The newest event read first: everything else sees it coming."""
    for name, value in (("one", [1]), ("zero", [0]), ("far", [2**31]), ("axis", [1])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"mutation.{name}"))
    nodes = [
        helper.make_node("Slice", ["item_ids", "mutation.one", "mutation.far", "mutation.axis"], ["later"]),
        helper.make_node("Slice", ["item_ids", "mutation.zero", "mutation.one", "mutation.axis"], ["first"]),
        helper.make_node("Concat", ["later", "first"], ["other"], axis=1),
    ]
    reread(model, "item_ids", nodes)
    return "events one ahead"


def lost_exclusion(model: onnx.ModelProto, _: Draw) -> str:
    """Excluded items come back."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "mutation.zero"))
    reread(model, "exclude_items", [helper.make_node("Mul", ["exclude_items", "mutation.zero"], ["other"])])
    return "nothing excluded"


LISTING, READING = ("step", "score"), ("step", "advance", "encode")
KINDS: dict[str, Callable[[Path, Draw], str]] = {
    "a flipped bit": flipped_bit,
    "a file cut short": truncation,
    "a flipped bit, resealed": resealed_bit,
    "swapped files or rows, resealed": swapped_files,
    "a thinned or wrong certificate, resealed": emptied_certificate,
    "a drifted weight, certified": in_graph(drifted_weight, READING),
    "a wrong operator, certified": in_graph(wrong_operator, READING),
    "a dropped constant, certified": in_graph(dropped_constant, READING),
    "dependence on padding, certified": in_graph(padding_dependence, ("encode",)),
    "a look ahead, certified": in_graph(planted_look_ahead, ("encode",)),
    "exclusion lost, certified": in_graph(lost_exclusion, LISTING),
}


if __name__ == "__main__":
    main()
