"""Moves users' states forward: one event, many users' events in waves, or whole histories in chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deployrec.bundle.manifest import Manifest
from deployrec.runtime.backends.base import Backend, Output
from deployrec.runtime.states import Observation, UserStore

BATCH = 256
"""Users of one call to a graph."""
BATCH_SCORES = 16_000_000
"""Scores that one call may hold in memory: fewer users a call on large catalogues."""
DEEP = 8
"""More new events of one user than this are encoded at once instead of step by step."""

NOTHING = np.zeros((1, 1), np.int64)


def window_of(manifest: Manifest) -> int:
    """How many newest events a user is read from again where the state is not exact, 0 where it always is."""
    return manifest.state.exact_up_to or (0 if "step" in manifest.graphs else manifest.encode_chunk)


class Updates:
    """Reads observations into the users' states of a store. A failing call leaves its users as they were."""

    def __init__(self, manifest: Manifest, backend: Backend, store: UserStore) -> None:
        self.backend = backend
        self.store = store
        self.window = window_of(manifest)
        self.has_step = "step" in manifest.graphs
        self.chunk = manifest.encode_chunk
        self.batch = max(1, min(BATCH, BATCH_SCORES // (manifest.num_items + 1)))
        self.item = np.zeros(1, np.int64)

    def one(self, slot: int, observation: Observation, exclude: np.ndarray) -> Output:
        """Reads one event and answers with the top-k after it; exclude [1, E]."""
        store = self.store
        read = ((observation,),)
        if self._restarts(slot, 1):
            found = self._encode([slot], read, exclude)
        else:
            self.item[0] = observation.row
            found = self.backend.step(self.item, exclude, store.state(slice(slot, slot + 1)))
        store.commit((slot,), read, found.user, found.state)
        return found

    def many(self, events: Mapping[int, Sequence[Observation]]) -> None:
        """Reads each slot's events in their order. Slots with few events go in waves: one event of each user a step."""
        deep = {slot: read for slot, read in events.items() if len(read) > DEEP or self.window}
        self.histories(deep)
        waiting = [(slot, read) for slot, read in events.items() if slot not in deep and read]
        depth = 0
        while waiting:
            for start in range(0, len(waiting), self.batch):
                wave = waiting[start : start + self.batch]
                slots = [slot for slot, _ in wave]
                rows = np.array([read[depth].row for _, read in wave], np.int64)
                found = self.backend.step(rows, NOTHING.repeat(len(wave), 0), self.store.state(np.array(slots)))
                self.store.commit(slots, [(read[depth],) for _, read in wave], found.user, found.state)
            depth += 1
            waiting = [(slot, read) for slot, read in waiting if len(read) > depth]

    def histories(self, events: Mapping[int, Sequence[Observation]]) -> None:
        """Reads each slot's events through the encode graph, users of similar lengths together."""
        waiting = sorted(((slot, read) for slot, read in events.items() if read), key=lambda pair: len(pair[1]))
        for start in range(0, len(waiting), self.batch):
            slots, reads = zip(*waiting[start : start + self.batch], strict=True)
            found = self._encode(slots, reads, NOTHING.repeat(len(slots), 0))
            self.store.commit(slots, reads, found.user, found.state)

    def _restarts(self, slot: int, new: int) -> bool:
        """Whether the state cannot be carried on: the user's last window is then read from the start."""
        if not self.window:
            return False
        return not self.has_step or int(self.store.arrays["num_events"][slot]) + new > self.window

    def _encode(self, slots: Sequence[int], read: Sequence[Sequence[Observation]], exclude: np.ndarray) -> Output:
        """User vectors and states after the events, of which each user has at least one; the top-k of the last call."""
        state = self.store.state(np.asarray(slots))
        histories = []
        for index, (slot, observations) in enumerate(zip(slots, read, strict=True)):
            rows = np.array([observation.row for observation in observations], np.int64)
            if self._restarts(slot, len(rows)):
                rows = np.concatenate([self.store.window(slot), rows])[-self.window :]
                for tensor in state.values():
                    tensor[index] = 0
            histories.append(rows)
        user = np.zeros((len(slots), self.store.arrays["user"].shape[1]), np.float32)
        lengths = np.array([len(rows) for rows in histories])
        for start in range(0, int(lengths.max()), self.chunk):
            active = np.flatnonzero(lengths > start)
            part = [histories[index][start : start + self.chunk] for index in active]
            items = np.zeros((len(active), max(map(len, part))), np.int64)
            for line, rows in zip(items, part, strict=True):
                line[: len(rows)] = rows
            past = {name: tensor[active] for name, tensor in state.items()}
            found = self.backend.encode(items, np.array([len(rows) for rows in part]), exclude[active], past)
            user[active] = found.user
            for name, tensor in state.items():
                tensor[active] = found.state[name]
        return Output(found.topk_items, found.topk_scores, user, state)
