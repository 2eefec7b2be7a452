"""What fits into the time of a search: how far trainings are shortened for it, and what would do instead."""

import math
from collections.abc import Sequence
from dataclasses import replace

from eicompress.study.forecast import Forecast
from eicompress.study.time_keeping import Cost

FIRST_SHARE = 0.2
"""Of the time that is left, what the first training may take, with the teacher's answers to the texts that it reads."""
SHARED_SHARE = 0.4
"""The same of a training that all candidates share."""
LEAST_STEPS = 20
"""A training is shortened to this many steps at most."""
LEAST_LENGTH = 0.001
"""Where the steps of the full training are not known."""
FEW = 3
"""Candidates, at least, that a search should have time for."""
FEWEST_ROWS = 1000
"""Fewer are not advised: where rows are few, their number is not what takes the time."""


def shared_in_time(found: Forecast, left_s: float) -> Forecast:
    """The forecast with a shared training that takes no more than its share of the time left."""
    room_s = SHARED_SHARE * left_s
    if not found.shared_s or found.shared_s + found.teacher_s <= room_s:
        return found
    length = max(LEAST_LENGTH, Cost(found.shared_s, found.teacher_s, found.shared_epochs).length_in(room_s))
    return replace(
        found,
        shared_s=found.shared_s * length,
        teacher_s=found.teacher_s * min(1.0, length * found.shared_epochs),
        shortened=round(found.shared_epochs * length, 3),
    )


def shortened(found: Forecast, left_s: float) -> tuple[float, ...]:
    """The rungs, all shortened alike where the first training would take more than its share of the time left."""
    first = found.rungs[0]
    least = LEAST_STEPS / found.full_steps if found.full_steps else LEAST_LENGTH
    length = max(min(first, least), _affordable(found, FIRST_SHARE * left_s))
    return found.rungs if length == first else tuple(_rounded(rung * length / first) for rung in found.rungs)


def advice(found: Forecast, rungs: Sequence[float], timeout_s: float, rows: int) -> str:
    """What to ask for where the time is too short for the rungs as the search space has them, or for few candidates;
    else empty. `rows` is the number of training rows."""
    seconds = _enough_s(found, rungs)
    if seconds is None or seconds <= timeout_s:
        return ""
    fewer = int(rows * timeout_s / seconds) // 100 * 100
    look = f", or about `--rows {fewer}` in the time given" if fewer >= FEWEST_ROWS else ""
    lengths = " with trainings as long as in the search space" if tuple(rungs) != found.rungs else ""
    return f"`--timeout {_written(seconds)}` is enough for about {FEW} candidates{lengths}{look}"


def _affordable(found: Forecast, room_s: float) -> float:
    """The length of a first training that takes `room_s` seconds, at most that of the first rung."""
    length = found.rungs[0]
    if found.training_s is None or found.first_s(length) <= room_s:
        return length
    return min(length, Cost(found.training_s, found.teacher_s, found.epochs).length_in(room_s - found.shared_s))


def _enough_s(found: Forecast, rungs: Sequence[float]) -> float | None:
    """Seconds in which a few candidates are trained at these rungs, the first of them in its share of the time."""
    few = found.seconds_for(FEW, rungs)
    return None if few is None else max(few, found.first_s(rungs[0]) / FIRST_SHARE)


def _rounded(share: float) -> float:
    """Up to ten-thousandths."""
    return math.ceil(10_000 * share) / 10_000


def _written(seconds: float) -> str:
    """A time for a flag, rounded up to minutes, or from two hours on to hours."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes}m" if minutes < 120 else f"{math.ceil(minutes / 60)}h"
