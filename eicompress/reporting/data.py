"""From records to the numbers of a report, before anything is drawn. No model is loaded."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from eicompress.answers import Mistakes
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.reporting.anatomy import (
    Fall,
    Operator,
    Share,
    Tensor,
    checksums,
    exits,
    falls,
    operators,
    shares,
    tensors,
)
from eicompress.reporting.mistakes import mistakes
from eicompress.study.halving import cost_s
from eicompress.study.objective import Objective
from eicompress.study.quality_words import QualityWords, quality_words
from eicompress.study.ranking import ranked
from eicompress.study.result import Result
from eicompress.values import SIMPLE, ExitPoint, Json, Quantity, Record

ARTIFACT, BASELINE = "this artifact", "baseline"
PREVIEW, STOPPED = "over budget in the preview", "stopped early"
LAST_BYTES = 0.75
"""The last quarter of the size budget is compared with what fits into the rest."""


@dataclass(frozen=True)
class Point:
    """One measured candidate. Without a quality it was previewed and never trained."""

    trial: int
    measured: Mapping[str, float]
    """The value of each of the report's axes, by metric."""
    quality: float | None
    fits: bool
    stopped: bool
    rebuilt: bool
    fidelity: float
    whole: str
    """What the fidelity is a share of."""
    words: str

    def on(self, axis: Quantity) -> float | None:
        return self.measured.get(axis.name)


@dataclass(frozen=True)
class Contender:
    """A method's quality on the validation split, and its bytes."""

    name: str
    quality: float
    size_mb: float | None
    note: str = ""


@dataclass(frozen=True)
class Step:
    """A trial in the order of the search: its quality if it fits, and the best so far."""

    trial: int
    quality: float | None
    best: float | None


@dataclass(frozen=True)
class Rebuild:
    """A recipe's quality after the short training of its trial, and after its rebuild."""

    trial: int
    short: float
    full: float
    fidelity_short: float
    fidelity_full: float


@dataclass(frozen=True)
class Effort:
    """What the search spent and what it was spared, in seconds of one process.

    A skipped draw is one that needed no training. `saved` is what skipped and stopped ones would have taken, at the
    median of those that were trained to the end, by what spared it.
    """

    seconds: float
    trained: int
    stopped: int
    skipped: Mapping[str, int]
    training_s: float
    saved: Mapping[str, float]

    @property
    def saved_s(self) -> float:
        return sum(self.saved.values())


@dataclass(frozen=True)
class MoreBytes:
    """The gain of more bytes: the best within the whole budget, and within the first part of it."""

    budget_mb: float
    best: float
    smaller_mb: float
    smaller: float | None


@dataclass(frozen=True)
class Numbers:
    """Everything that a report says."""

    name: str
    result: Result
    best: tuple[int | str, Record] | None
    quality: QualityWords
    points: tuple[Point, ...]
    contenders: tuple[Contender, ...]
    shares: tuple[Share, ...]
    falls: tuple[Fall, ...]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    exits: tuple[ExitPoint, ...]
    steps: tuple[Step, ...]
    rebuilds: tuple[Rebuild, ...]
    effort: Effort
    more_bytes: MoreBytes | None
    importance: Mapping[str, float]
    mistakes: Mistakes | None
    asked: Json
    checksums: Mapping[str, str]


def numbers(result: Result, importance: Mapping[str, float], asked: Json) -> Numbers:
    """What a report says of a study that was asked for in the words of `asked`."""
    best = result.best
    return Numbers(
        name=result.folder.name,
        result=result,
        best=best,
        quality=quality_words(result.baseline),
        points=points(result),
        contenders=contenders(result),
        shares=shares(result.baseline, best[1]) if best else (),
        falls=falls(result.baseline, best[1]) if best else (),
        tensors=tensors(best[1]) if best else (),
        operators=operators(best[1]) if best else (),
        exits=exits(best[1]) if best else (),
        steps=steps(result),
        rebuilds=rebuilds(result),
        effort=effort(result),
        more_bytes=more_bytes(result),
        importance=dict(sorted(importance.items(), key=lambda each: -each[1])),
        mistakes=mistakes(result.baseline, best[1], result.folder) if best and result.baseline else None,
        asked=asked,
        checksums=checksums(best[1]) if best else {},
    )


def points(result: Result) -> tuple[Point, ...]:
    """Every candidate that was measured, rebuilds last; repeats are the same candidate again and left out."""
    trials = [(number, record, False) for number, record in result.records.items() if record.repeat_of is None]
    rebuilt = [(number, record, True) for number, record in result.promoted.items()]
    return tuple(
        Point(
            trial=number,
            measured={
                axis.name: value for axis in axes(result.objective) if (value := record.value(axis.name)) is not None
            },
            quality=record.value(QUALITY),
            fits=record.outcome == "complete" and result.objective.fits(record),
            stopped=record.outcome == STOPPED,
            rebuilt=again,
            fidelity=record.fidelity,
            whole=record.whole,
            words=in_words(record.recipe),
        )
        for number, record, again in trials + rebuilt
        if record.measurements
    )


def axes(objective: Objective) -> tuple[Quantity, ...]:
    """What quality is drawn against: bytes, milliseconds, and what else the search goes by."""
    return (objective.known[SIZE], objective.known[LATENCY], *objective.extra)


def front(candidates: Sequence[Point], axis: Quantity) -> tuple[Point, ...]:
    """The candidates within budget that no other one beats in both quality and the axis, its best end first."""
    sign = 1 if axis.direction == "minimize" else -1
    fitting = [
        (sign * value, -each.quality, each)
        for each in candidates
        if each.fits and each.quality is not None and (value := each.on(axis)) is not None
    ]
    found: list[Point] = []
    for _, _, each in sorted(fitting, key=lambda entry: entry[:2]):
        if not found or (each.quality or 0.0) > (found[-1].quality or 0.0):
            found.append(each)
    return tuple(found)


def in_words(recipe: Sequence[Json], width: int = 44) -> str:
    """A recipe for people, a line for each step, long ones wrapped: `thin student: layers 3, neurons 0.25`."""
    lines: list[str] = []
    for step in recipe:
        values = ", ".join(f"{_plain(name)} {_short(value)}" for name, value in step.items() if name != "strategy")
        text = _plain(str(step["strategy"])) + (f": {values}" if values else "")
        lines += textwrap.wrap(text, width, subsequent_indent="  ")
    return "\n".join(lines)


def contenders(result: Result) -> tuple[Contender, ...]:
    """Simple baselines, the worst first, the best artifact and the baseline, all on the validation split."""
    found = [
        Contender(name, quality, record.value(SIZE), str(record.facts.get(SIMPLE, {}).get("note", "")))
        for name, record in result.simple.items()
        if (quality := record.value(QUALITY)) is not None
    ]
    found.sort(key=lambda each: each.quality)
    best = None if result.verdict else result.best  # a simple baseline that is the best is there already
    rest = ((ARTIFACT, best[1] if best else None), (BASELINE, result.baseline))
    for name, record in rest:
        quality = record.value(QUALITY) if record else None
        if record and quality is not None:
            found.append(Contender(name, quality, record.value(SIZE)))
    return tuple(found)


def steps(result: Result) -> tuple[Step, ...]:
    """The search in its order. Candidates that do not fit, or repeat an earlier one, have no quality here."""
    fitting = dict(ranked(result.records, result.objective))
    found, best = [], None
    for number in sorted(result.records):
        quality = fitting[number].value(QUALITY) if number in fitting else None
        best = quality if best is None else max(best, quality if quality is not None else best)
        found.append(Step(number, quality, best))
    return tuple(found)


def rebuilds(result: Result) -> tuple[Rebuild, ...]:
    found = []
    for number, full in result.rebuilt.items():
        short = result.records.get(number)
        before, after = short.value(QUALITY) if short else None, full.value(QUALITY)
        if short is not None and before is not None and after is not None:
            found.append(Rebuild(number, before, after, short.fidelity, full.fidelity))
    return tuple(found)


def effort(result: Result) -> Effort:
    counts = result.counts
    reached = [each for each in result.records.values() if each.trained and each.repeat_of is None]
    stopped = [cost_s(each) for each in reached if each.outcome == STOPPED]
    whole = [cost_s(each) for each in reached if each.outcome != STOPPED]
    usual = median(whole) if whole else 0.0
    return Effort(
        seconds=result.seconds,
        trained=counts.trained,
        stopped=counts.stopped,
        skipped={PREVIEW: counts.over_budget, "repeats": counts.repeats, "inapplicable": counts.inapplicable},
        training_s=sum(stopped) + sum(whole),
        saved={
            PREVIEW: usual * counts.over_budget,
            "repeats": usual * counts.repeats,
            STOPPED: sum(max(0.0, usual - each) for each in stopped),
        },
    )


def more_bytes(result: Result) -> MoreBytes | None:
    """How much the last bytes under the budget bought, among the trials, which were all trained equally long."""
    budget = result.objective.budgets.get(SIZE)
    fitting = [record for _, record in ranked(result.records, result.objective)]
    if budget is None or not fitting:
        return None
    bound = LAST_BYTES * budget
    small = [each for each in fitting if (each.value(SIZE) or 0.0) <= bound]
    return MoreBytes(budget, _best_quality(fitting), bound, _best_quality(small) if small else None)


def _best_quality(records: Sequence[Record]) -> float:
    return max(each.value(QUALITY) or 0.0 for each in records)


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
