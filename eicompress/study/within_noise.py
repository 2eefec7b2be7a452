"""The smallest and the fastest candidate that no paired comparison tells from the best one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from eicompress.metrics.latency import LATENCY, of_exits
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.study.noise import not_certainly_worse
from eicompress.study.ranking import ranked
from eicompress.study.result import Result
from eicompress.values import Record

_COMPARED = {"smallest": "smaller", "fastest": "faster"}


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


@dataclass(frozen=True)
class LeastWithinNoise:
    """What a search for the smallest or the fastest hands out, beside the candidate of the highest quality."""

    name: str
    """`smallest` or `fastest`."""
    chosen: tuple[int | str, Record]
    best: tuple[int | str, Record]

    def __str__(self) -> str:
        chosen, best = _named(*self.chosen), _named(*self.best)
        if self.chosen[0] == self.best[0]:
            return f"No {_COMPARED[self.name]} one is within noise of the best, {best}."
        return (
            f"The {self.name} within noise of the best is {chosen}; the best is {best}. On the validation texts it is "
            "not certainly worse (95 % interval, paired). With many candidates a small one can be lucky there: compare "
            "both on other rows."
        )


def within_noise(result: Result) -> WithinNoise | LeastWithinNoise | None:
    """None where nothing smaller or faster is within noise of the best, or where answers are not kept."""
    if result.best is None:
        return None
    if result.objective.least:
        return LeastWithinNoise(result.objective.name, result.best, result.best_quality)
    near = not_certainly_worse(result.best[1], result.baseline, result.folder)
    if near is None:
        return None
    candidates = ranked({**result.before_rebuilding, **result.promoted}, result.objective)
    smallest, fastest = (_least(candidates, name, result.best[1], near) for name in (SIZE, LATENCY))
    return WithinNoise(smallest, fastest) if smallest or fastest else None


def _least(
    candidates: Iterable[tuple[int, Record]], name: str, best: Record, near: Callable[[Record], bool]
) -> tuple[int, Record] | None:
    """Of what has less of a metric than the best, and is near it, the one with least."""
    bound = best.value(name)
    values = [(record.value(name), number, record) for number, record in candidates]
    less = [each for each in values if each[0] is not None and bound is not None and each[0] < bound]
    by_value = sorted(less, key=lambda each: each[:2])
    return next(((number, record) for _, number, record in by_value if near(record)), None)


def _named(name: int | str, record: Record) -> str:
    return f"{'trial ' if isinstance(name, int) else ''}{_described(name, record)}"


def _described(number: int | str, record: Record) -> str:
    latency = record.value(LATENCY)
    took = "" if latency is None else f", {latency:.2f} ms{of_exits(record)}"
    return f"{number} ({record.value(QUALITY) or 0.0:.4f}, {record.value(SIZE) or 0.0:.3f} MB{took})"
