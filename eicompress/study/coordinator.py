"""The coordinator of a search: ask, preview, build, record, tell, and at the end rebuild the best at full length.

It alone asks and tells. What it does it reports as events, through one callback. Whatever interrupts it, the same
call goes on: a recipe that has a record is never built again.
"""

import itertools
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Protocol

from eicompress.cache import is_disk_error
from eicompress.errors import BudgetError, EicompressError, Inapplicable, StudyError
from eicompress.export.folder import copy
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.study.events import (
    Comparing,
    Doing,
    Drawn,
    Event,
    Noticed,
    Planned,
    Promoted,
    Promoting,
    SearchEnded,
    TrialEnded,
)
from eicompress.study.fit_to_budget import filled
from eicompress.study.forecast import check_reachable, full_seconds
from eicompress.study.halving import RUNGS, cost_s, goes_on, one_in, rungs_fact, rungs_of
from eicompress.study.objective import Objective
from eicompress.study.promotion import PromotionRung, kept_for_promotion, promotion_plan, promotion_rung, survivors
from eicompress.study.result import (
    RECORDED,
    REPEAT,
    VARIANT,
    Result,
    best_of,
    count,
    has_own_training,
    ranked,
    result_of,
    to_promote,
    weights,
)
from eicompress.study.space import SearchSpace
from eicompress.study.store import RESTARTS, Draw, Ledger
from eicompress.values import Artifact, Done, Job, Json, Measurement, Outcome, Progress, Record, counted, digest_of

REPEATS = 50
"""Repeated draws in a row after which the space counts as exhausted."""
UNTRAINED = 300
"""Draws in a row that reach no training after which the search gives up."""
SEEDS = 3
"""With how many the best are rebuilt, if nobody said and time allows."""
FAILURES = 10
"""Crashes in a row after which it is no candidate's fault."""


class Workshop(Protocol):
    """What the coordinator measures itself, for one baseline, data set and conditions of measurement."""

    def baseline(self) -> Record: ...

    def simple(self, size_mb: float | None) -> dict[str, Record]:
        """What simple baselines reach, by their names; an artifact takes `size_mb` megabytes at most."""

    def preview(self, recipe: Recipe, *, size_only: bool = False) -> Record:
        """Measured without training. Raises `Inapplicable`."""

    def timed(self, record: Record) -> Record:
        """The record with the latency of its artifact, whose folder is `files["artifact"]`."""

    def promote_extras(self, record: Record) -> Record:
        """The record with what is measured of promoted artifacts alone."""

    def key(self, recipe: Recipe, *, fidelity: float, seed: int) -> str: ...


class Workers(Protocol):
    """Where candidates are trained, exported and scored, several at a time."""

    @property
    def free(self) -> bool:
        """True if another job would be begun at once."""

    def submit(self, job: Job) -> None: ...

    def wait(self, progress: Callable[[int, Progress], None]) -> Done:
        """What became of the job that ends next; `progress` is told what those of a trial's number do meanwhile."""


@dataclass(frozen=True)
class Goal:
    """What a search is for, and when it ends. Trials and time count over the study's whole life."""

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
    def end(self) -> dict[str, float | None]:
        """When the search ends, as plain data."""
        return {"trials": self.trials, "timeout_s": self.timeout_s, "stop_at": self.stop_at}


@dataclass
class Coordinator:
    """Runs one study. The lock is held by whoever made the ledger."""

    workshop: Workshop
    workers: Workers
    registry: Registry
    ledger: Ledger
    space: SearchSpace
    goal: Goal
    on_event: Callable[[Event], None]
    clock: Callable[[], float] = time.monotonic
    _records: dict[int, Record] = field(default_factory=dict)
    _drawn: dict[str, int] = field(default_factory=dict)
    """The first trial that ended of each recipe, by the digest of the recipe before it was filled."""
    _untold: dict[int, Draw] = field(default_factory=dict)
    _varied: set[int] = field(default_factory=set)
    _gains: dict[int, list[tuple[float, ...]]] = field(default_factory=dict)
    """What each trial that was told gained at its rungs, worked out once."""
    _running: "dict[int, _Trial]" = field(default_factory=dict)
    """Those that a worker has."""
    _waiting: "list[_Trial]" = field(default_factory=list)
    """Those at a rung that are not compared yet."""
    _going_on: "list[_Trial]" = field(default_factory=list)
    """Those that get a longer training when a worker is free."""
    _streaks: "_Streaks" = field(default_factory=lambda: _Streaks())
    _seconds_before: float = 0.0
    _started: float = 0.0

    def run(self) -> Result:
        """Search, then promote. Raises `BudgetError` where no candidate meets, or can meet, the budgets."""
        self._started, self._seconds_before = self.clock(), self.ledger.seconds()
        try:
            self._begin()
            known = self._known_end()
            ended = known or self._out_of_reach() or self._search()
            self.on_event(SearchEnded(ended, finished_before=bool(known)))
            self._promote(finished_before=bool(known))
            self.ledger.set_ended({"reason": ended, **self.goal.end})
            self._hand_out_simple()
        finally:
            self.ledger.set_seconds(self._seconds)
        result = result_of(self.ledger, self.goal.objective)
        if result.best is None:
            raise _nothing_fits(result)
        return result

    def _begin(self) -> None:
        baseline = self.workshop.baseline()
        self.ledger.set_baseline(baseline)
        self._set_simple()
        recovered = self.ledger.recover(self.goal.objective)
        self.ledger.enqueue_known(self.space)
        self._records, self._drawn = self.ledger.records(), self.ledger.drawn()
        self.on_event(Planned(baseline, count(self._records.values()), recovered, self._best, self._seconds))

    def _set_simple(self) -> None:
        """Record the simple baselines, but for one that was handed out before."""
        known = self.ledger.simple()
        for name, record in self.workshop.simple(self.goal.objective.hard.get("size_mb")).items():
            if name not in known or known[name].value("quality_test") is None:
                self.ledger.set_simple(name, record)

    def _out_of_reach(self) -> str:
        """Why there is nothing to search, where only a simple baseline is within the budgets.

        Raises `BudgetError` where nothing can be.
        """
        if self._best is not None:
            return ""
        try:
            check_reachable(self.workshop, self.space, self.goal.objective)
        except BudgetError as error:
            if result_of(self.ledger, self.goal.objective).best_simple is None:
                raise
            return str(error).rstrip(".")
        return ""

    def _known_end(self) -> str:
        """Why there is nothing to search, if the search had ended before for the same goal."""
        ended = self.ledger.ended()
        same = ended and {**ended, **self.goal.end} == ended
        return str(ended["reason"]) if same else ""

    def _search(self) -> str:
        """Draw while a worker is free, tell what becomes of it, until something ends the search; what it was."""
        try:
            while True:
                self._enqueue_variants()
                ended = self._streaks.ended() or self._time_or_trials_used_up()
                if self._going_on and self.workers.free:
                    self._go_on(self._going_on.pop(0))
                elif not ended and self.workers.free:
                    self._draw()
                elif self._running:
                    self._take_in(self.workers.wait(self._doing))
                elif self._waiting:
                    self._compare(self._at_rung(min(each.rung for each in self._waiting)))
                else:
                    return ended
        except KeyboardInterrupt:
            for draw in self._untold.values():
                self.ledger.interrupt(draw)
            raise

    def _enqueue_variants(self) -> None:
        """Queue what can be made of the trainings that ended since."""
        if not self.space.tail:
            return
        for number in sorted(self._records.keys() - self._varied):
            record = self._records[number]
            if record.outcome == "complete" and has_own_training(record):
                self.ledger.enqueue_variants(self.space, number)
            self._varied.add(number)

    def _draw(self) -> None:
        """Ask for a trial and preview it; a worker gets it if it is within budget and new."""
        draw = self.ledger.ask(self.goal.sampler, self.goal.seed, beside=bool(self._untold))
        number = draw.number
        recipe = self.space.suggest(draw.trial)
        self.ledger.note(draw, recipe)
        self._untold[number] = draw
        self.on_event(Drawn(number, recipe))
        before = self._drawn.get(digest_of(recipe.to_json()))
        if before is not None and draw.variant_of is None:
            self._tell(draw, self._repeat(draw, before))
            return
        try:
            recipe, preview = self._filled(draw, recipe)
            key = self.workshop.key(recipe, fidelity=self.space.fidelity, seed=self.goal.seed)
        except Inapplicable as error:
            self._tell(draw, self._unbuilt(recipe, draw, "inapplicable", str(error)))
            return
        except Exception as error:
            if is_disk_error(error) or isinstance(error, StudyError):
                raise
            self._tell(draw, self._unbuilt(recipe, draw, "failed", "".join(traceback.format_exception(error))))
            return
        self._hand_out(_Trial(draw, recipe, replace(preview, key=key)))

    def _hand_out(self, trial: "_Trial") -> None:
        """Give the trial to a worker, unless its preview or another trial answers for it."""
        draw, key = trial.draw, trial.preview.key
        known = next((number for number, record in self._records.items() if record.key == key), None)
        same = next((each for each in self._under_way if each.preview.key == key), None)
        if known is not None:
            self._tell(draw, self._repeat(draw, known))
        elif same is not None:
            same.followers.append(draw)
        elif not self.goal.objective.broken(trial.preview):
            self._train(trial)
        else:
            self._tell(draw, self._judged(trial.preview, trial.recipe, draw.index))

    def _train(self, trial: "_Trial") -> None:
        """Give the trial to a worker, for its next training."""
        fidelity = self._rungs(trial)[len(trial.trainings)]
        self._running[trial.draw.number] = trial
        self.workers.submit(self._job(trial.draw.number, trial.steps, fidelity))

    def _go_on(self, trial: "_Trial") -> None:
        """Train the trial for longer, unless what ended meanwhile makes that needless."""
        reason = self._needless(trial)
        if reason:
            self._end(trial, self._built(trial, reason))
        else:
            self._train(trial)

    def _rungs(self, trial: "_Trial") -> tuple[float, ...]:
        """The lengths of a trial's trainings. One that shares another's training has the last alone."""
        return self.space.rungs if trial.draw.variant_of is None else (self.space.fidelity,)

    def _take_in(self, done: Done) -> None:
        trial = self._running[done.job.number]
        if done.fate == "lost" and self.ledger.restart(trial.draw):
            self.on_event(Noticed(f"trial {trial.draw.number} starts again: {done.reason}"))
            self.workers.submit(done.job)
            return
        del self._running[trial.draw.number]
        if done.record is None:
            self._end(trial, self._unmade(trial, done))
            return
        trial.trainings.append(replace(_completed(done.record, trial.preview), key=trial.preview.key))
        if len(trial.trainings) == len(self._rungs(trial)):
            self._end(trial, self._built(trial))
        elif len(trial.trainings) <= trial.draw.passed:
            self._going_on.append(trial)
        elif self._over_size(trial.trainings[-1]):
            self._compare([trial])
        else:
            self._waiting.append(trial)
            self._wait_or_compare(trial)

    def _wait_or_compare(self, trial: "_Trial") -> None:
        """Those that wait at a rung are compared whenever one more of them can go on. What was given goes on as it
        comes, and so does who is first at a later rung, since it beat others before; where time is limited, whoever
        comes while there is no result yet."""
        beside = self._gains_beside(trial)
        if (1 + len(beside)) % self._one_in(trial) == 0:
            self._compare(self._at_rung(trial.rung))
        elif trial.draw.known or (trial.rung > 0 and not beside) or self._in_a_hurry:
            self._compare([trial])
        else:
            self.ledger.interrupt(trial.draw)

    def _one_in(self, trial: "_Trial") -> int:
        return one_in(self.space.rungs, trial.rung)

    @property
    def _in_a_hurry(self) -> bool:
        return self.goal.timeout_s is not None and self._best is None

    def _at_rung(self, rung: int) -> "list[_Trial]":
        return [each for each in self._waiting if each.rung == rung]

    def _compare(self, trials: "Sequence[_Trial]") -> None:
        """End those that are behind others at their rung; the others go on."""
        stopped = {trial: reason for trial in trials if (reason := self._stopped(trial))}
        self._waiting = [each for each in self._waiting if each not in trials]
        for trial in trials:
            if trial not in stopped:
                self.ledger.passes(trial.draw, len(trial.trainings))
                self._going_on.append(trial)
        for trial, reason in stopped.items():
            self._end(trial, self._built(trial, reason))

    def _stopped(self, trial: "_Trial") -> str:
        """Why a trial gets no longer training, or an empty string."""
        last = trial.trainings[-1]
        if self._over_size(last):
            return f"over budget {_after(last)}"
        if needless := self._needless(trial):
            return needless
        gains, others = self.goal.objective.gains(last), self._gains_beside(trial)
        if not trial.draw.known and not goes_on(gains, others, self._one_in(trial)):
            return f"behind others {_after(last)}"
        return ""

    def _needless(self, trial: "_Trial") -> str:
        """Why no trial gets a longer training any more, however good it is, or an empty string."""
        last, longer = trial.trainings[-1], self._rungs(trial)[len(trial.trainings)]
        if self._good_enough():
            return f"not needed any more {_after(last)}"
        if self._best and not self._time_for(cost_s(last) * longer / last.fidelity):
            return f"no time was left {_after(last)}"
        return ""

    def _gains_beside(self, trial: "_Trial") -> list[tuple[float, ...]]:
        """What the others gained at a trial's rung, but for those that are over budget however well they learn."""
        for number in self._records.keys() - self._gains.keys():
            self._gains[number] = self._gains_at_rungs(self._records[number])
        under_way = [
            self.goal.objective.gains(each.trainings[trial.rung])
            for each in self._under_way
            if each is not trial and each.rung >= trial.rung and not self._over_size(each.trainings[-1])
        ]
        return under_way + [gains[trial.rung] for gains in self._gains.values() if len(gains) > trial.rung]

    def _gains_at_rungs(self, record: Record) -> list[tuple[float, ...]]:
        """What a trial that was told gained after each of its trainings; nothing if it is compared with nobody."""
        if REPEAT in record.facts or self._over_size(record):
            return []
        others = tuple(each for each in record.measurements if each.name != "quality")
        return [
            self.goal.objective.gains(replace(record, measurements=(*others, Measurement("quality", rung.quality, ""))))
            for rung in rungs_of(record)
        ]

    @property
    def _under_way(self) -> "list[_Trial]":
        """Those that got a training and are not told yet."""
        return [*self._running.values(), *self._waiting, *self._going_on]

    def _over_size(self, record: Record) -> bool:
        """Whether a budget is broken that no longer training mends."""
        return bool({*self.goal.objective.broken(record)} - {"quality"})

    def _built(self, trial: "_Trial", stopped: str = "") -> Record:
        """The record of a trial whose trainings are over, or were `stopped` for that reason."""
        record = trial.trainings[-1]
        if trial.draw.variant_of is not None:
            record = replace(record, facts={**record.facts, VARIANT: {"of": trial.draw.variant_of}})
        elif len(self.space.rungs) > 1:
            record = replace(record, facts={**record.facts, RUNGS: rungs_fact(trial.trainings)})
        judged = self._judged(record, trial.recipe, trial.draw.index)
        early = stopped and not self._over_size(record)
        return replace(judged, outcome="stopped early", reason=stopped) if early else judged

    def _unmade(self, trial: "_Trial", done: Done) -> Record:
        """The record of a trial of which a worker made nothing."""
        if done.fate == "inapplicable":
            return self._unbuilt(trial.recipe, trial.draw, "inapplicable", done.reason)
        return replace(self._unbuilt(trial.recipe, trial.draw, "failed", done.reason), trained=True)

    def _end(self, trial: "_Trial", record: Record) -> None:
        """Tell what became of a trial, and of those that turned out to be the same."""
        self._tell(trial.draw, record)
        for draw in trial.followers:
            self._tell(draw, self._repeat(draw, trial.draw.number))

    def _tell(self, draw: Draw, record: Record) -> None:
        number, record = draw.number, self._dated(record)
        # Written before it is told: a trial with a record is never run again.
        self.ledger.write(draw, record)
        self.ledger.tell(draw, record, self.goal.objective)
        self.ledger.set_seconds(self._seconds)
        del self._untold[number]
        self._records[number] = record
        if draw.variant_of is None:
            self._drawn.setdefault(digest_of(draw.trial.user_attrs["drawn"]), number)
        self._streaks.add(record)
        for complaint in self.registry.tell(record):
            self.on_event(Noticed(complaint))
        self.on_event(TrialEnded(number, record, count(self._records.values()), self._best, self._seconds))

    def _dated(self, record: Record) -> Record:
        return replace(record, facts={**record.facts, RECORDED: {"seconds": round(self._seconds, 1)}})

    def _job(self, number: int, recipe: tuple[Json, ...], fidelity: float, seed: int | None = None) -> Job:
        return Job(number, recipe, fidelity, self.goal.seed if seed is None else seed)

    def _doing(self, number: int, progress: Progress) -> None:
        self.on_event(Doing(number, progress))

    def _judged(self, record: Record, recipe: Recipe, index: int) -> Record:
        over = self.goal.objective.broken(record)
        missed = {name: "below the least" if name == "quality" else "over budget" for name in over}
        reason = ", ".join(f"{name} {by:.1%} {missed[name]}" for name, by in over.items())
        outcome: Outcome = "over budget" if over else "complete"
        steps = tuple(recipe.to_json())
        return replace(record, recipe=steps, draw=index, outcome=outcome, reason=reason)

    def _repeat(self, draw: Draw, number: int) -> Record:
        known = self._records[number]
        of = known.facts.get(REPEAT, {"of": number})
        return replace(known, draw=draw.index, facts={**known.facts, REPEAT: of})

    def _unbuilt(self, recipe: Recipe, draw: Draw, outcome: Outcome, reason: str) -> Record:
        key = self.workshop.key(recipe, fidelity=self.space.fidelity, seed=self.goal.seed)
        steps = tuple(recipe.to_json())
        return Record(steps, draw.index, outcome, reason, key, self.space.fidelity, self.goal.seed)

    def _filled(self, draw: Draw, recipe: Recipe) -> tuple[Recipe, Record]:
        """The recipe with as much of the filled knob as the size budget has room for, and its preview."""
        self._doing(draw.number, Progress("preview"))
        if draw.variant_of is None:
            recipe = filled(self.workshop, self.space, recipe, self.goal.objective.hard)
        else:
            recipe = self.space.filled_as(recipe, self._records[draw.variant_of].recipe)
        return recipe, self.workshop.preview(recipe)

    def _time_or_trials_used_up(self) -> str:
        if self._good_enough():
            return f"a candidate within budget has a quality of {self.goal.stop_at:g}, as asked"
        reached = count(self._records.values()).reached + len(self._under_way)
        # What needs no training of its own does not count.
        variant = bool(self.space.tail) and self.ledger.variant_waits()
        if self.goal.trials is not None and reached >= self.goal.trials and not variant:
            return f"{counted(reached, 'candidate')} reached training, as asked"
        if self.goal.timeout_s is not None and not self._time_for(self._seconds_of_trial):
            return "the time for the search is used up"
        return ""

    def _time_for(self, seconds: float) -> bool:
        """Whether there is time for this, beside what is kept for rebuilding the best once there is one."""
        if self.goal.timeout_s is None:
            return True
        left, best = self.goal.timeout_s - self._seconds, self._best
        if left <= 0 or best is None:
            return left > 0
        plan = promotion_plan(
            self.space.fidelity,
            self.goal.objective,
            given=bool(self.space.known),
            seeds=self.goal.promotion_seeds or 1,
        )
        return left - seconds > kept_for_promotion(self.goal.timeout_s, self._seconds_of(best, 1.0), plan)

    def _good_enough(self) -> list[tuple[int, Record]]:
        """The candidates within budget that reach the quality at which the search ends."""
        if self.goal.stop_at is None:
            return []
        found = ranked(self._records, self.goal.objective)
        return [each for each in found if (each[1].value("quality") or 0.0) >= self.goal.stop_at]

    def _promote(self, *, finished_before: bool) -> None:
        """Compare the best after a longer training, rebuild the best of them at full fidelity, with more seeds as time
        allows, and measure what is handed out on the test split.

        What is good enough as it is, is not built again.
        """
        seeds = range(self.goal.seed, self.goal.seed + self._most_seeds)
        done = {(number, record.seed) for number, rebuilds in self.ledger.rebuilds().items() for record in rebuilds}
        for number, record in self._good_enough()[:1]:
            if (number, record.seed) not in done and number not in self.ledger.kept():
                self._keep_as_it_is(number, record)
            return
        compared = self._compared(self._promotion_rung(finished_before))
        best = survivors(compared, self._records, self.goal.objective)
        for place, (seed, (number, record)) in enumerate(itertools.product(seeds, best)):
            if (number, seed) in done:
                continue
            fidelity = self._affordable_fidelity(record)
            if fidelity < 1.0 and (place or fidelity <= record.fidelity):
                break
            self.on_event(Promoting(number, fidelity))
            try:
                self._keep_rebuild(number, record, self._rebuilt(self._job(number, record.recipe, fidelity, seed)))
            except EicompressError as error:
                self.on_event(Noticed(f"trial {number} could not be rebuilt: {error}"))
        self._keep_what_is_ahead()

    def _promotion_rung(self, finished_before: bool) -> PromotionRung:
        """Which trials are compared, and how long they are trained for it; decided once for a goal."""
        decided = self.ledger.promotion()
        if decided.get("goal") == self.goal.end:
            return PromotionRung(decided["length"], tuple(decided["trials"]))
        if finished_before:
            return PromotionRung()
        left = math.inf if self.goal.timeout_s is None else self.goal.timeout_s - self._seconds
        objective, last = self.goal.objective, self.space.fidelity
        rung = promotion_rung(self._records, self._given, objective, last, left, self._seconds_of)
        self.ledger.set_promotion({"goal": self.goal.end, "length": rung.length, "trials": list(rung.trials)})
        return rung

    def _compared(self, rung: PromotionRung) -> dict[int, Record]:
        """The trials of the promotion rung after their training for it, without those that could not be trained."""
        known = self.ledger.compared(rung.length)
        for number in rung.trials:
            trial = self._records[number]
            if number in known or not self._seconds_left_for(self._seconds_of(trial, rung.length)):
                continue
            self.on_event(Comparing(number, rung.length))
            try:
                made = _completed(self._rebuilt(self._job(number, trial.recipe, rung.length)), trial)
            except EicompressError as error:
                self.on_event(Noticed(f"trial {number} could not be trained for longer: {error}"))
                continue
            known[number] = self._dated(self._judged(made, self.registry.recipe(trial.recipe), trial.draw))
            self.ledger.compare(number, known[number])
            self.ledger.set_seconds(self._seconds)
        found = {number: known[number] for number in rung.trials if number in known}
        if found:
            self.on_event(Noticed(self._comparison(rung.length, found)))
        return found

    @property
    def _given(self) -> set[int]:
        """The trials whose recipes were given, whoever drew them first."""
        ended = self.ledger.given() & self._records.keys()
        return {self._records[number].facts.get(REPEAT, {"of": number})["of"] for number in ended}

    def _comparison(self, length: float, compared: dict[int, Record]) -> str:
        given = self._given
        order = sorted(compared.items(), key=lambda each: -(each[1].value("quality") or 0.0))
        parts = [
            f"trial {number}{' (given)' if number in given else ''} {record.value('quality') or 0.0:.4f}"
            for number, record in order
        ]
        return f"compared after {length:.0%} of the full training: {', '.join(parts)}"

    def _seconds_left_for(self, seconds: float) -> bool:
        return self.goal.timeout_s is None or self._seconds + seconds <= self.goal.timeout_s

    def _keep_what_is_ahead(self) -> None:
        """Hand out as they are the trials that rebuilding made worse, and the best if no rebuild is ahead of it."""
        result = result_of(self.ledger, self.goal.objective)
        promoted, own = result.promoted, result.own
        wanted = {number: record for number, record in promoted.items() if record is own.get(number)}
        for number, record in to_promote(own, self.goal.objective)[:1]:
            if number not in promoted and ranked({**promoted, number: record}, self.goal.objective)[0][0] == number:
                wanted[number] = record
        for number, record in wanted.items():
            try:
                self._keep_as_it_is(number, record)
            except EicompressError as error:
                self.on_event(Noticed(f"trial {number} could not be handed out as it was: {error}"))

    def _keep_as_it_is(self, number: int, record: Record) -> None:
        """Hand out what the search has made of a trial. Raises `EicompressError`."""
        judged = self._timed(record, _untimed(self._with_artifact(number, record)))
        self._rename_rebuild(number)
        kept = self._placed(judged, f"trial-{number:04d}")
        self.ledger.keep(number, kept)
        self.on_event(Promoted(number, kept, rebuilt=False))

    def _keep_rebuild(self, number: int, trial: Record, made: Record) -> None:
        """Hand out a rebuild; one that is behind its trial leaves the trial's name free. Raises `EicompressError`."""
        judged, name = self._timed(trial, made), f"trial-{number:04d}"
        if made.seed != self.goal.seed:
            name += f"-seed-{made.seed}"
        elif best_of([judged, trial, self._records[number]], self.goal.objective) is not judged:
            name += "-rebuilt"
        else:
            # What a shorter search had kept under this name makes way.
            self.ledger.forget_kept(number)
        rebuilt = self._dated(self._placed(judged, name))
        self.ledger.promote(number, rebuilt)
        self.on_event(Promoted(number, rebuilt))

    def _hand_out_simple(self) -> None:
        """Where a simple baseline is what to ship, measure it as what is rebuilt, put it beside that, and say so."""
        result = result_of(self.ledger, self.goal.objective)
        if not result.verdict or result.best is None:
            return
        name, record = str(result.best[0]), result.best[1]
        if record.value("quality_test") is None:
            measured = self.workshop.promote_extras(record)
            kept = copy(Artifact(Path(record.files["artifact"])), self.ledger.folder / "artifacts" / name)
            self.ledger.set_simple(name, replace(measured, files={**measured.files, "artifact": str(kept.folder)}))
        self.on_event(Noticed(result.verdict))

    def _rename_rebuild(self, number: int) -> None:
        """Leave the trial's name free where a rebuild has it that has fallen behind since."""
        folder = self.ledger.folder / "artifacts" / f"trial-{number:04d}"
        for rebuild in self.ledger.rebuilds().get(number, ()):
            if Path(rebuild.files.get("artifact", "")) == folder and folder.is_dir():
                moved = copy(Artifact(folder), folder.with_name(f"{folder.name}-rebuilt"))
                files = {**rebuild.files, "artifact": str(moved.folder)}
                self.ledger.promote(number, replace(rebuild, files=files))

    def _timed(self, trial: Record, made: Record) -> Record:
        """What was made of a trial's recipe, its latency taken with care, compared with the budgets."""
        return self._judged(self.workshop.timed(made), self.registry.recipe(trial.recipe), trial.draw)

    def _placed(self, judged: Record, name: str) -> Record:
        """The record with all that is measured of what is handed out, its artifact copied to where users look."""
        measured = self.workshop.promote_extras(judged)
        artifact = copy(Artifact(Path(measured.files["artifact"])), self.ledger.folder / "artifacts" / name)
        return replace(measured, files={**measured.files, "artifact": str(artifact.folder)})

    def _with_artifact(self, number: int, record: Record) -> Record:
        """The record with an artifact that is there: built again where it was removed. Raises `StudyError`."""
        artifact = Artifact(Path(record.files.get("artifact", "removed")))
        if artifact.onnx.is_file() and artifact.manifest.is_file():
            return record
        return self._rebuilt(self._job(number, record.recipe, record.fidelity, record.seed))

    @property
    def _most_seeds(self) -> int:
        """Seeds of a rebuild: as many as asked for; if nobody said, and time is limited, as many as fit into it."""
        if self.goal.promotion_seeds is not None:
            return self.goal.promotion_seeds
        return 1 if self.goal.timeout_s is None else SEEDS

    def _rebuilt(self, job: Job) -> Record:
        """What a worker makes of the job, tried again where it is lost. Raises `StudyError`."""
        for _ in range(RESTARTS + 1):
            self.workers.submit(job)
            done = self.workers.wait(self._doing)
            if done.record is not None:
                return done.record
            if done.fate != "lost":
                break
        raise StudyError(done.reason.strip().splitlines()[-1])

    def _affordable_fidelity(self, record: Record) -> float:
        """Full fidelity, or in too little time as much as there is time for, in steps of 0.05."""
        if self.goal.timeout_s is None:
            return 1.0
        share = (self.goal.timeout_s - self._seconds) / self._seconds_of(record, 1.0)
        if share >= 1.0:
            return 1.0
        return max(self.space.fidelity, math.floor(share * 20) / 20)

    def _seconds_of(self, record: Record, fidelity: float) -> float:
        """Of training a trial's recipe at this fidelity, with what is measured: estimated from the trial's own seconds,
        or, where it took its training from the cache, from the others'."""
        training = [each.seconds_by_phase.get("training", 0.0) / each.fidelity for each in self._trained()]
        own = full_seconds(replace(record, seconds_by_phase={**record.seconds_by_phase, "training": 0.0}))
        longest = max(record.seconds_by_phase.get("training", 0.0) / record.fidelity, median(training or [0.0]))
        return max(1e-3, own + fidelity * longest)

    @property
    def _seconds_of_trial(self) -> float:
        return median([cost_s(each) for each in self._trained()] or [0.0])

    def _trained(self) -> list[Record]:
        return [record for record in self._records.values() if has_own_training(record)]

    @property
    def _best(self) -> Record | None:
        found = ranked(self._records, self.goal.objective)
        return found[0][1] if found else None

    @property
    def _seconds(self) -> float:
        return self._seconds_before + self.clock() - self._started


@dataclass(eq=False)
class _Trial:
    """A trial that is not told yet, what its trainings came to, and the later draws that turned out to be the same."""

    draw: Draw
    recipe: Recipe
    preview: Record
    trainings: list[Record] = field(default_factory=list)
    followers: list[Draw] = field(default_factory=list)

    @property
    def steps(self) -> tuple[Json, ...]:
        return tuple(self.recipe.to_json())

    @property
    def rung(self) -> int:
        """The place of its last training among the rungs; -1 before the first."""
        return len(self.trainings) - 1


@dataclass
class _Streaks:
    """How many draws in a row were repeats, reached no training, or crashed."""

    repeats: int = 0
    untrained: int = 0
    failures: int = 0

    def add(self, record: Record) -> None:
        """Count a draw. Raises `StudyError` after too many crashes."""
        repeat = REPEAT in record.facts
        self.repeats = self.repeats + 1 if repeat else 0
        self.untrained = self.untrained + 1 if repeat or not record.trained else 0
        self.failures = self.failures + 1 if record.outcome == "failed" else 0
        if self.failures == FAILURES:
            last = record.reason.strip().splitlines()[-1]
            raise StudyError(f"{FAILURES} candidates in a row crashed, so something else is wrong: {last}")

    def ended(self) -> str:
        """Why the search ends, or an empty string."""
        if self.repeats >= REPEATS:
            return f"the search space is exhausted: {REPEATS} draws in a row were repeats"
        if self.untrained >= UNTRAINED:
            return f"{UNTRAINED} draws in a row were not worth training"
        return ""


def _after(training: Record) -> str:
    return f"after {training.fidelity:.1%} of the full training"


def _completed(record: Record, preview: Record) -> Record:
    """The record with what only its preview measured: a latency is taken once, and reused."""
    names = {each.name for each in record.measurements}
    missing = tuple(each for each in preview.measurements if each.name not in names)
    return replace(record, measurements=(*record.measurements, *missing))


def _untimed(record: Record) -> Record:
    """The record without what is measured again of everything that is kept."""
    kept = tuple(each for each in record.measurements if each.name in ("size_mb", "download_mb", "quality"))
    return replace(record, measurements=kept)


def _nothing_fits(result: Result) -> EicompressError:
    nearest = result.nearest
    if nearest is None:
        reasons = [record.reason.strip().splitlines()[-1] for record in result.records.values() if record.reason]
        return StudyError(f"no candidate could be built ({result.ended}); the last one: {(reasons or ['-'])[-1]}")
    number, record = nearest
    return BudgetError(
        f"no candidate met the budget ({result.ended}). The nearest is trial {number}: "
        f"{result.objective.compared(record)}; "
        f"most of it is {weights(record, 3)}. Give a larger budget, or more time."
    )
