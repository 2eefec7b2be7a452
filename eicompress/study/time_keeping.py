"""The time of trainings, estimated from finished ones, and the time left of a search."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from eicompress.study.halving import cost_s
from eicompress.values import Record

STEP = 100
"""Rebuilds that are shorter than the full training come in steps of one hundredth."""


@dataclass(frozen=True)
class TimeLeft:
    """What is left of the time of a search."""

    limit_s: float
    """Infinite where the time is not limited."""
    spent_s: float
    kept_s: float | None = None
    """What is kept for promotion; None as long as no candidate is within budget."""

    @property
    def seconds(self) -> float:
        return self.limit_s - self.spent_s

    @property
    def in_a_hurry(self) -> bool:
        """Whether the time is limited and the search has no result yet."""
        return self.limit_s < math.inf and self.kept_s is None

    def allows_search(self, seconds: float) -> bool:
        """Whether a trial that takes so long may still begin. Until a candidate is within budget nothing is kept."""
        return self.seconds > 0 and (self.kept_s is None or self.seconds - seconds > self.kept_s)

    def allows(self, seconds: float) -> bool:
        """Whether there is time for this, nothing kept."""
        return self.spent_s + seconds <= self.limit_s

    def affordable_fidelity(self, training_s: float, least: float) -> float:
        """Full fidelity, or in too little time as much as there is time for, but not less than `least`; `training_s`
        are seconds of the full training."""
        share = self.seconds / training_s
        return 1.0 if share >= 1.0 else max(least, math.floor(share * STEP) / STEP)


def full_seconds(record: Record) -> float:
    """Of one training of the record's recipe at full length, with what is measured of it."""
    training = record.seconds_by_phase.get("training", 0.0)
    return record.own_seconds - training + training / record.fidelity


def training_seconds(record: Record, fidelity: float, trained: Sequence[Record]) -> float:
    """Of training a trial's recipe at this fidelity, with what is measured: estimated from the trial's own seconds, or,
    where it took its training from the cache, from those of others that were trained."""
    others = [each.seconds_by_phase.get("training", 0.0) / each.fidelity for each in trained]
    own = full_seconds(replace(record, seconds_by_phase={**record.seconds_by_phase, "training": 0.0}))
    longest = max(record.seconds_by_phase.get("training", 0.0) / record.fidelity, median(others or [0.0]))
    return max(1e-3, own + fidelity * longest)


def trial_seconds(trained: Sequence[Record]) -> float:
    """What a trial takes that is trained to its last rung, by the median of those that came furthest.

    A trial that has no time for that is no result.
    """
    furthest = max((each.fidelity for each in trained), default=0.0)
    return median([cost_s(each) for each in trained if each.fidelity == furthest] or [0.0])
