"""What a TensorRT plan says of itself: the one text that a plan carries, as the name of its network.

The C++ library knows a bundle by its plans alone; `plugins_trt/serving/src/plan_name.cpp` reads the same text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from deployrec.bundle.manifest import Manifest


@dataclass(frozen=True)
class PlanName:
    """graph: "step", "advance", "encode" or "score"; max_k: items of the plan's longest list, 0 where it makes none;
    window: see `Manifest.window`, a state's `exact_up_to`."""

    graph: str
    bundle_id: str
    state_id: str
    num_items: int
    window: int
    max_k: int

    @classmethod
    def of(cls, manifest: Manifest, graph: str, max_k: int) -> PlanName:
        """The name of the plan of one of the bundle's graphs, whose lists, if it makes any, have up to max_k items."""
        makes_lists = any(tensor.name == "k" for tensor in manifest.graphs[graph].inputs)
        longest = max_k if makes_lists else 0
        return cls(graph, manifest.bundle_id, manifest.state_id, manifest.num_items, manifest.window, longest)

    def __str__(self) -> str:
        return "deployrec plan 1 " + " ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))
