"""The one reader: any cut of a history into calls, chunks and steps ends in the twin's state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.runtime import Bundle
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.reader import Reader

HISTORIES = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=30), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def reader_of(twin_bundle: Callable[..., Bundle]) -> Callable[[str], Reader]:
    made: dict[str, Reader] = {}

    def reader(kind: str) -> Reader:
        if kind not in made:
            bundle = twin_bundle(kind=kind)
            made[kind] = Reader(bundle.manifest, load_backend("onnxruntime", bundle))
        return made[kind]

    return reader


@given(histories=HISTORIES, more=HISTORIES)
@settings(max_examples=40, deadline=None)
def test_encode_and_steps_carry_any_state_on(
    reader_of: Callable[[str], Reader], twin_of: Callable, histories: list[list[int]], more: list[list[int]]
) -> None:
    reader = reader_of("gru")
    both = list(zip(histories, more, strict=False))
    first, second = ([np.array(part, np.int64) for part in parts] for parts in zip(*both, strict=True))
    before = {name: tensor.copy() for name, tensor in reader.encode(first).state.items()}
    for read in (reader.encode, reader.steps):
        found = read(second, before)
        for place, (start, rest) in enumerate(both):
            user, state = twin_of().read(start + rest)
            np.testing.assert_allclose(found.user[place], user, atol=1e-5)
            for name, tensor in state.items():
                np.testing.assert_allclose(found.state[name][place], tensor, atol=1e-5)


@pytest.mark.parametrize(("kind", "length"), [("gru", 3), ("gru", 40), ("window", 6), ("encode-only", 5)])
def test_one_users_top_k_is_that_of_the_last_event(
    reader_of: Callable[[str], Reader], twin_of: Callable, kind: str, length: int
) -> None:
    rows = [1 + 7 * n % 30 for n in range(length)]
    exclude = np.array([rows[:3]], np.int32)
    found = reader_of(kind).encode([np.array(rows)], exclude=exclude)
    assert found.topk_items[0].tolist() == twin_of(kind).top(rows, rows[:3], 12)[0]
    assert reader_of(kind).encode([np.array(rows), np.array(rows)]).topk_items.size == 0


@pytest.mark.parametrize(("kind", "carried"), [("gru", [1, 6, 7, 10**9]), ("window", [1, 6]), ("encode-only", [])])
def test_a_state_is_carried_as_far_as_it_is_exact(
    reader_of: Callable[[str], Reader], kind: str, carried: list[int]
) -> None:
    reader = reader_of(kind)
    assert [number for number in (1, 6, 7, 10**9) if reader.carries(number)] == carried
    rows = np.arange(1, 20)
    assert len(reader.manifest.newest(rows)) == (len(rows) if kind == "gru" else 6)
    assert reader.manifest.newest(rows)[-1] == 19
