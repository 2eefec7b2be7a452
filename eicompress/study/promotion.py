"""Promotion: what is trained on when the search is over, and how long.

What wins short trainings need not win long ones. So the best trials are compared once more before any is rebuilt in
full, together with the best recipe that was given: at the promotion rung, which is as much longer than the last rung as
the full training is longer than it.
"""

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from eicompress.study.objective import Objective
from eicompress.study.outcomes import share_text
from eicompress.study.ranking import ranked, to_promote
from eicompress.study.space import SearchSpace
from eicompress.values import Record

LONGER = 2.0
"""The promotion rung is at least this many times as long as the last rung, which otherwise said the same already."""
PROMOTION_SHARE = 0.6
"""The largest share of a search's time that is reserved for promotion."""
FINISH_SHARE = 0.25
"""The same where parts of a shared training are finished, which has had its own share of the time before."""
CAUTION = 1.25
"""A training may take this much longer than estimated."""
LATE = 1.1
"""A rebuild may take this much longer than its trial said; one that is not ready at the end is lost."""

Numbered = tuple[int, Record]


@dataclass(frozen=True)
class PromotionPlan:
    """How many trials are compared at the promotion rung, at which share of the full training, and how many of them
    are rebuilt; a length of 0 where the last rung is long enough to go by."""

    compared: int
    length: float
    rebuilt: int
    share: float = PROMOTION_SHARE
    """The largest share of a search's time that is reserved for it."""

    @property
    def trainings(self) -> float:
        """What it takes, in trainings of full length."""
        return self.compared * self.length + self.rebuilt

    def __str__(self) -> str:
        rebuilt = "the best is rebuilt" if self.rebuilt == 1 else f"the best {self.rebuilt} are rebuilt"
        compared = f"the best {self.compared} are compared at {share_text(self.length)} of the full length, then "
        return f"{compared if self.length else ''}{rebuilt}"


@dataclass(frozen=True)
class PromotionRung:
    """Trials that are compared at a share of the full training; nothing where there is none."""

    length: float = 0.0
    trials: tuple[int, ...] = ()


def rung_length(last: float) -> float:
    """The length of the promotion rung above the last rung, or 0 where there is no room for one between it and 1."""
    length = math.floor(100 * math.sqrt(last)) / 100
    return length if length >= LONGER * last else 0.0


def promotion_plan(
    space: SearchSpace, objective: Objective, seeds: int = 1, candidates: int = sys.maxsize
) -> PromotionPlan:
    """What promotion is going to be where there is time for all of it, and there are no more candidates than these."""
    length, compared = rung_length(space.fidelity), min(objective.rebuilds + bool(space.known), candidates)
    if not length or compared < 2:
        share = FINISH_SHARE if space.finish else PROMOTION_SHARE
        return PromotionPlan(0, 0.0, min(objective.rebuilds, candidates) * seeds, share)
    return PromotionPlan(compared, length, _survivors(objective) * seeds)


def kept_for_promotion(timeout_s: float, training_s: float, plan: PromotionPlan) -> float:
    """Seconds of a search's time in which nothing is drawn any more; `training_s` is that of a training in full."""
    return min(plan.share * timeout_s, plan.trainings * CAUTION * training_s)


def promotion_rung(
    records: Mapping[int, Record],
    given: Collection[int],
    objective: Objective,
    last: float,
    left_s: float,
    seconds: Callable[[Record, float], float],
) -> PromotionRung:
    """The trials to compare in the time that is left, and at which length; `seconds` tells what a training takes.

    Where there is no time for comparing and rebuilding, the best draw and the best given recipe share all of it.
    """
    length, best = rung_length(last), to_promote(records, objective)
    known = [each for each in ranked(records, objective) if each[0] in given][:1]
    # The best and the best that was given come first: they are compared whatever becomes of the others.
    wanted = list(dict.fromkeys(number for number, _ in (*best[:1], *known, *best[1:])))
    if not length or len(wanted) < 2:
        return PromotionRung()
    trainings = [records[number] for number in wanted]
    full = max(seconds(record, 1.0) for record in trainings)
    if sum(seconds(record, length) for record in trainings) + full <= left_s:
        return PromotionRung(length, tuple(wanted))
    if known and known[0][0] != best[0][0]:
        shared = left_s / CAUTION / sum(seconds(record, 1.0) for record in trainings[:2])
        length = min(1.0, math.floor(100 * shared) / 100)
        if length >= LONGER * last:
            return PromotionRung(length, tuple(wanted[:2]))
    return PromotionRung()


def survivors(
    compared: Mapping[int, Record], records: Mapping[int, Record], objective: Objective
) -> Sequence[Numbered]:
    """The trials to rebuild, the best first: by what they came to at the promotion rung, if there was one."""
    found = to_promote(compared, objective)
    return found[: _survivors(objective)] if found else to_promote(records, objective)


def ahead_of_rebuilds(
    promoted: Mapping[int, Record], before: Mapping[int, Record], objective: Objective
) -> dict[int, Record]:
    """Trials whose own artifacts are results: those that rebuilding made worse, and the best if no rebuild is
    ahead of it.

    `promoted` has the best there is of each trial that was rebuilt, `before` what each trial came to before.
    """
    found = {number: record for number, record in promoted.items() if record is before.get(number)}
    for number, record in to_promote(before, objective)[:1]:
        if number not in promoted and ranked({**promoted, number: record}, objective)[0][0] == number:
            found[number] = record
    return found


def _survivors(objective: Objective) -> int:
    """The best alone; where two metrics are traded, all that stand for a front."""
    return 1 if len(objective.metrics) == 1 else objective.rebuilds
