"""The smallest and the fastest candidate that no paired comparison tells from the best one."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.study.kept_answers import logits_of, validation_of
from eicompress.study.ranking import ranked
from eicompress.study.result import Result
from eicompress.values import Record


@dataclass(frozen=True)
class WithinNoise:
    """Candidates within the budgets whose answers on validation are not certainly worse than the best one's."""

    smallest: tuple[int, Record] | None
    """None where no smaller one is within noise."""
    fastest: tuple[int, Record] | None

    def __str__(self) -> str:
        found = {"smallest": self.smallest, "fastest": self.fastest}
        named = [f"the {name} is trial {_described(*each)}" for name, each in found.items() if each is not None]
        return (
            f"Within noise of the best, {' and '.join(named)}. On the validation texts it is not certainly worse (95 % "
            "interval, paired). With many candidates a small one can be lucky there: compare both on other rows."
        )


def within_noise(result: Result) -> WithinNoise | None:
    """None where nothing smaller or faster is within noise of the best, or where answers are not kept."""
    best, validation = result.best, validation_of(result.baseline, result.folder) if result.baseline else None
    if best is None or validation is None:
        return None
    theirs = logits_of(best[1], validation, result.folder)
    if theirs is None:
        return None
    candidates = {**result.before_rebuilding, **result.promoted}
    # No interval is wider, unless two models are right on opposite texts: what is further behind is not read.
    widest = 1.96 * math.sqrt(2 / len(validation.targets))
    floor = (best[1].value(QUALITY) or 0.0) - widest

    @cache
    def near(number: int) -> bool:
        ours = logits_of(candidates[number], validation, result.folder)
        if ours is None:
            return False
        mean, half = validation.answer.difference(validation.targets, ours, theirs)
        return mean + half >= 0

    fitting = [
        (number, record)
        for number, record in ranked(candidates, result.objective)
        if (record.value(QUALITY) or 0.0) >= floor
    ]
    smallest, fastest = (_least(fitting, name, best[1], near) for name in (SIZE, LATENCY))
    return WithinNoise(smallest, fastest) if smallest or fastest else None


def _least(
    candidates: Iterable[tuple[int, Record]], name: str, best: Record, near: Callable[[int], bool]
) -> tuple[int, Record] | None:
    """Of what has less of a metric than the best, and is near it, the one with least."""
    bound = best.value(name)
    values = [(record.value(name), number, record) for number, record in candidates]
    less = [each for each in values if each[0] is not None and bound is not None and each[0] < bound]
    by_value = sorted(less, key=lambda each: each[:2])
    return next(((number, record) for _, number, record in by_value if near(number)), None)


def _described(number: int, record: Record) -> str:
    latency = record.value(LATENCY)
    took = "" if latency is None else f", {latency:.2f} ms"
    return f"{number} ({record.value(QUALITY) or 0.0:.4f}, {record.value(SIZE) or 0.0:.3f} MB{took})"
