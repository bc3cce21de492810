"""Seen items of many users at once are those of each user alone."""

from __future__ import annotations

import numpy as np
import pytest

from deployrec.runtime import books


@pytest.mark.parametrize("highest", [3, 300, 2**24])
def test_one_event_of_each_user_is_seen_as_one_after_the_other(highest: int) -> None:
    draw = np.random.default_rng(highest)
    seen = [np.unique(draw.integers(1, highest, n)).astype(np.int32).tobytes() for n in (0, 1, 2, 40, 0, 7)]
    new = draw.integers(1, highest, len(seen)).astype(np.int32)
    new[2] = np.frombuffer(seen[2], np.int32)[0]
    expected = [books._seen_too(own, row) for own, row in zip(seen, new.tolist(), strict=True)]
    assert books._seen_one_each(seen, new) == expected
    assert len(expected[2]) == len(seen[2])


def test_a_row_that_only_lies_across_two_others_is_new() -> None:
    seen = np.array([0x01000000, 0x00000002], np.int32).tobytes()
    across = int.from_bytes(seen[3:7], "little")
    (after,) = books._seen_one_each([seen], np.array([across], np.int32))
    assert np.frombuffer(after, np.int32).tolist() == [0x01000000, 0x00000002, across]
