"""The state of a search: its goal, its builder and workers, and the records of finished trials."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from eicompress.errors import EicompressError, StudyError
from eicompress.metrics.quality import QUALITY
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.study.ask_and_tell import RESTARTS
from eicompress.study.events import Doing, Event, Noticed
from eicompress.study.ledger import Ledger
from eicompress.study.objective import Objective
from eicompress.study.promotion import kept_for_promotion, promotion_plan
from eicompress.study.ranking import has_own_training, ranked
from eicompress.study.space import SearchSpace
from eicompress.study.time_keeping import Cost, TimeLeft, longer_cost, training_seconds
from eicompress.trials.training_time import TimeEstimate
from eicompress.values import Done, Job, Json, Outcome, Progress, Record

SEEDS = 3
"""Default number of seeds for rebuilding the best, if time allows."""

GRACE_S = 3.0
"""Seconds after the end of a search in which a candidate that is nearly done may still be."""
TEST_SHARE = 0.1
"""Of the time of a search, what may be kept for the baseline's quality on the test split."""
NOTED_EVERY_S = 5.0
"""How often the time that a study has taken is stored while trials run."""


class Builder(Protocol):
    """Previews and measures in the coordinator, for one baseline, data set and conditions of measurement."""

    def baseline(self) -> Record: ...

    def simple(self, size_mb: float | None) -> dict[str, Record]:
        """The records of simple baselines, by name; their artifacts have at most `size_mb` megabytes."""

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        """Measured without training, with care if it decides about the search. Raises `Inapplicable`."""

    def timed(self, record: Record) -> Record:
        """The record with the latency of its artifact, whose folder is `files["artifact"]`."""

    def promote_extras(self, record: Record, within_s: float = math.inf) -> Record:
        """The record with what is measured of promoted artifacts alone, and the baseline's quality on the test split if
        that takes at most `within_s` seconds."""

    def test_s(self) -> float:
        """Seconds that reading the test split once takes the baseline."""

    def estimate_time(self, recipe: Recipe) -> TimeEstimate:
        """Of the recipe's training at full length. Raises `Inapplicable`."""

    def key(self, recipe: Recipe, *, fidelity: float, seed: int) -> str: ...


class Workers(Protocol):
    """Where candidates are trained, exported and scored, several at a time."""

    @property
    def free(self) -> bool:
        """True if another job would be begun at once."""

    def submit(self, job: Job) -> None: ...

    def wait(self, progress: Callable[[int, Progress], None], within_s: float = math.inf) -> Done:
        """The result of the job that ends next, or of one that is stopped since none ended within `within_s` seconds.

        `progress` is called with a trial's number and its progress.
        """


@dataclass(frozen=True)
class Goal:
    """The goal of a search, and when it ends. Trials and time count over the study's whole life."""

    objective: Objective
    seed: int = 0
    sampler: str = "tpe"
    trials: int | None = None
    timeout_s: float | None = None
    promotion_seeds: int | None = None
    """Seeds with which the best are rebuilt; None for as many as time allows, up to three."""
    stop_at: float | None = None
    """Quality of a candidate within budget at which nothing more is tried."""

    @property
    def limit_s(self) -> float:
        """Seconds that the search may take; infinite where nobody limits it."""
        return math.inf if self.timeout_s is None else self.timeout_s

    @property
    def end(self) -> dict[str, float | None]:
        """When the search ends, as plain data."""
        return {"trials": self.trials, "timeout_s": self.timeout_s, "stop_at": self.stop_at}


@dataclass
class Search:
    """One search. The lock of its study is held by the code that opened the ledger."""

    builder: Builder
    workers: Workers
    registry: Registry
    ledger: Ledger
    space: SearchSpace
    goal: Goal
    on_event: Callable[[Event], None]
    clock: Callable[[], float] = time.monotonic
    prepared_s: float = 0.0
    """What this search took before it began: model and data read, simple baselines measured."""
    records: dict[int, Record] = field(default_factory=dict, init=False)
    """Of the trials that have ended, by their numbers."""
    seconds_before: float = field(default=0.0, init=False)
    """What the study had taken before this search went on with it."""
    started: float = field(default=0.0, init=False)
    """When it did, by the clock."""

    noted_s: float = field(default=0.0, init=False)
    """What the study had taken when that was last noted during a trial."""

    @property
    def seconds(self) -> float:
        """What the study has taken so far."""
        return self.seconds_before + self.clock() - self.started

    @property
    def ranked(self) -> list[tuple[int, Record]]:
        """The candidates within budget, the best first."""
        return ranked(self.records, self.goal.objective)

    @property
    def best(self) -> Record | None:
        """The best candidate within budget so far."""
        found = self.ranked
        return found[0][1] if found else None

    @property
    def good_enough(self) -> list[tuple[int, Record]]:
        """The candidates within budget that reach the quality at which the search ends."""
        least = self.goal.stop_at
        return [] if least is None else [each for each in self.ranked if (each[1].value(QUALITY) or 0.0) >= least]

    @property
    def trained(self) -> list[Record]:
        """The trials that had a training of their own."""
        return [record for record in self.records.values() if has_own_training(record)]

    @property
    def most_seeds(self) -> int:
        """Number of seeds of a rebuild: as given; by default, as many as the limited time allows. One by default if
        candidates share a training, since it would run again for each seed."""
        if self.goal.promotion_seeds is not None:
            return self.goal.promotion_seeds
        return 1 if self.goal.timeout_s is None or self.space.shares else SEEDS

    @property
    def time_left(self) -> TimeLeft:
        """The time left, without the time that is reserved for rebuilding the best."""
        limit_s, found = self.goal.limit_s, self.ranked
        if not found:
            return TimeLeft(limit_s, self.seconds)
        if limit_s == math.inf:
            return TimeLeft(limit_s, self.seconds, 0.0)
        seeds = self.goal.promotion_seeds or 1
        plan = promotion_plan(self.space, self.goal.objective, seeds, len(found))
        kept_s = kept_for_promotion(limit_s, self.rebuild_seconds(found[0][1]), plan)
        return TimeLeft(limit_s, self.seconds, kept_s + self._test_s)

    @cached_property
    def _test_s(self) -> float:
        """Seconds that are kept for the baseline's quality on the test split; none where they would be too many, so
        that it is left out unless there is time."""
        seconds = self.builder.test_s()
        return seconds if seconds <= TEST_SHARE * self.goal.limit_s else 0.0

    def training_seconds(self, record: Record, fidelity: float) -> float:
        """Of training a trial's recipe at this fidelity, with what is measured."""
        return training_seconds(record, fidelity, self.trained)

    def rebuild_seconds(self, record: Record) -> float:
        """Of training what is handed out of a trial, at full length."""
        if not self.space.finish:
            return self.training_seconds(record, 1.0)
        return self.training_seconds(record, 0.0) + self._finish_s

    def longer_cost(self, record: Record) -> Cost:
        """What training a trial's recipe for longer takes, by its length."""
        try:
            estimate = self.builder.estimate_time(self.registry.recipe(record.recipe))
        except EicompressError as error:
            self.notice(f"how long the teacher's answers take is not known: {error}")
            estimate = TimeEstimate(training=0.0, teacher=0.0)
        return longer_cost(record, self.trained, estimate)

    @cached_property
    def _finish_s(self) -> float:
        """Seconds of the steps that finish a part of a shared training, by the part that was given first."""
        part = self.space.recipe(self.space.known[0] if self.space.known else self.space.corner())
        try:
            return self.builder.estimate_time(Recipe((*part.steps, *self.space.finish))).training
        except EicompressError as error:
            self.notice(f"how long finishing a part takes is not known: {error}")
            return 0.0

    def unbuilt(self, recipe: Recipe, draw: int, outcome: Outcome, reason: str) -> Record:
        """The record of a trial without an artifact."""
        key = self.builder.key(recipe, fidelity=self.space.fidelity, seed=self.goal.seed)
        return Record(tuple(recipe.to_json()), draw, outcome, reason, key, self.space.fidelity, self.goal.seed)

    def job(self, number: int, recipe: tuple[Json, ...], fidelity: float, seed: int | None = None) -> Job:
        seed = self.goal.seed if seed is None else seed
        shared = self.registry.recipe(recipe).shared
        name = self.builder.key(shared, fidelity=1.0, seed=seed) if shared.steps else ""
        return Job(number, recipe, fidelity, seed, name)

    def wait(self) -> Done:
        """The result of the worker's job that ends next; one that runs when the time is used up is stopped."""
        return self.workers.wait(self.doing, max(0.0, self.goal.limit_s - self.seconds) + GRACE_S)

    def build(self, job: Job, *, limited: bool = True) -> Record:
        """What a worker makes of the job, tried again where it is lost; `limited` to the time of the search.

        Raises `StudyError`.
        """
        for _ in range(RESTARTS + 1):
            self.workers.submit(job)
            done = self.wait() if limited else self.workers.wait(self.doing)
            if done.record is not None:
                return done.record
            if done.fate != "lost":
                break
        raise StudyError(done.reason.strip().splitlines()[-1])

    def doing(self, number: int, progress: Progress) -> None:
        """Report what is done for a trial, and note the time now and then, so that `show` knows it."""
        if self.seconds - self.noted_s >= NOTED_EVERY_S:
            self.noted_s = self.seconds
            self.ledger.set_seconds(self.noted_s)
        self.on_event(Doing(number, progress))

    def notice(self, text: str) -> None:
        self.on_event(Noticed(text))
