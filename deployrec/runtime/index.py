"""An approximate index over the item table: candidates by faiss, their scores exact, and never an item too few."""

from __future__ import annotations

from typing import Any

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import INDEX
from deployrec.errors import BundleError
from deployrec.extras import missing_extra
from deployrec.files import first_line

FETCHED = 128
"""Candidates of a request whose ten best are wanted; their exact scores decide."""


class Index:
    """Rows of the highest products with a user vector, of most of them; rows that never come are not in it.

    The index keeps half a byte a number (`IVF...(PQ...x4fs),PQ...x4fs`): the items in lists by their nearest centre, of
    which a search reads the `probes` nearest to the user.
    """

    def __init__(self, index: Any, probes: int, num_items: int) -> None:
        self._faiss, self._index, self._lists = library(), index, index.nlist
        if (last := self._last_row()) > num_items:
            raise BundleError(f"expected an index of {num_items:,} items; got item {last:,}; export the bundle again")
        self.probes = index.nprobe = probes

    @classmethod
    def load(cls, bundle: Bundle) -> Index | None:
        """The bundle's index, None where it has none; raises BundleError for a broken one."""
        about = bundle.manifest.index
        if about is None:
            return None
        faiss = library()
        content = np.frombuffer(bundle.read(INDEX), np.uint8)
        try:
            index = faiss.deserialize_index(content)
            if index.d != bundle.manifest.dim or not hasattr(index, "nlist"):
                raise ValueError(f"an index of {index.d} numbers a vector")
        except (RuntimeError, ValueError) as error:
            raise BundleError(
                f"expected an index in {bundle.file(INDEX)}; got {first_line(error)}; export the bundle again"
            ) from None
        return cls(index, about.probes, bundle.manifest.num_items)

    def candidates(
        self, user: np.ndarray, number: int, share: float = 1.0, offered: np.ndarray | None = None
    ) -> np.ndarray:
        """Item rows int64 [B, number] for user vectors [B, D], about the best first; -1 where there are no more.

        offered: bool [N + 1], which may come, a `share` of all: so many more lists are searched.
        """
        parameters = None
        if offered is not None:
            probes = min(self._lists, int(np.ceil(self.probes / share)))
            bits = np.packbits(offered, bitorder="little")  # which faiss reads in place
            selector = self._faiss.IDSelectorBitmap(bits)
            parameters = self._faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        user, pointer = np.ascontiguousarray(user, np.float32), self._faiss.swig_ptr
        rows, scores = np.empty((len(user), number), np.int64), np.empty((len(user), number), np.float32)
        # What index.search ends in: of a request's whole time its checks are a twentieth.
        self._index.search_c(len(user), pointer(user), number, pointer(scores), pointer(rows), parameters)
        return rows

    def _last_row(self) -> int:
        lists = self._index.invlists
        rows = (self._faiss.rev_swig_ptr(lists.get_ids(n), lists.list_size(n)) for n in range(self._lists))
        return max((int(row.max()) for row in rows if len(row)), default=0)


def library() -> Any:
    """The module faiss; raises ConfigError, which names the extra, where it is not installed."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None
    return faiss
