"""Which candidates a paired comparison of their answers on validation does not tell from another one."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from eicompress.metrics.quality import QUALITY
from eicompress.study.kept_answers import logits_of, validation_of
from eicompress.values import Record

Key = TypeVar("Key")


def not_certainly_worse(than: Record, baseline: Record | None, folder: Path) -> Callable[[Record], bool] | None:
    """Tells of a record whether its answers may be as good (95 % interval); None where those of `than` are not kept."""
    validation = validation_of(baseline, folder) if baseline else None
    theirs = logits_of(than, validation, folder) if validation else None
    if validation is None or theirs is None:
        return None
    # Differences of values from 0 to 1 deviate by 1 at most. With a margin: what is further behind is not read.
    widest = 1.96 * math.sqrt(2 / len(validation.targets)) if validation.answer.averaged else math.inf
    floor = _quality(than) - widest

    def near(record: Record) -> bool:
        if _quality(record) < floor:
            return False
        ours = logits_of(record, validation, folder)
        if ours is None:
            return False
        mean, half = validation.answer.difference(validation.targets, ours, theirs)
        return mean + half >= 0

    return near


def near_the_best(records: Mapping[Key, Record], baseline: Record | None, folder: Path) -> dict[Key, Record]:
    """The record of the highest quality and those that are not certainly worse; it alone where answers are not kept."""
    if not records:
        return {}
    best = max(records, key=lambda each: _quality(records[each]))
    near = not_certainly_worse(records[best], baseline, folder)
    return {each: record for each, record in records.items() if each == best or (near is not None and near(record))}


def _quality(record: Record) -> float:
    """Below all others where none was measured: a correlation may be negative."""
    found = record.value(QUALITY)
    return -math.inf if found is None else found
