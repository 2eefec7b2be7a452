"""The results of a study: its records counted, ranked and compared with the budgets."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from eicompress.metrics.quality import QUALITY, QUALITY_TEST
from eicompress.metrics.size import SIZE
from eicompress.study.agreement import Agreement, agreement, agreements
from eicompress.study.family import Family, families
from eicompress.study.ledger import Ledger
from eicompress.study.noise import Key, near_the_best
from eicompress.study.objective import Objective
from eicompress.study.outcomes import share_text
from eicompress.study.ranking import Counts, best_of, count, fits, front_of, ranked, violation
from eicompress.values import TRAINING, Json, Record

CHOSEN = "was chosen by validation, where its quality is therefore optimistic"
"""What is to be said beside the quality on validation of what a search hands out."""
REPORT = "report.html"
"""The file in a study's folder that shows all this to people."""
NEAR = 0.98
"""A candidate is near its baseline with this share of its quality."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over the seeds of a rebuild."""

    mean: float
    deviation: float
    seeds: int


@dataclass(frozen=True)
class Kept:
    """A trial whose own artifact is a result, since its rebuild is behind it."""

    trial: int
    record: Record
    rebuild: Record | None
    """The best that rebuilding the trial came to; None where it was not rebuilt, and all other rebuilds are behind."""

    def __str__(self) -> str:
        quality = f"{self.record.value(QUALITY) or 0.0:.4f}"
        length = f"{share_text(self.record.fidelity)} of the {self.record.whole}"
        kept = f"Trial {self.trial} is kept as it was after {length}, with"
        if self.rebuild is None:
            return f"{kept} {quality} on validation: nothing that was rebuilt is ahead of it."
        if self.rebuild.outcome == "over budget":
            return f"{kept} {quality} on validation: its rebuild at {share_text(self.rebuild.fidelity)} is over budget."
        after = f"{self.rebuild.value(QUALITY) or 0.0:.4f}"
        return f"{kept} {quality} on validation: its rebuild at {share_text(self.rebuild.fidelity)} came to {after}."


@dataclass(frozen=True)
class Result:
    """What a study has found. Records are by the number of their trial; `rebuilds` has one for each seed."""

    folder: Path
    objective: Objective
    baseline: Record | None
    records: Mapping[int, Record]
    rebuilds: Mapping[int, tuple[Record, ...]]
    seconds: float
    ended: str = ""
    simple: Mapping[str, Record] = field(default_factory=dict)
    """What simple baselines reach on the same data, by their names; they have no recipe."""
    kept: Mapping[int, Record] = field(default_factory=dict)
    """Trials whose own artifacts are results, measured like a rebuild."""
    rungs: tuple[float, ...] = ()
    """Shares of `whole` that its candidates have, where the study knows them."""
    full_steps: int | None = None
    """Steps of the full training, where they were counted."""
    compared: Mapping[int, Record] = field(default_factory=dict)
    """The trials that were compared before one was rebuilt, after the longer training that they got for it."""

    @property
    def whole(self) -> str:
        """What its rungs are shares of."""
        return next((each.whole for each in self.records.values() if each.trained), TRAINING)

    @property
    def counts(self) -> Counts:
        return count(self.records.values())

    @property
    def promoted(self) -> dict[int, Record]:
        """The best of each rebuilt trial on validation: a rebuild, or the trial's own artifact."""
        found = {number: [record] for number, record in self.rebuilt.items()}
        for number, record in {**self.before_rebuilding, **self.kept}.items():
            if number in found or number in self.kept:
                found[number] = [*found.get(number, []), record]
        return {number: best_of(found[number], self.objective) for number in sorted(found)}

    @property
    def before_rebuilding(self) -> dict[int, Record]:
        """What the search has made of each trial: the best of its own training and that for the comparison."""
        both = {number: [record] for number, record in self.records.items()}
        for number, record in self.compared.items():
            both[number] = [record, *both.get(number, [])]
        return {number: best_of(each, self.objective) for number, each in both.items()}

    @property
    def rebuilt(self) -> dict[int, Record]:
        """The best rebuild of each trial that was rebuilt."""
        return {number: best_of(each, self.objective) for number, each in self.rebuilds.items()}

    @property
    def handed_out_as_they_were(self) -> list[Kept]:
        """The trials of `promoted` that no rebuild is ahead of."""
        rebuilt = self.rebuilt
        return [
            Kept(number, record, rebuilt.get(number))
            for number, record in self.promoted.items()
            if record is not rebuilt.get(number)
        ]

    def spread(self, number: int, metric: str) -> Spread | None:
        """Of a metric over the seeds of a rebuild; None where there is one seed or none."""
        values = [value for each in self.rebuilds.get(number, ()) if (value := each.value(metric)) is not None]
        return Spread(mean(values), stdev(values), len(values)) if len(values) > 1 else None

    @property
    def agreements(self) -> list[Agreement]:
        """How far short training ranks as long training does: the rungs as the last one, and that as the promotion
        rung, or as the rebuilds where there was none."""
        records = [each for each in self.records.values() if each.repeat_of is None]
        rungs = sorted({rung.fidelity for each in records for rung in each.rungs})
        found = agreements(records, rungs) if len(rungs) > 1 else []
        longer = self.compared or self.rebuilt
        trials = [(self.records[number], each) for number, each in longer.items() if number in self.records]
        pairs = [(before.value(QUALITY) or 0.0, after.value(QUALITY) or 0.0) for before, after in trials]
        if trials and trials[0][0].fidelity < trials[0][1].fidelity:
            found.append(agreement(trials[0][0].fidelity, trials[0][1].fidelity, pairs))
        return found

    @property
    def best(self) -> tuple[int | str, Record] | None:
        """What to ship: the best candidate, or a simple baseline of a higher quality, or of the same in fewer bytes.

        Where the smallest or the fastest is wanted, that of all which are not certainly worse than the best one. With
        the number of its trial, or the name of the simple baseline.
        """
        if self.objective.least:
            return least_near(self._known, self)
        simple, candidate = self.best_simple, self.best_candidate
        if simple and (candidate is None or self._worth(simple[1]) > self._worth(candidate[1])):
            return simple
        return candidate

    @property
    def best_simple(self) -> tuple[str, Record] | None:
        """The best simple baseline that is an artifact within budget."""
        fitting = [each for each in self.simple.items() if is_within(each[1], self.objective)]
        return max(fitting, key=lambda each: self._worth(each[1]), default=None)

    @property
    def best_quality(self) -> tuple[int | str, Record]:
        """The candidate or simple baseline within budget of the highest quality on validation; there must be one."""
        return max(self._known.items(), key=lambda each: each[1].value(QUALITY) or 0.0)

    @property
    def _known(self) -> dict[int | str, Record]:
        """The candidates and simple baselines within budget."""
        simple = [each for each in self.simple.items() if is_within(each[1], self.objective)]
        return dict([*self._candidates.items(), *simple])

    @property
    def _candidates(self) -> dict[int, Record]:
        """Those within budget."""
        return dict(ranked({**self.before_rebuilding, **self.promoted}, self.objective))

    def _worth(self, record: Record) -> tuple[float, float]:
        return self.objective.gains(record)[0], -(record.value(SIZE) or 0.0)

    @property
    def verdict(self) -> str:
        """One sentence where a simple baseline is what to ship; otherwise empty."""
        best, candidate = self.best, self.best_candidate
        if best is None or not isinstance(best[0], str):
            return ""
        ship = f"Ship the simple baseline {best[0]} ({_reached(best[1])})"
        if candidate is None:
            return f"{ship}: no candidate is within budget{'' if self.ended else ' yet'}."
        number, record = candidate
        if self.objective.least:
            number, record = max(self._candidates.items(), key=lambda each: each[1].value(QUALITY) or 0.0)
            return f"{ship}: the best candidate, trial {number}, is not certainly better ({_reached(record)})."
        return f"{ship}: the best candidate, trial {number}, does not beat it ({_reached(record)})."

    @property
    def best_candidate(self) -> tuple[int, Record] | None:
        """The best that was promoted and is within budget, or the best trial where there is none; where the smallest or
        the fastest is wanted, that of all candidates which are not certainly worse than the best."""
        if self.objective.least:
            return least_near(self._candidates, self)
        found = ranked(self.promoted, self.objective) or ranked(self.before_rebuilding, self.objective)
        return found[0] if found else None

    @property
    def front(self) -> list[tuple[int, Record]]:
        """Where two metrics are traded, what no other candidate within budget dominates: rebuilds stand for their
        trials. Otherwise empty."""
        if len(self.objective.metrics) == 1:
            return []
        return front_of({**self.before_rebuilding, **self.promoted}, self.objective)

    @property
    def families(self) -> list[Family]:
        """The super-networks with their parts, where trials took from any."""
        return families(self.records, [number for number, _ in self.front])

    @property
    def nearest(self) -> tuple[int, Record] | None:
        """The measured candidate that breaks the budgets least."""
        measured = [each for each in self.records.items() if each[1].measurements]
        return min(measured, key=lambda each: violation(each[1], self.objective), default=None)

    def share(self, record: Record) -> float | None:
        """The record's quality as a share of the baseline's."""
        quality, whole = record.value(QUALITY), self.baseline and self.baseline.value(QUALITY)
        return quality / whole if quality is not None and whole else None

    @property
    def seconds_to_near(self) -> float | None:
        """When a candidate within budget first had `NEAR` of the baseline's quality; None if none has yet."""
        made = itertools.chain(self.records.values(), self.compared.values(), *self.rebuilds.values())
        near = [each for each in made if fits(each, self.objective) and (self.share(each) or 0.0) >= NEAR]
        return min((each.recorded_s for each in near if each.recorded_s is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        return _as_json(self)


def least_near(records: Mapping[Key, Record], result: Result) -> tuple[Key, Record] | None:
    """Of the records that are not certainly worse than the best the one with the least of what is wanted least."""
    near = near_the_best(records, result.baseline, result.folder)
    return min(near.items(), key=lambda each: -result.objective.gains(each[1])[1], default=None)


def result_of(ledger: Ledger, objective: Objective) -> Result:
    """What a study's database holds."""
    promotion = ledger.promotion()
    compared = ledger.compared(promotion.get("length", 0.0))
    return Result(
        folder=ledger.folder,
        objective=objective,
        baseline=ledger.baseline(),
        records=ledger.records(),
        rebuilds=ledger.rebuilds(),
        seconds=ledger.seconds(),
        ended=ledger.ended().get("reason", ""),
        simple=ledger.simple(),
        kept=ledger.kept(),
        rungs=tuple(ledger.rungs().get("shares", ())),
        full_steps=ledger.rungs().get("steps"),
        compared={number: compared[number] for number in promotion.get("trials", ()) if number in compared},
    )


def is_within(simple: Record, objective: Objective) -> bool:
    """Whether a simple baseline is an artifact that keeps the budgets."""
    return "artifact" in simple.files and objective.fits(simple)


def by_quality(simple: Mapping[str, Record]) -> list[tuple[str, Record]]:
    """Simple baselines, the worst first."""
    return sorted(simple.items(), key=lambda each: each[1].value(QUALITY) or 0.0)


def warning(baseline: Record, simple: Mapping[str, Record]) -> str:
    """A warning if the baseline model has nothing to teach, or less than a simple baseline knows, before anything is
    trained; otherwise empty."""
    # Of equal ones that which can be shipped.
    order = sorted(by_quality(simple), key=lambda each: (each[1].value(QUALITY) or 0.0, "artifact" in each[1].files))
    name, best = order[-1] if order else ("", None)
    quality, other = baseline.value(QUALITY), best.value(QUALITY) if best else None
    if quality == 0.0:
        return (
            "the baseline model must reach more than 0 on validation to teach anything: look whether the labels are in "
            "the right column and mean what they should, such as scores that grow with likeness"
        )
    if quality is None or other is None or other <= quality:
        return ""
    return (
        f"the baseline model must be better than the simple baselines, but reaches {quality:.4f} on validation, and "
        f"{name} reaches {other:.4f}: what it teaches will hardly be worth its bytes. Give a better model, or train "
        "one first (`eicompress teach`, for all tasks but `embedding`; where a teacher was trained here, with a longer "
        "`--teacher-timeout`)"
    )


def _reached(record: Record) -> str:
    return f"{record.value(QUALITY):.4f} in {record.value(SIZE):.3f} MB"


def _as_json(result: Result) -> dict[str, Any]:
    best = result.best
    return {
        "folder": str(result.folder),
        "objective": result.objective.name,
        "metrics": list(result.objective.metrics),
        "budgets": dict(result.objective.budgets),
        "seconds": result.seconds,
        "seconds_to_near": result.seconds_to_near,
        "ended": result.ended,
        "counts": vars(result.counts),
        "baseline": result.baseline.to_json() if result.baseline else None,
        "best": _entry(*best) if best else None,
        "verdict": result.verdict,
        "simple": [
            {"name": name, "within_budget": is_within(record, result.objective), **record.to_json()}
            for name, record in by_quality(result.simple)
        ],
        "front": [number for number, _ in result.front],
        "promoted": [
            {**_entry(number, record), "spread": _spreads(result, number)}
            for number, record in ranked(result.promoted, result.objective)
        ],
        "compared": [_entry(*each) for each in ranked(result.compared, result.objective)],
        "handed_out_as_they_were": [each.trial for each in result.handed_out_as_they_were],
        "rungs": list(result.rungs),
        "full_steps": result.full_steps,
        "agreements": [each.to_json() for each in result.agreements],
        "families": [each.to_json() for each in result.families],
        "trials": [_entry(*each) for each in result.records.items()],
    }


def _spreads(result: Result, number: int) -> dict[str, Json]:
    """Of quality on validation and on test, where there are several seeds."""
    found = {metric: result.spread(number, metric) for metric in (QUALITY, QUALITY_TEST)}
    return {metric: vars(spread) for metric, spread in found.items() if spread}


def _entry(number: int | str, record: Record) -> Json:
    return {"trial": number, **record.to_json()}
