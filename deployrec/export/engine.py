"""Builds TensorRT plans from a bundle's graphs and adds them to the bundle."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.graph import Graph
from deployrec.bundle.manifest import ITEM_TABLE, FileDigest, Manifest
from deployrec.bundle.nodes import DOMAIN
from deployrec.bundle.parity import Comparison, largest_figures
from deployrec.bundle.writing import writing
from deployrec.errors import ConfigError
from deployrec.export.half import half_products
from deployrec.files import atomic_write, canonical_json, sha256_file
from deployrec.runtime.backends.base import check_timeless
from deployrec.runtime.backends.tensorrt.api import has_plugins, import_tensorrt, load_plugins, make_logger
from deployrec.runtime.backends.tensorrt.plan_name import PlanName
from deployrec.runtime.verify import compare_graphs

FOLDER = "engine"
RECORD = f"{FOLDER}/build.json"
PRECISIONS = ("fp32", "fp16")
# Sizes that the builder tunes for, where the profile allows them.
TYPICAL = {"B": 32, "T": 200, "E": 64, "K": 10}
LARGEST_BATCH = 256
LARGEST_K = 100
MOST_K = 3839
"""TensorRT's TopK takes fewer than 3,840."""
LARGEST_EXCLUDE = (512, 16_384)
"""Seen items that a request may exclude: the whole catalogue, but this many at least and at most."""


@dataclass(frozen=True)
class EngineReport:
    """What was built: bytes and seconds by graph, and for fp16 the comparisons with the float64 reference."""

    bundle: Bundle
    record: dict[str, Any]
    comparisons: list[Comparison]


def plan_file(graph: str) -> str:
    """Name in the bundle of the plan of "step", "advance", "encode" or "score"."""
    return f"{FOLDER}/{graph}.plan"


def profile(
    manifest: Manifest, max_batch: int, max_history: int | None = None, max_k: int = LARGEST_K
) -> dict[str, tuple[int, int, int]]:
    """Smallest, typical and largest size of each dynamic axis; every graph's profiles come from this one table: one for
    any batch, and one tuned for a single user."""
    least, most = LARGEST_EXCLUDE
    exclude = min(max(manifest.num_items, least), most)
    if max_k > MOST_K:
        raise ConfigError(f"expected max_k from 1 to {MOST_K:,}, the most of TensorRT's TopK; got {max_k:,}; lower it")
    lists = min(max_k, manifest.num_items)
    largest = {"B": max_batch, "T": max_history or manifest.encode_chunk, "E": exclude, "K": lists}
    for axis, size in largest.items():
        if size < 1:
            raise ConfigError(f"expected sizes of at least 1; got {size} for axis {axis}; raise it")
    return {axis: (1, min(TYPICAL[axis], size), size) for axis, size in largest.items()}


def build_engines(
    path: str | Path,
    *,
    precision: str = "fp32",
    max_batch: int = LARGEST_BATCH,
    max_history: int | None = None,
    max_k: int = LARGEST_K,
    plugin: str | Path | None = None,
    carry_plugin: bool = False,
) -> EngineReport:
    """Builds a plan of every graph of the bundle at `path` and seals them into it, in place of older ones.

    precision: "fp16" runs the products with weights in half precision; max_history: events of one encode call (default:
    the bundle's encode_chunk); max_k: items of the longest list; plugin: path of libdeployrec_plugin.so; carry_plugin:
    the encode plan holds that library, and TensorRT's lean runtime, so that it needs neither file where it is loaded. A
    plan runs on the kind of GPU and the TensorRT version it was built with. Raises ConfigError where TensorRT, a GPU or
    the plugin library is missing, a size is out of range, or a graph cannot be built; the bundle is then as before.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"expected a precision of {' or '.join(PRECISIONS)}; got '{precision}'; name one of them")
    bundle = Bundle.open(path)
    if bundle.manifest.table.dtype != "float32":
        raise ConfigError(
            f"expected a bundle with a float32 item table; got {bundle.manifest.table.dtype}, which plans do not read; "
            "export one with --table float32"
        )
    check_timeless(bundle, "TensorRT's plans")
    sizes = profile(bundle.manifest, max_batch, max_history, max_k)
    strays = bundle.stray_files()
    trt = import_tensorrt()
    library = load_plugins(trt, plugin)
    if carry_plugin and library is None:
        raise ConfigError("expected the file of the plugin library to carry; got one loaded before; pass --plugin")
    builder = PlanBuilder(trt)
    # A whole bundle takes the old one's place: a kill never leaves plans that the manifest does not know.
    with tempfile.TemporaryDirectory() as scratch, writing(bundle.path, force=True) as folder:
        _copy(bundle, folder)
        graphs = _write_graphs(Bundle(folder, bundle.manifest), precision, Path(scratch))
        comparisons = _compare(bundle, Path(scratch)) if precision == "fp16" else []
        built = {}
        for graph, source in graphs.items():
            started = time.perf_counter()
            plan_name = str(PlanName.of(bundle.manifest, graph, sizes["K"][-1]))
            carried = library if carry_plugin else None
            plan, layers = builder.build(source, bundle.manifest.graphs[graph], plan_name, sizes, carried)
            seconds = round(time.perf_counter() - started, 2)
            atomic_write(folder / plan_file(graph), plan)
            built[graph] = {"bytes": len(plan), "seconds": seconds, "plugin_layers": layers}
        atomic_write(folder / FOLDER / "timing.cache", builder.cache)
        record = {
            "tensorrt": trt.__version__,
            "device": _device(),
            "precision": precision,
            "profile": {axis: list(size) for axis, size in sizes.items()},
            "plugin_sha256": sha256_file(library) if library else None,
            "carries_plugin": carry_plugin,
            "graphs": built,
            "parity": largest_figures(comparisons),
        }
        atomic_write(folder / RECORD, canonical_json(record))
        seal(folder, bundle.manifest.document)
        for name in strays:
            shutil.copyfile(bundle.path / name, _made(folder / name))
    return EngineReport(Bundle.open(bundle.path), record, comparisons)


class PlanBuilder:
    """One builder and its timing cache for all graphs."""

    def __init__(self, trt: Any) -> None:
        self.trt = trt
        self.log = make_logger(trt)
        try:
            self.builder = trt.Builder(self.log)
        except TypeError:  # what the bindings raise when TensorRT hands them no builder
            raise ConfigError(
                f"expected a GPU that TensorRT can build for; got {self.log.take()}; build on the machine that serves"
            ) from None
        self.cache: bytes = b""

    def build(
        self,
        source: Path,
        signature: Graph,
        name: str,
        sizes: Mapping[str, tuple[int, int, int]],
        carried: Path | None = None,
    ) -> tuple[bytes, int]:
        """The plan, and how many plugin layers it has; a plan that has some holds the library at `carried`."""
        trt = self.trt
        nodes = _plugin_nodes(trt, source)
        network = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self.log)
        if not parser.parse_from_file(str(source)):
            errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)) or self.log.take()
            raise ConfigError(
                f"expected TensorRT to parse {source.name}; got {' '.join(errors.split())}; report this line"
            )
        layers = _plugin_layers(trt, network, source, nodes)
        network.name = name
        config = self.builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default; its products keep 10 bits and miss the certificate
        if carried and layers:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)  # only such plans hold libraries
            config.plugins_to_serialize = [str(carried)]
        cache = config.create_timing_cache(self.cache)
        config.set_timing_cache(cache, ignore_mismatch=False)
        for profile in self.profiles(signature, sizes):
            config.add_optimization_profile(profile)
        plan = self.builder.build_serialized_network(network, config)
        if plan is None:
            raise ConfigError(
                f"expected TensorRT to build {source.name}; got {self.log.take()}; free memory or lower --max-batch"
            )
        if carried and layers and carried.read_bytes() not in bytes(plan):
            raise ConfigError(
                f"expected TensorRT {trt.__version__} to put {carried.name} into the plan of {source.name}; got a plan "
                "without it; build without --carry-plugin"
            )
        self.cache = bytes(config.get_timing_cache().serialize())
        return bytes(plan), layers

    def profiles(self, signature: Graph, sizes: Mapping[str, tuple[int, int, int]]) -> list[Any]:
        """One for any batch, and one for a single user, in the order of the runtime's `profile_of`."""
        return [self._profile(signature, own) for own in (sizes, {**sizes, "B": (1, 1, 1)})]

    def _profile(self, signature: Graph, sizes: Mapping[str, tuple[int, int, int]]) -> Any:
        profile = self.builder.create_optimization_profile()
        for tensor in signature.inputs:
            if tensor.name == "k":  # it decides a shape, so the profile holds its values
                profile.set_shape_input(tensor.name, *([size] for size in sizes["K"]))
                continue
            shapes = [tuple(sizes[a][i] if isinstance(a, str) else a for a in tensor.shape) for i in range(3)]
            profile.set_shape(tensor.name, *shapes)
        return profile


def _plugin_nodes(trt: Any, source: Path) -> int:
    """How many nodes the plugins run; without the plugins the parser would import the nodes' bodies, as slow loops."""
    nodes = [node for node in onnx.load(source, load_external_data=False).graph.node if node.domain == DOMAIN]
    if nodes and not has_plugins(trt.get_plugin_registry()):
        raise _no_plugins(source, len(nodes), 0)
    return len(nodes)


def _plugin_layers(trt: Any, network: Any, source: Path, expected: int) -> int:
    types = [network.get_layer(i).type for i in range(network.num_layers)]
    found = types.count(trt.LayerType.PLUGIN_V3)
    if found != expected:
        raise _no_plugins(source, expected, found)
    return found


def _no_plugins(source: Path, expected: int, found: int) -> ConfigError:
    return ConfigError(
        f"expected {expected} plugin layers in {source.name}; got {found} and a loop; load libdeployrec_plugin.so"
    )


def _write_graphs(bundle: Bundle, precision: str, folder: Path) -> dict[str, Path]:
    """The graphs to parse: the bundle's own, or copies in `folder` with their products in fp16."""
    files = {name: bundle.file(graph.file) for name, graph in bundle.manifest.graphs.items()}
    if precision == "fp32":
        return files
    for name, path in files.items():
        onnx.save_model(half_products(onnx.load(path)), folder / path.name)
        files[name] = folder / path.name
    return files


def _compare(bundle: Bundle, folder: Path) -> list[Comparison]:
    """The graphs in `folder`, run by ONNX Runtime, against the bundle's float64 reference."""
    cases = bundle.cases()
    files = {
        graph.file: FileDigest(sha256_file(folder / graph.file), (folder / graph.file).stat().st_size)
        for graph in bundle.manifest.graphs.values()
    }
    files[ITEM_TABLE] = bundle.manifest.files[ITEM_TABLE]
    (folder / ITEM_TABLE).write_bytes(bundle.read(ITEM_TABLE))
    return compare_graphs(Bundle(folder, replace(bundle.manifest, files=files)), cases)


def _copy(bundle: Bundle, folder: Path) -> None:
    """The bundle's files as they were checked, without its plans."""
    for name in bundle.manifest.files:
        if not name.startswith(f"{FOLDER}/"):
            _made(folder / name).write_bytes(bundle.read(name))
    (folder / FOLDER).mkdir()


def _made(path: Path) -> Path:
    """The path, once its folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _device() -> str | None:
    """The GPU that the plans are for, as torch names it; None where TensorRT builds without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
