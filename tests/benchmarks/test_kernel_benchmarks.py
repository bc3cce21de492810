"""The kernel benchmarks compare like with like: every rival computes the recurrence it is timed for."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import kernels, scan_padding
from benchmarks.gpu import run_all
from benchmarks.measuring import time_together, write_results
from benchmarks.rivals import rivals
from deployrec.models.recblr import RecBLR, RecBLRConfig
from tests.kernels.cases import relative_error


@pytest.mark.parametrize("recurrence", ["linear_recurrence", "bd_lru", "gru"])
def test_every_rival_computes_the_same(recurrence: str) -> None:
    case = kernels.Case(recurrence, (2, 13, 6), torch.float64, "cpu")
    inputs = [x.detach().double() for x in case.inputs()]
    exact = kernels.reference(case, inputs)
    names = []
    for name, function in rivals(recurrence, "cpu", 13, torch.float64):
        torch.testing.assert_close(function(*inputs), exact, msg=name)
        names.append(name)
    assert names[0] == "deployrec"
    assert len(names) > 1


def test_scans_without_sequence_padding_agree() -> None:
    torch.manual_seed(0)
    model = RecBLR(20, RecBLRConfig(dim=4)).eval()
    items = torch.randint(1, 21, (3, 9))
    grads = {}
    for name, (given, scan) in scan_padding.variants(items).items():
        scan_padding.training_step(model, given, scan)()
        grad = model.get_parameter("layers.0.gates.weight").grad
        assert grad is not None
        grads[name] = grad.clone()
    ours = grads.pop("deployrec, no padding")
    padded = grads.pop("parallel scan, sequence padding")
    for grad in grads.values():
        assert relative_error(grad, ours) < 1e-4
    assert relative_error(padded, ours) > 1e-2


def test_every_call_is_timed_in_every_round() -> None:
    counts = {"first": 0, "second": 0}

    def count(name: str) -> None:
        counts[name] += 1

    timings = time_together({name: partial(count, name) for name in counts}, "cpu", seconds=0.0)
    assert counts == {"first": 6, "second": 6}
    assert all(timing.fastest <= timing.median for timing in timings.values())


def test_results_are_json_and_nothing_unfinished_stays(tmp_path: Path) -> None:
    timing = time_together({"nothing": lambda: None}, "cpu", seconds=0.0)
    path = write_results("name", timing, tmp_path)
    assert json.loads(path.read_text())["nothing"]["calls"] == 5
    assert list(tmp_path.iterdir()) == [path]


def test_every_gpu_section_is_a_module_with_main() -> None:
    for section in run_all.SECTIONS:
        module = __import__(f"benchmarks.gpu.{section}", fromlist=["main"])
        assert callable(module.main)
    assert next(iter(run_all.SECTIONS)) == "correctness"
