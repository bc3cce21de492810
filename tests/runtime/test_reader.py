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
from deployrec.runtime.seam import Moved

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


def test_each_users_top_k_is_that_of_the_last_event(reader_of: Callable[[str], Reader], twin_of: Callable) -> None:
    histories = [[1 + (7 * n + user) % 30 for n in range(length)] for user, length in enumerate((3, 1, 4, 1, 2, 4))]
    exclude = np.array([[rows[0], rows[-1]] for rows in histories], np.int32)
    reader = reader_of("gru")
    for several in (histories, [rows[:1] for rows in histories]):
        arrays = [np.array(rows) for rows in several]
        moved, best = reader.steps_and_lists(arrays, reader.manifest.state.zeros(len(arrays)), exclude, 5)
        moved = Moved(moved.user.copy(), {name: tensor.copy() for name, tensor in moved.state.items()})
        items = best.items.tolist()
        for place, rows in enumerate(several):
            assert items[place] == twin_of().top(rows, exclude[place].tolist(), 5)[0]
            np.testing.assert_allclose(moved.user[place], twin_of().read(rows)[0], atol=1e-5)


@pytest.mark.parametrize(("kind", "carried"), [("gru", [1, 6, 7, 10**9]), ("window", [1, 6]), ("encode-only", [])])
def test_a_state_is_carried_as_far_as_it_is_exact(
    reader_of: Callable[[str], Reader], kind: str, carried: list[int]
) -> None:
    reader = reader_of(kind)
    assert [number for number in (1, 6, 7, 10**9) if reader.carries(number)] == carried
    rows = np.arange(1, 20)
    assert len(reader.manifest.newest(rows)) == (len(rows) if kind == "gru" else 6)
    assert reader.manifest.newest(rows)[-1] == 19
