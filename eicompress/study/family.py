"""Parts of super-networks: which one each came from, and what each axis buys."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.study.halving import at_first
from eicompress.values import SHARED, Json, Record

SPARE = 3
"""Parts that a fit must have beyond its unknowns."""


@dataclass(frozen=True)
class Axis:
    """What a knob buys from its lowest value to its highest, the others unchanged: by a linear fit over all parts."""

    name: str
    low: float
    high: float
    quality: float
    size_mb: float

    @property
    def per_100_kb(self) -> float | None:
        """Quality for 100 KB; None where the knob costs no bytes."""
        return self.quality / self.size_mb / 10 if abs(self.size_mb) > 1e-3 else None


@dataclass(frozen=True)
class Family:
    """The parts of one shared training."""

    key: str
    """That of the shared training in the cache."""
    steps: tuple[Json, ...]
    """Of the recipe, up to the shared training."""
    trials: tuple[int, ...]
    front: tuple[int, ...]
    """The trials among them that no other candidate of the study dominates."""
    axes: tuple[Axis, ...]
    """What buys most comes first; empty where too few parts are known."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def families(records: Mapping[int, Record], front: Sequence[int]) -> list[Family]:
    """The super-networks of a study's trials with their parts, the one with most parts first; `front` are the trials
    that no other dominates."""
    found: dict[str, dict[int, Record]] = {}
    for number, record in records.items():
        if record.trained and record.repeat_of is None and SHARED in record.facts:
            found.setdefault(record.facts[SHARED]["key"], {})[number] = record
    return sorted(
        (_family(key, parts, front) for key, parts in found.items()), key=lambda each: (-len(each.trials), each.key)
    )


def knobs_of(record: Record) -> dict[str, Any]:
    """What a part's own steps were given, by names such as `subnetwork.layers`."""
    own = record.recipe[record.facts[SHARED]["steps"] :]
    return {f"{step['strategy']}.{name}": value for step in own for name, value in step.items() if name != "strategy"}


def _family(key: str, parts: Mapping[int, Record], front: Sequence[int]) -> Family:
    first = next(iter(parts.values()))
    steps = first.recipe[: first.facts[SHARED]["steps"]]
    return Family(key, tuple(steps), tuple(parts), tuple(each for each in front if each in parts), _axes(parts))


def _axes(parts: Mapping[int, Record]) -> tuple[Axis, ...]:
    records = [at_first(each) for each in parts.values() if each.value(QUALITY) is not None and each.value(SIZE)]
    settings = [knobs_of(each) for each in records]
    shared = [
        name for name in (settings[0] if settings else {}) if all(_is_number(each.get(name)) for each in settings)
    ]
    names = [name for name in shared if len({each[name] for each in settings}) > 1]
    if not names or len(records) < len(names) + 1 + SPARE:
        return ()
    values = np.array([[float(each[name]) for name in names] for each in settings])
    low, high = values.min(axis=0), values.max(axis=0)
    terms = np.column_stack([(values - low) / (high - low), np.ones(len(values))])
    wanted = np.array([[each.value(QUALITY), each.value(SIZE)] for each in records])
    slopes = np.linalg.lstsq(terms, wanted, rcond=None)[0]
    axes = [
        Axis(name, float(low[at]), float(high[at]), float(slopes[at, 0]), float(slopes[at, 1]))
        for at, name in enumerate(names)
    ]
    return tuple(sorted(axes, key=lambda each: -each.quality))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
