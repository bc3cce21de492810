"""deployrec.h from Python, as another language would call it."""

from __future__ import annotations

import ctypes
from pathlib import Path

from deployrec.runtime.backends.native import _onnxruntime

WHOLE = ctypes.c_int64


class RefusedError(Exception):
    """A code that is not 0, and its line."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


class Native:
    """A recommender of the shared library at `library`; `options` as `deployrec_options_set` takes them."""

    def __init__(self, library: Path, **options: object) -> None:
        self.c = ctypes.CDLL(str(library))
        self.c.deployrec_options_new.restype = ctypes.c_void_p
        self.c.deployrec_error.restype = ctypes.c_char_p
        self.c.deployrec_counter.restype = ctypes.c_double
        for name in ("users", "user_list", "events_of", "num_items", "max_k"):
            getattr(self.c, f"deployrec_{name}").restype = WHOLE
        self.handle = ctypes.c_void_p()
        self.call("load", self.options(**options), ctypes.byref(self.handle), on=False)

    def __del__(self) -> None:
        self.c.deployrec_free(self.handle)

    def options(self, **options: object) -> ctypes.c_void_p:
        made = ctypes.c_void_p(self.c.deployrec_options_new())
        for name, value in {**_onnxruntime(), **options}.items():
            self.call("options_set", made, name.encode(), str(value).encode(), on=False)
        return made

    def call(self, name: str, *arguments: object, on: bool = True) -> None:
        code = getattr(self.c, f"deployrec_{name}")(*((self.handle,) if on else ()), *arguments)
        if code:
            raise RefusedError(code, self.c.deployrec_error().decode())

    def observe(self, events: list[tuple[int, int]]) -> None:
        users, rows = zip(*events, strict=True)
        self.call("observe", _array(users), _array(rows), ctypes.c_size_t(len(events)))

    def recommend(self, user: int, k: int) -> list[tuple[int, float]]:
        rows, scores = (WHOLE * k)(), (ctypes.c_float * k)()
        self.call("recommend", _array([user]), ctypes.c_size_t(1), WHOLE(k), rows, scores)
        return list(zip(rows, scores, strict=True))

    def recommend_among(self, user: int, k: int, choice: Choice, item: int | None = None) -> list[tuple[int, float]]:
        """Once the user has read the item, where one is named; without the places that are left."""
        rows, scores, one = (WHOLE * k)(), (ctypes.c_float * k)(), ctypes.c_size_t(1)
        read, name = ([], "recommend") if item is None else ([_array([item])], "observe_and_recommend")
        wanted = (_array([user]), *read, one, ctypes.byref(choice), WHOLE(k), rows, scores)
        self.call(f"{name}_among", *wanted)
        return [(row, score) for row, score in zip(rows, scores, strict=True) if row]

    def export(self, user: int) -> bytes:
        size = ctypes.c_size_t(0)
        try:
            self.call("export_user", WHOLE(user), None, ctypes.byref(size))
        except RefusedError:
            if not size.value:
                raise
        room = ctypes.create_string_buffer(size.value)
        self.call("export_user", WHOLE(user), room, ctypes.byref(size))
        return room.raw

    def import_user(self, user: int, record: bytes) -> None:
        self.call("import_user", WHOLE(user), record, ctypes.c_size_t(len(record)))

    def users(self) -> list[int]:
        room = (WHOLE * 1000)()
        return list(room[: self.c.deployrec_user_list(self.handle, room, ctypes.c_size_t(1000))])

    def counter(self, name: str) -> float:
        return float(self.c.deployrec_counter(self.handle, name.encode()))


class Choice(ctypes.Structure):
    """`deployrec_choice`"""

    _fields_ = (
        ("is_limited", ctypes.c_int),
        *(("only", ctypes.POINTER(WHOLE)), ("only_count", ctypes.c_size_t)),
        *(("exclude", ctypes.POINTER(WHOLE)), ("exclude_count", ctypes.c_size_t)),
    )

    @classmethod
    def of(cls, only: list[int] | None = None, exclude: list[int] | None = None) -> Choice:
        both = [_array(rows or []) for rows in (only, exclude)]
        return cls(only is not None, both[0], len(only or []), both[1], len(exclude or []))


class Items:
    """A catalogue of the shared library at `library`."""

    def __init__(self, library: Path, bundle: Path) -> None:
        self.c = ctypes.CDLL(str(library))
        for name in ("error", "item_id", "item_title"):
            getattr(self.c, f"deployrec_{name}").restype = ctypes.c_char_p
        self.c.deployrec_item_row.restype = WHOLE
        self.handle = ctypes.c_void_p()
        self.check(self.c.deployrec_catalogue_load(str(bundle).encode(), ctypes.byref(self.handle)))

    def __del__(self) -> None:
        self.c.deployrec_catalogue_free(self.handle)

    def check(self, code: int) -> None:
        if code:
            raise RefusedError(code, self.c.deployrec_error().decode())

    def where(self, condition: str, room: int) -> list[int]:
        rows, count = (WHOLE * max(1, room))(), ctypes.c_size_t(room)
        self.check(self.c.deployrec_where(self.handle, condition.encode(), rows, ctypes.byref(count)))
        return list(rows[: count.value])


def _array(values: object) -> object:
    numbers = list(values)  # type: ignore[call-overload]
    return (WHOLE * len(numbers))(*numbers)
