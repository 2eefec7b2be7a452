"""Short trainings first: asynchronous successive halving (arXiv 1810.05934) as rules over numbers.

A rung is a training of its own, with its own rise and fall of the learning rate. Going on with a training that was cut
off would save what the rungs below have cost, a fifth of the whole for thirds, but would compare candidates at a high
learning rate, where their order says least.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from eicompress.metrics.quality import QUALITY
from eicompress.study.objective import Objective, dominated_by
from eicompress.values import TRAINING, VALIDATION, Measurement, Record, Rung

CONTROLS = 10
COMPARED = {TRAINING: "trained for", VALIDATION: "scored on"}
"""What becomes of a candidate at a rung."""

Gains: TypeAlias = tuple[float, ...]
"""The values that a candidate is compared by: those of the objective, with signs such that more is better."""


@dataclass(frozen=True)
class Arrival:
    """A candidate that has just come to a rung."""

    rung: int
    """The place of the rung, from 0."""
    gains: Gains
    others: Sequence[Gains]
    """Those of all others that came to this rung, whatever became of them since."""
    one_of: int
    """How many there are for each one that goes on."""
    given: bool = False
    """Whether it is trained to the end however it begins, as a recipe is that was given, and not drawn."""


def compared(arrival: Arrival, *, hurry: bool) -> Literal["all", "alone", "later"]:
    """Who is compared now that a candidate has come to a rung: all that wait there, the candidate alone, or nobody yet.

    Those that wait are compared whenever one more of them can go on. What was given goes on as it comes, and so does
    who is first at a later rung, since it beat others before; in a `hurry`, every candidate.
    """
    if (1 + len(arrival.others)) % arrival.one_of == 0:
        return "all"
    first_at_later = arrival.rung > 0 and not arrival.others
    return "alone" if arrival.given or first_at_later or hurry else "later"


def is_control(draw: int) -> bool:
    """Whether a part of a shared training is scored on all validation texts, however it does on the first ones: one in
    `CONTROLS`, so that how far both scores agree is known of parts that nobody chose."""
    return draw % CONTROLS == 0


def goes_on(arrival: Arrival) -> bool:
    """Whether a candidate that is compared gets the next training."""
    return arrival.given or among_best(arrival.gains, arrival.others, arrival.one_of)


def one_in(rungs: Sequence[float], place: int) -> int:
    """The number n of candidates at a rung of which one goes on: the ratio of the two lengths, so that each rung costs
    the same (successive halving, arXiv 1502.07943)."""
    return max(2, round(rungs[place + 1] / rungs[place]))


def among_best(own: Sequence[float], others: Iterable[Sequence[float]], one_of: int) -> bool:
    """Whether a candidate is among the best at its rung, where one of `one_of` goes on.

    Each is given by its gains. Where two are traded, it goes by how many others dominate a candidate.
    """
    worse_than = dominated_by(np.array([own, *others]))
    return int((worse_than < worse_than[0]).sum()) < math.ceil(len(worse_than) / one_of)


def gains_at_rungs(record: Record, objective: Objective) -> tuple[Gains, ...]:
    """The gains of a finished trial after each of its trainings; empty if it takes no part in comparisons."""
    if record.repeat_of is not None or beyond_mending(record, objective):
        return ()
    at_rungs = (record.with_measured([Measurement(QUALITY, rung.quality, "")], {}) for rung in record.rungs)
    return tuple(objective.gains(each) for each in at_rungs)


def beyond_mending(record: Record, objective: Objective) -> bool:
    """Whether a budget is exceeded that longer training cannot meet."""
    return bool(objective.broken_for_good(record))


def described(rungs: Sequence[float], steps: int | None, whole: str = TRAINING) -> str:
    """The lengths of a search's trainings, or how much parts of a shared training are scored on, for people; `steps` is
    how many the full training has, where it is known."""
    counts = [f"{share:.1%}" + (f" ({share * steps:,.0f} steps)" if steps else "") for share in rungs]
    return f"{', then '.join(counts)} of the {whole}" + (f" ({steps:,} steps)" if steps else "")


def at_first(record: Record) -> Record:
    """The record with the quality of its first rung."""
    return record.with_measured([Measurement(QUALITY, record.rungs[0].quality, "")], {}) if record.rungs else record


def rungs_of(trainings: Iterable[Record]) -> tuple[Rung, ...]:
    """The rungs of a trial, with the result of each training."""
    return tuple(Rung(each.fidelity, each.value(QUALITY) or 0.0, round(each.own_seconds, 3)) for each in trainings)


def cost_s(record: Record) -> float:
    """Seconds that a trial took, all of its rungs counted."""
    return sum(each.seconds for each in record.rungs) if record.rungs else record.own_seconds
