"""The time of trainings, estimated from finished ones, and the time left of a search."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from eicompress.study.halving import cost_s
from eicompress.trials.training_time import TimeEstimate
from eicompress.values import Record

STEP = 100
"""Rebuilds that are shorter than the full training come in steps of one hundredth."""


@dataclass(frozen=True)
class Cost:
    """What a training takes, by its length. Seconds of the full training, of all answers of the teacher to the texts
    that it reads, and of what does not depend on its length."""

    training_s: float
    answers_s: float = 0.0
    epochs: float = 1.0
    """How often the full training reads each text."""
    answered: float = 0.0
    """The share of the texts that the teacher has answered before."""
    fixed_s: float = 0.0

    def length_in(self, seconds: float) -> float:
        """The share of the full training that takes this number of seconds."""
        seconds -= self.fixed_s
        # While not all texts are read yet, the teacher's answers take longer with each step, too.
        reading = (seconds + self.answered * self.answers_s) / (self.training_s + self.epochs * self.answers_s)
        if reading * self.epochs <= 1.0:
            return max(0.0, reading)
        return (seconds - (1.0 - self.answered) * self.answers_s) / self.training_s


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

    def affordable_fidelity(self, cost: Cost, caution: float) -> float:
        """Full fidelity, or in too little time as much as there is time for; a training may take `caution` times as
        long as its cost."""
        share = cost.length_in(self.seconds / caution)
        return 1.0 if share >= 1.0 else math.floor(share * STEP) / STEP


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


def longer_cost(record: Record, trained: Sequence[Record], estimate: TimeEstimate) -> Cost:
    """What training a trial's recipe for longer takes. The teacher's answers to texts that the trial did not read are
    those of the estimate."""
    own, whole = (training_seconds(record, length, trained) for length in (0.0, 1.0))
    return Cost(
        training_s=max(1e-3, whole - own),
        answers_s=estimate.teacher,
        epochs=estimate.epochs,
        answered=min(1.0, estimate.epochs * record.fidelity),
        fixed_s=own - record.seconds_by_phase.get("teacher", 0.0),
    )


def trial_seconds(trained: Sequence[Record]) -> float:
    """What a trial takes that is trained to its last rung, by the median of those that came furthest.

    A trial that has no time for that is no result.
    """
    furthest = max((each.fidelity for each in trained), default=0.0)
    return median([cost_s(each) for each in trained if each.fidelity == furthest] or [0.0])
