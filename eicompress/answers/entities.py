"""Entities as they are found, counted and compared: parts of a text with a type, as runs of words."""

from typing import Any, NamedTuple

import numpy.typing as npt

from eicompress.answers.f1 import Whole, half_width

OUTSIDE = "O"
BEGINS, INSIDE = "B-", "I-"
NONE, CONTINUED = -1, -2
"""Targets of what is no word; and less the number of a tag, of a word that only continues a token of the data."""


class Spans(NamedTuple):
    """Entities of several texts: arrays (entities,) of the text, the first word, the one behind the last, the type."""

    rows: Whole
    starts: Whole
    ends: Whole
    types: Whole

    def keys(self, width: int, types: int) -> Whole:
        """(entities,) a number for each, the same for the same entity; `width` is that of the texts in words."""
        found: Whole = ((self.rows * width + self.starts) * (width + 1) + self.ends) * max(1, types) + self.types
        return found


def type_of(tag: str) -> str:
    """The type of an entity's tag; empty for `O`."""
    return tag[2:] if tag.startswith((BEGINS, INSIDE)) else ""


def f1(counts: npt.NDArray[Any]) -> float:
    """Of what is right, answered and there (..., 3), summed up before; 0 where there is nothing to divide by."""
    right, answered, there = counts.tolist()
    return 2 * right / (answered + there) if answered + there else 0.0


def interval_of(ours: Whole, theirs: Whole) -> float:
    """Half the width of the 95 % interval of the difference of two F1, by a bootstrap over the texts."""
    return half_width(lambda rows: f1(ours[rows].sum(axis=0)) - f1(theirs[rows].sum(axis=0)), len(ours))
