"""All that a search space holds, one after the other."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, IntDistribution

from eicompress.study.distributions import grid
from eicompress.study.space import Slot

VALUES = 3
"""Of a knob whose values are not a finite number: both ends, and the middle."""


def points(slots: Sequence[Slot], used: frozenset[str] = frozenset()) -> Iterator[dict[str, Any]]:
    """The trial parameters of every recipe of these slots, in order, where the slots `used` stand before them."""
    if not slots:
        yield {}
        return
    slot, *later = slots
    if slot.unless in used:
        yield from points(later, used)
        return
    if slot.optional:
        yield from ({slot.switch: False, **each} for each in points(later, used))
    switch = {slot.switch: True} if slot.optional else {}
    names = [slot.parameter(knob) for knob in slot.searched]
    for values in itertools.product(*(_values(of) for of in slot.searched.values())):
        own = switch | dict(zip(names, values, strict=True))
        yield from ({**own, **each} for each in points(later, used | {slot.name}))


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    return grid(distribution, VALUES if getattr(distribution, "step", None) is None else sys.maxsize)
