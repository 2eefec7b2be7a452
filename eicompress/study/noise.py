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
    # No interval is wider, unless two models are right on opposite texts: what is further behind is not read.
    floor = (than.value(QUALITY) or 0.0) - 1.96 * math.sqrt(2 / len(validation.targets))

    def near(record: Record) -> bool:
        if (record.value(QUALITY) or 0.0) < floor:
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
    best = max(records, key=lambda each: records[each].value(QUALITY) or 0.0)
    near = not_certainly_worse(records[best], baseline, folder)
    return {each: record for each, record in records.items() if each == best or (near is not None and near(record))}
