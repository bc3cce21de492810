"""The figures hold the numbers that they are given."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec import benchmark
from deployrec_demo import charts


@settings(max_examples=25)
@given(
    shape=st.lists(st.integers(1, 130), min_size=1, max_size=3).filter(lambda s: np.prod(s) < 60_000),
    seed=st.integers(0, 99),
)
def test_a_strip_keeps_the_largest_change(shape: list[int], seed: int) -> None:
    tensor = np.random.default_rng(seed).standard_normal(shape)
    strip = charts._strip(tensor)
    assert strip.ndim == 2
    assert all(size <= most for size, most in zip(strip.shape, charts.MOST_CELLS, strict=True))
    assert np.abs(strip).max() == np.abs(tensor).max()
    assert set(strip.ravel()) <= set(tensor.ravel())
    if tensor.size <= charts.MOST_CELLS[0] and tensor.ndim == 1:
        np.testing.assert_array_equal(strip[0], tensor)


def test_state_strips_name_every_tensor_and_its_largest_move() -> None:
    figure = charts.state_strips({"0.hidden": np.array([0.0, -0.5]), "1.conv": np.zeros((3, 4))})
    assert [note.text for note in figure.layout.annotations] == [
        "0.hidden [2], moved by up to 0.5",
        "1.conv [3 x 4], moved by up to 0",
    ]
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-0.5, 0.5)


def test_latency_lines_are_milliseconds_of_the_percentile() -> None:
    latency = benchmark.Latency(p50=0.001, p95=0.002, p99=0.003, mean=0.001, calls=9)
    cells = [benchmark.Cell("m", "step", "onnxruntime", 1, history, 30, 1, latency) for history in (10, 100)]
    figure = charts.latency_lines({("m", "step", "onnxruntime"): cells, ("m", "encode", "torch"): []}, "p95")
    (line,) = figure.data
    assert list(line.x) == [10, 100]
    assert list(line.y) == [2.0, 2.0]


def test_other_backends_wait_in_the_legend() -> None:
    latency = benchmark.Latency(p50=0.001, p95=0.002, p99=0.003, mean=0.001, calls=9)
    lines = {
        ("m", "step", backend): [benchmark.Cell("m", "step", backend, 1, 10, 30, 1, latency)]
        for backend in ("onnxruntime", "torch")
    }
    assert [line.visible for line in charts.latency_lines(lines, "p50").data] == [True, "legendonly"]
