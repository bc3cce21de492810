"""The TensorRT backend's own part, on a stand-in for TensorRT and the GPU that runs each plan through ONNX Runtime."""

from __future__ import annotations

import copy
import ctypes
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest

from deployrec.bundle.bundle import Bundle, seal
from deployrec.errors import BundleError, ConfigError, UnknownItemError
from deployrec.runtime.backends.onnxruntime.backend import load as load_onnxruntime
from deployrec.runtime.backends.tensorrt.backend import TensorRtBackend
from deployrec.runtime.backends.tensorrt.cuda_memory import CudaStream
from deployrec.runtime.backends.tensorrt.plan_name import PlanName

LARGEST = {"B": 6, "T": 9, "E": 10, "K": 8}


class HostStream:
    """Memory by address, as `CudaStream` gives it."""

    handle = 7

    def __init__(self) -> None:
        self.memory: dict[int, bytearray] = {}

    def select(self) -> None: ...

    def wait(self) -> None: ...

    def allocate(self, size: int) -> SimpleNamespace:
        address = 1000 + len(self.memory)
        self.memory[address] = bytearray(b"\xff" * size)
        return SimpleNamespace(address=address, size=size)

    def upload(self, buffer: SimpleNamespace, values: np.ndarray) -> None:
        assert values.flags.c_contiguous
        self.memory[buffer.address][: values.nbytes] = values.tobytes()

    def download(self, values: np.ndarray, buffer: SimpleNamespace) -> None:
        values.reshape(-1).view(np.uint8)[:] = np.frombuffer(self.memory[buffer.address], np.uint8, values.nbytes)


class Engine:
    """An engine and its context in one: a plan's bytes are the path of its graph and the name of its network."""

    def __init__(self, stream: HostStream, plan: bytes) -> None:
        path, self.name = plan.decode().split("\n")
        self.stream = stream
        self.session = onnxruntime.InferenceSession(path)
        self.inputs = {tensor.name: tensor for tensor in self.session.get_inputs()}
        self.outputs = {tensor.name: tensor for tensor in self.session.get_outputs()}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.profile = 0

    def create_execution_context(self) -> Engine:
        context = copy.copy(self)
        context.shapes, context.addresses = {}, {}
        return context

    def set_optimization_profile_async(self, profile: int, stream: int) -> None:
        assert stream == HostStream.handle
        self.profile = profile

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [tuple(LARGEST[a] if isinstance(a, str) else a for a in self.inputs[name].shape)] * 3

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        assert self.profile == 0 or shape[0] == 1, "this profile is for a single user"
        self.shapes[name] = tuple(shape)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = {"B": next(shape[0] for name, shape in self.shapes.items() if name != "k")}
        if "k" in self.inputs:
            sizes["K"] = self.host("k")[0]
        return tuple(sizes[a] if isinstance(a, str) else a for a in self.outputs[name].shape)

    def get_tensor_profile_values(self, profile: int, name: str) -> list[list[int]]:
        assert name == "k"
        return [[1], [2], [LARGEST["K"]]]

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def host(self, name: str) -> np.ndarray:
        """An input that decides a shape: it lies in the host's own memory."""
        return np.ctypeslib.as_array((ctypes.c_int64 * 1).from_address(self.addresses[name]))

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == HostStream.handle
        feed = {name: self.read(name, tensor.type, self.shapes[name]) for name, tensor in self.inputs.items()}
        for name, value in zip(self.outputs, self.session.run(list(self.outputs), feed), strict=True):
            self.stream.memory[self.addresses[name]][: value.nbytes] = value.tobytes()
        return True

    def read(self, name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        if name == "k":
            return self.host(name)
        dtype = np.int64 if kind == "tensor(int64)" else np.float32
        memory = self.stream.memory[self.addresses[name]]
        return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)


def stand_in(stream: HostStream) -> Any:
    """What the backend uses of the module `tensorrt`."""

    class Runtime:
        def __init__(self, log: object) -> None: ...

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            return None if plan == b"broken" else Engine(stream, plan)

    class Logger:
        INTERNAL_ERROR, ERROR = "internal error", "error"

    return SimpleNamespace(ILogger=Logger, Runtime=Runtime, __version__="11.0")


@pytest.fixture
def planned(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> Callable[..., Bundle]:
    def make(name: str = "", broken: str = "") -> Bundle:
        source = twin_bundle()
        folder = tmp_path / f"bundle{name}{broken}"
        shutil.copytree(source.path, folder)
        (folder / "engine").mkdir()
        for graph, entry in source.manifest.graphs.items():
            plan = f"{folder / entry.file}\n{name or PlanName.of(source.manifest, graph, LARGEST['K'])}".encode()
            (folder / "engine" / f"{graph}.plan").write_bytes(b"broken" if graph == broken else plan)
        seal(folder, source.manifest.document)
        return Bundle.open(folder)

    return make


def backend(bundle: Bundle) -> TensorRtBackend:
    stream = HostStream()
    return TensorRtBackend(stand_in(stream), cast(CudaStream, stream), bundle)


def test_answers_are_those_of_onnx_runtime_whatever_the_sizes_before(planned: Callable[..., Bundle]) -> None:
    bundle = planned()
    tested, reference = backend(bundle), load_onnxruntime(bundle)
    rng = np.random.default_rng(2)
    tensors = bundle.manifest.state.tensors
    for batch, time, width in ((2, 4, 3), (6, 9, 8), (1, 1, 1), (3, 2, 5)):
        state = {t.name: rng.normal(size=(batch, *t.shape)).astype(np.float32) for t in tensors}
        items = rng.integers(1, bundle.manifest.num_items + 1, (batch, time))
        lengths = rng.integers(1, time + 1, batch)
        exclude = rng.integers(0, bundle.manifest.num_items + 1, (batch, width))
        user = rng.normal(size=(batch, bundle.manifest.dim)).astype(np.float32)
        for excluded, k in ((exclude, width), (None, 8)):
            (got, best), (expected, wanted) = (b.step(items[:, 0], excluded, k, state) for b in (tested, reference))
            assert best.items.shape == (batch, k)
            moves = [(b.advance(items[:, 0], state), b.encode(items, lengths, state)) for b in (tested, reference)]
            for left, right in ((got, expected), *zip(*moves, strict=True)):
                np.testing.assert_allclose(left.user, right.user, rtol=1e-5, atol=1e-6)
                for name in right.state:
                    np.testing.assert_allclose(left.state[name], right.state[name], rtol=1e-5, atol=1e-6)
            scored = [b.score(user, excluded, k) for b in (tested, reference)]
            for found, reference_list in ((best, wanted), scored):
                np.testing.assert_array_equal(found.items, reference_list.items)
                np.testing.assert_allclose(found.scores, reference_list.scores, rtol=1e-5, atol=1e-6)


def test_a_call_beyond_the_profile_names_tensor_and_sizes(planned: Callable[..., Bundle]) -> None:
    tested = backend(planned())
    state = {t.name: np.zeros((7, *t.shape), np.float32) for t in tested.manifest.state.tensors}
    with pytest.raises(ConfigError, match=r"expected item_id of at most \[6\] for the step plan; got \[7\]; run"):
        tested.step(np.ones(7, np.int64), None, 1, state)
    one = {name: tensor[:1] for name, tensor in state.items()}
    user = np.zeros((1, tested.manifest.dim), np.float32)
    for call in (lambda: tested.step(np.ones(1, np.int64), None, 9, one), lambda: tested.score(user, None, 9)):
        with pytest.raises(ConfigError, match=r"expected k of at most 8 for the (step|score) plan; got 9; .*--max-k"):
            call()


def test_ids_are_checked_before_a_run(planned: Callable[..., Bundle]) -> None:
    tested = backend(planned())
    state = {t.name: np.zeros((1, *t.shape), np.float32) for t in tested.manifest.state.tensors}
    for row in (-1, tested.manifest.num_items + 1):
        with pytest.raises(UnknownItemError, match=f"got {row};"):
            tested.step(np.array([row]), None, 1, state)
        with pytest.raises(UnknownItemError, match=f"got {row};"):
            tested.score(np.zeros((1, tested.manifest.dim), np.float32), np.array([[row]]), 1)


def test_plans_of_another_bundle_and_refused_plans_are_told_apart(planned: Callable[..., Bundle]) -> None:
    with pytest.raises(BundleError, match=r"expected .*\.plan to be this bundle's \w+ plan; got another"):
        backend(planned(name="another"))
    with pytest.raises(ConfigError, match=r"expected TensorRT 11.0 to load .*encode.plan; got no reason;"):
        backend(planned(broken="encode"))


def test_a_plan_of_another_graph_or_window_is_refused(planned: Callable[..., Bundle]) -> None:
    bundle = planned()
    own = PlanName.of(bundle.manifest, "step", LARGEST["K"])
    plan = bundle.file("engine/step.plan")
    for name in (replace(own, graph="advance"), replace(own, window=50), replace(own, state_id="of other weights")):
        plan.write_text(f"{bundle.file('step.onnx')}\n{name}")
        seal(bundle.path, bundle.manifest.document)
        with pytest.raises(BundleError, match="to be this bundle's step plan; got another; build it again"):
            backend(Bundle.open(bundle.path))
