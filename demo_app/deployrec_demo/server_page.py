"""The server's page: what a running `deployrec serve` does right now, and a button that gives it something to do."""

from __future__ import annotations

import threading
import time
from collections import deque
from html import escape
from itertools import pairwise
from math import inf

import streamlit as st

from deployrec.errors import DeployrecError
from deployrec_demo import look, resources
from deployrec_demo.load import CALLERS, SECONDS, Load
from deployrec_demo.server_address import Address
from deployrec_demo.server_charts import over_time, sizes
from deployrec_demo.server_metrics import Between, Sample, between, read, restarted

EVERY, KEPT, NOW = 1.0, 120, 5.0
"""Seconds between two readings, the readings that are drawn, and the seconds that "now" means."""


class Watch:
    """The newest readings of one server, made while somebody looks."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    def look(self) -> list[Sample]:
        """Reads the metrics unless that was just done. Raises ConfigError where no server answers."""
        with self._lock:
            if not self.samples or time.monotonic() - self.samples[-1].at > 0.8 * EVERY:
                sample = read(self.address.metrics(), time.monotonic())
                if self.samples and (restarted(self.samples[-1], sample) or sample.at - self.samples[-1].at > 10):
                    self.samples.clear()
                self.samples.append(sample)
            return list(self.samples)


def page() -> None:
    st.html(
        '<h1 class="pitch">One server, live.</h1><p class="pitch">What <b>deployrec serve</b> says of itself at '
        "/metrics: events of many users arrive one by one, and the server runs those that wait as one batch.</p>"
    )
    st.fragment(resources.guarded(_live), run_every=EVERY)()


def _live() -> None:
    watch = _watch(Address.given())
    try:
        samples = watch.look()
    except DeployrecError as error:
        st.info(str(error))
        st.code("deployrec serve bundles/recblr", language="bash")
        st.caption(f"The page looks again every second. It watches {watch.address.url}; `deployrec demo --server URL` "
                   "watches another.")  # fmt: skip
        return
    newest = samples[-1]
    earlier = next((one for one in samples if newest.at - one.at <= NOW), newest)
    now = between(earlier, newest)
    _load(watch.address)
    look.figures(
        (f"{now.rate:,.0f}", f"requests a second, last {NOW:.0f} s"),
        (look.duration(now.p99) if now.p99 is not None else "-", "p99, from head to answer"),
        (f"{now.mean_size:.1f}" if now.mean_size else "-", "users a batch, mean"),
        (f"{newest.waiting:,.0f}", "waiting for a batch"),
    )
    _charts(samples)
    _words(watch.address, newest, now)


def _load(address: Address) -> None:
    load = _shared_load()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="load"):
        if load.running:
            st.button("Stop", on_click=load.stop, key="stop")
            left = max(0.0, load.ends - time.monotonic())
            st.caption(f"Visitors click what they are shown, {left:.0f} s more." if left else "Erasing the visitors.")
            return
        callers = st.segmented_control("Callers", CALLERS, default=CALLERS[1], required=True, key="callers",
                                       format_func=lambda count: f"{count} caller{'s' * (count > 1)}",
                                       label_visibility="collapsed", disabled=not address.here)  # fmt: skip
        if st.button(f"Send load for {SECONDS} s", type="primary", key="send", disabled=not address.here):
            load.start(address, callers)
            st.rerun(scope="fragment")
        st.caption(
            "Made-up visitors, erased at the end; each waits for its answer before the next click."
            if address.here
            else "Load is sent to a server of this machine only."
        )


def _charts(samples: list[Sample]) -> None:
    steps = [(two.at - samples[-1].at, between(one, two)) for one, two in pairwise(samples)]
    whole = between(samples[0], samples[-1])
    left, right = st.columns([7, 4], gap="large")
    plain = {"displayModeBar": False}
    with left:
        st.markdown("**Requests a second, and how long they took**")
        st.plotly_chart(over_time(steps), config=plain, key="over-time")
    with right:
        st.markdown("**Batches by their size**")
        st.plotly_chart(sizes(whole.sizes), config=plain, key="sizes")


def _words(address: Address, newest: Sample, now: Between) -> None:
    served = ", ".join(f"{arm} <code>{escape(name[:12])}</code>" for name, arm in newest.served) or "nothing yet"
    became = ", ".join(f"{count:,.0f} {name}" for name, count in sorted(now.outcomes.items())) or "none"
    rows = [
        ["watched", f"{escape(address.url)}, answering from {served}"],
        [f"events of the last {NOW:.0f} s", escape(became)],
        ["answers since its start", f"{newest.requests:,.0f}, of which {newest.failed:,.0f} were refusals or failures"],
        ["batches since its start", f"{newest.batches.get(inf, 0):,.0f}"],
    ]
    look.table(["", ""], rows)
    st.caption(
        "Read from the server's own counts; questions for metrics and health are left out. A percentile lies within "
        "its bucket, whose bounds are up to 2.5 times apart."
    )


@st.cache_resource(show_spinner=False, max_entries=4)
def _watch(address: Address) -> Watch:
    return Watch(address)


@st.cache_resource(show_spinner=False)
def _shared_load() -> Load:
    return Load()
