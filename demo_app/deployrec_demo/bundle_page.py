"""The page about the bundle itself: what it holds, that it is whole, and how closely it agrees with its model."""

from __future__ import annotations

import json
from html import escape
from math import prod
from typing import Any

import streamlit as st

from deployrec.bundle.manifest import GRAPHS, PARITY
from deployrec.bundle.parity import Comparison, largest_figures, worst
from deployrec.runtime.verify import verify
from deployrec_demo import look, resources
from deployrec_demo.engine import Engine
from deployrec_demo.graph_picture import dot, read_picture


def page() -> None:
    engine = resources.engine()
    st.html(
        '<h1 class="pitch">What is served, and the proof</h1><p class="pitch">A bundle is a folder of graphs with a '
        "certificate: every way to a user's state, compared with the same model in float64.</p>"
    )
    certificate = [Comparison.from_dict(row) for row in json.loads(engine.bundle.read(PARITY)).get("comparisons", [])]
    _summary(engine, certificate)
    left, right = st.columns(2, gap="medium")
    with left:
        _state(engine)
    with right:
        _files(engine)
    _certificate(engine, certificate)
    _graphs(engine)
    with st.expander("manifest.json"):
        st.json(engine.manifest.document, expanded=1)


def _summary(engine: Engine, certificate: list[Comparison]) -> None:
    manifest = engine.manifest
    look.figures(
        (f"{largest_figures(certificate).get('user', 0.0):.0e}", "largest error of a user vector, against float64"),
        (f"{len(certificate):,}", "comparisons in the certificate"),
        (look.size(manifest.state.bytes) if manifest.state.tensors else "none", "state per user"),
        (look.size(sum(file.bytes for file in manifest.files.values())), f"in {len(manifest.files)} files"),
    )
    recipe = {name: value for name, value in manifest.training.items() if name != "metrics" and value != {}}
    training = " · ".join(f"{name} {value}" for name, value in recipe.items())
    rows = [
        ["bundle", f"<code>{manifest.bundle_id[:16]}</code> of {escape(manifest.created[:10])}"],
        ["model", f"{escape(manifest.model['key'])}, {escape(_pairs(manifest.model['config']))}"],
        [
            "data",
            f"{escape(manifest.data['name'])}: {manifest.data['num_users']:,} users, {manifest.num_items:,} items, "
            f"{manifest.data['num_events']:,} events",
        ],
        ["training", escape(training)],
        [
            "requests",
            "any number of items, without those the user has seen; "
            f"histories in chunks of {manifest.encode_chunk} events",
        ],
        ["versions", escape(_pairs(manifest.versions))],
    ]
    look.table(["", ""], [row for row in rows if row[1]])


def _state(engine: Engine) -> None:
    st.markdown("#### State of one user")
    spec = engine.manifest.state
    if not spec.tensors:
        st.caption(f"None: every request reads the newest {engine.window:,} events again.")
        return
    rows = [
        [escape(tensor.name), " x ".join(map(str, tensor.shape)), look.size(4 * prod(tensor.shape))]
        for tensor in spec.tensors
    ]
    look.table(["tensor", "shape", "size"], [*rows, ["all", "", look.size(spec.bytes)]], numbers=(1, 2))
    exact = "a history of any length" if spec.exact_up_to is None else f"the newest {spec.exact_up_to:,} events"
    st.caption(f"Exact for {exact}.")


def _files(engine: Engine) -> None:
    st.markdown("#### Files")
    rows = [
        [
            escape(name),
            look.size(file.bytes),
            f"<code>{file.sha256[:8]}</code>",
            '<span class="good">as exported</span>',
        ]
        for name, file in engine.manifest.files.items()
    ]
    look.table(["file", "size", "sha256", ""], rows, numbers=(1,))
    st.caption("Every digest was compared when this server opened the bundle.")


def _certificate(engine: Engine, certificate: list[Comparison]) -> None:
    st.markdown("#### Parity certificate")
    st.caption(
        "Every path to a user's state, in torch and in ONNX Runtime, against a float64 reference on "
        f"{len({row.case for row in certificate})} histories. Below, each quantity's worst figure."
    )
    # Torch's worst and ONNX Runtime's, of each quantity.
    nearest = {
        (row.quantity, row.comparison.partition(" ")[0]): row
        for row in sorted(worst(certificate), key=lambda row: row.strain)
    }
    look.table(
        ["quantity", "worst in", "error", "limit", ""],
        [
            [
                escape(row.quantity),
                f"{escape(row.comparison)}, {escape(row.case)}",
                f"{row.figure:.1e}",
                f"{row.limit:.1e}",
                _verdict(row.passed),
            ]
            for _, row in sorted(nearest.items())
        ],
        numbers=(2, 3),
    )
    if st.button("Check digests and rerun it here", key="verify"):
        with st.spinner("Comparing the graphs with the certificate's answers ..."), engine.lock:
            report = verify(engine.bundle.path)
        failed = sum(not row.passed for row in report.comparisons)
        count = len(report.comparisons)
        (st.error if failed else st.success)(
            f"Live: {len(engine.manifest.files)} files as exported; {count - failed:,} of {count:,} comparisons hold "
            "on this machine."
        )
    with st.expander(f"All {len(certificate):,} comparisons"):
        st.dataframe(
            [row.to_dict() for row in certificate],
            hide_index=True,
            column_order=["comparison", "case", "quantity", "figure", "limit", "passed"],
            column_config={name: st.column_config.NumberColumn(format="%.1e") for name in ("figure", "limit")},
        )


def _graphs(engine: Engine) -> None:
    st.markdown("#### Graphs")
    names = [name for name in GRAPHS if name in engine.manifest.graphs]
    name = st.segmented_control(
        "Graph", names, default=names[0], required=True, key="graph", label_visibility="collapsed"
    )
    picture = read_picture(engine.bundle.file(engine.manifest.graphs[name].file))
    st.caption(
        f"{engine.manifest.graphs[name].file}: {picture.nodes} operators, opset {engine.manifest.opset}; grouped by "
        "module, state in colour."
    )
    st.graphviz_chart(
        dot(picture, st.context.theme.type == "dark"), width="content", alt=f"the {name} graph by modules"
    )


def _verdict(passed: bool) -> str:
    return '<span class="good">holds</span>' if passed else '<span class="bad">fails</span>'


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
