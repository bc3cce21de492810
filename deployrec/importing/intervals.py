"""RecBole's intervals of numbers, written "[5,inf)" or "(0,1];[3,4)"."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployrec.errors import DataError

ONE = re.compile(r"([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])")


@dataclass(frozen=True)
class Intervals:
    """A number is inside if one of the (left bracket, least, most, right bracket) holds it."""

    parts: tuple[tuple[str, float, float, str], ...]

    @classmethod
    def parse(cls, text: object) -> Intervals | None:
        """None for a setting that is not set; DataError for a text that is no interval."""
        if text is None:
            return None
        parts = []
        for written in str(text).split(";"):
            found = ONE.fullmatch(written.strip())
            try:
                if found is None:
                    raise ValueError
                parts.append((found[1], float(found[2]), float(found[3]), found[4]))
            except ValueError:
                raise DataError(
                    f"expected an interval such as '[5,inf)' in the checkpoint's settings; got {text!r}; it is "
                    "not imported"
                ) from None
        return cls(tuple(parts))

    @property
    def least(self) -> float:
        """The first interval's lower end, which RecBole holds items without events against."""
        return self.parts[0][1]

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each value is inside; NaN never is."""
        inside = np.zeros(len(values), bool)
        for left, least, most, right in self.parts:
            above = values >= least if left == "[" else values > least
            inside |= above & (values <= most if right == "]" else values < most)
        return inside
