"""Runs or forecasts a planned search: opens the builder and the workers, then starts the coordinator."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from eicompress.cache import write_folder
from eicompress.errors import BudgetError, PluginError, SpecError
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.parsing import seconds, size_mb
from eicompress.spec import Spec
from eicompress.study import time_advice
from eicompress.study.coordinator import run_search
from eicompress.study.events import Compared, Event, Foreseen, Noticed
from eicompress.study.forecast import Forecast, TimeEstimator, forecast, in_rungs
from eicompress.study.halving import COMPARED, described
from eicompress.study.ledger import Ledger
from eicompress.study.plan import TEACHER, Plan, kept_teacher, place_of
from eicompress.study.result import Result
from eicompress.study.search import Goal, Search, Workers
from eicompress.study.store import check_usable, opened, read_ledger
from eicompress.trials.builder import Builder, open_builder
from eicompress.trials.previews import PREVIEWS, Previews
from eicompress.trials.processes import Processes
from eicompress.trials.ray_cluster import Cluster
from eicompress.trials.watched import Limits, Setup
from eicompress.trials.worker import InProcess, made_of
from eicompress.values import MEGABYTE, TRAINING, Progress, Record

LONGEST_TRIAL = 7_200.0
"""Default time limit of a trial in seconds, if `timeout` is not given."""
SHORTEST_LIMIT = 600.0
"""Least time limit of a trial in seconds."""
FEW_DRAWS = 4
"""Random recipes that a search previews before it begins; `plan` takes more."""
FORECAST_SHARE = 0.15
"""Of the time left, after which a search that begins takes no more previews for its forecast."""

NO_TIME = (
    "no time is left to train a candidate: reading, and measuring the model and simple baselines, took all of it. Give "
    "a longer `--timeout`, or fewer rows with `--rows`; `eicompress plan` says how much is enough"
)


class Foreseer(TimeEstimator, Protocol):
    """Previews and times recipes, and has the examples."""

    @property
    def examples(self) -> Mapping[str, Sized]: ...


def run(
    plan: Plan,
    on_event: Callable[[Event], None],
    on_progress: Callable[[Progress], None],
    report: Callable[[Ledger, Spec], str],
) -> Result:
    """Run or go on with a planned search; `report` writes what was found, also after an error, and says where."""
    spec, settings, begun = plan.spec, plan.spec.settings, time.monotonic()
    check_usable(spec.folder, settings.get("storage", ""))
    head = kept_teacher(spec)
    builder = open_builder(spec, plan.registry, folder=spec.folder, head=head, progress=on_progress)
    if builder.head != head:
        begun = time.monotonic()  # the training of a teacher has a limit of its own
    _check_comparable(builder, plan)
    for note in filter(None, (*plan.notes, *builder.notes, builder.unlabelled.note())):
        on_event(Noticed(note))
    goal = _goal(plan)
    digests = {**builder.digests, **plan.digests}
    directions = goal.objective.directions
    with (
        opened(spec.folder, spec.to_toml(), digests, directions, settings.get("storage", "")) as ledger,
        _staffed(_with_kept_teacher(builder, spec), plan) as (builder, workers),
    ):
        compared = _compared(builder, plan)
        on_event(compared)
        if part := _on_some(compared.baseline, builder):
            on_event(Noticed(part))
        left_s = goal.limit_s - ledger.seconds() - (time.monotonic() - begun)
        plan = prepared(plan, builder, ledger, left_s, on_event)
        prepared_s = time.monotonic() - begun
        search = Search(builder, workers, plan.registry, ledger, plan.space, goal, on_event, prepared_s=prepared_s)
        try:
            return run_search(search)
        finally:
            # Where nothing fits, and after Ctrl-C, what was found until then can be looked at.
            on_event(Noticed(report(ledger, spec)))


def foreseen(
    plan: Plan, folder: Path, on_event: Callable[[Event], None], on_progress: Callable[[Progress], None]
) -> Forecast:
    """What a planned search will meet; what it takes to know that is built under `folder`.

    Raises `BudgetError` where no candidate can meet the budgets.
    """
    spec = plan.spec
    builder = open_builder(spec, plan.registry, folder=folder, head=kept_teacher(spec), progress=on_progress)
    _check_comparable(builder, plan)
    reached = _compared(builder, plan)
    on_event(reached)
    ledger = read_ledger(spec.folder) if (spec.folder / "study.toml").is_file() else None
    space, steps = in_rungs(plan.space, ledger, builder, spec.seed)
    records = ledger.records().values() if ledger else ()
    found = replace(forecast(builder, space, plan.objective, spec.seed, records), full_steps=steps)
    if not (ledger and ledger.rungs()):
        found = _in_time(found, plan.spec, _goal(plan).limit_s, builder)
    return replace(found, baselines={"baseline": reached.baseline, **reached.simple})


def _check_comparable(builder: Builder, plan: Plan) -> None:
    """Raise `SpecError` where answers are to be compared text by text, and no such comparison of them is known."""
    least, name = plan.objective.least, plan.spec.settings["objective"]
    if least and not builder.task.answer.holds(builder.examples["validation"].targets):
        raise SpecError(
            f"`--objective {name}` must compare answers text by text, but the labels of the task `{builder.task.name}` "
            f"have a form of their own: ask for `--objective pareto:quality,{least}`"
        )


def _compared(builder: Builder, plan: Plan) -> Compared:
    """The qualities of the baseline and of the simple baselines."""
    objective = plan.objective
    return Compared(builder.baseline(), builder.simple(objective.hard.get(SIZE)), objective)


def _on_some(baseline: Record, builder: Foreseer) -> str:
    """A note where time was too short to measure the baseline's quality on all validation texts."""
    measured = next((each for each in baseline.measurements if each.name == QUALITY), None)
    count, read = len(builder.examples["validation"]), measured.conditions.get("examples") if measured else None
    if read is None or read >= count:
        return ""
    return (
        f"the baseline's quality is that of {read:,} of {count:,} validation texts: all of them take too long for "
        "`--timeout`"
    )


def _goal(plan: Plan) -> Goal:
    settings = plan.spec.settings
    return Goal(
        plan.objective,
        plan.spec.seed,
        settings["sampler"],
        settings.get("trials"),
        plan.spec.timeout_s,
        settings.get("promotion_seeds"),
        settings.get("stop_at"),
    )


def _with_kept_teacher(builder: Builder, spec: Spec) -> Builder:
    """Keep the teacher that was trained for a study in its folder: trained once more, it might be another."""
    kept, trained = spec.folder / TEACHER, builder.head
    if trained is None or kept.exists():
        return builder
    write_folder(kept, lambda folder: shutil.copytree(trained, folder, dirs_exist_ok=True))
    return replace(builder, head=kept)


def prepared(plan: Plan, builder: Foreseer, ledger: Ledger, left_s: float, on_event: Callable[[Event], None]) -> Plan:
    """The plan with the rungs of its study, which are recorded, since all its trials must have them, and reported.

    Those of a new study are shortened where little time is left. Where none is, there is nothing to prepare.
    """
    if left_s <= 0:
        if not ledger.records():
            on_event(Noticed(NO_TIME))
        return plan
    begun, known = time.monotonic(), ledger.rungs()
    shortened: float = known.get("shared_epochs", 0.0)
    space, steps = in_rungs(plan.space, ledger, builder, plan.spec.seed)
    if not ledger.records():
        found = _foreseen(replace(plan, space=space), builder, begun + FORECAST_SHARE * left_s, on_event)
        if found is not None:
            found = replace(found, full_steps=steps)
            if not known:
                found = _in_time(found, plan.spec, left_s - (time.monotonic() - begun), builder)
                space, shortened = replace(space, rungs=found.rungs), found.shortened
                space = space.with_shared_epochs(shortened)
            on_event(Foreseen(found))
    ledger.set_rungs(space.rungs, steps, shortened)
    on_event(Noticed(f"candidates are {COMPARED[space.whole]} {described(space.rungs, steps, space.whole)}"))
    return replace(plan, space=space)


def _in_time(found: Forecast, spec: Spec, left_s: float, builder: Foreseer) -> Forecast:
    """The forecast with a shared training and rungs that fit into the time left, and with advice if they are short."""
    if left_s == math.inf or spec.timeout_s is None:
        return found
    found = time_advice.shared_in_time(replace(found, left_s=left_s), left_s)
    if found.whole != TRAINING:
        return found
    rungs, rows = time_advice.shortened(found, left_s), len(builder.examples["train"])
    inside = replace(found, rungs=rungs)
    return replace(inside, advice=time_advice.advice(inside, found.rungs, spec.timeout_s, rows))


def _foreseen(plan: Plan, builder: Foreseer, until: float, on_event: Callable[[Event], None]) -> Forecast | None:
    """What the search will meet, from as many previews as there is time for; None where that cannot be known."""

    def hurry() -> bool:
        return time.monotonic() > until

    try:
        return forecast(builder, plan.space, plan.objective, plan.spec.seed, draws=FEW_DRAWS, hurry=hurry)
    except BudgetError:
        pass  # which the search finds too, and leaves a report
    except PluginError:
        pass  # which the trials that use it tell
    except Exception as error:
        # A strategy that crashes is an outcome of the trials that use it.
        on_event(Noticed(f"nothing could be foreseen: {error}"))
    return None


@contextmanager
def _staffed(builder: Builder, plan: Plan) -> Iterator[tuple[Builder, Workers]]:
    """The workers of a plan, and the builder that previews in a process beside them, and pauses all of them while it
    takes a latency."""
    spec, settings = plan.spec, plan.spec.settings
    # What a coordinator left that was killed.
    shutil.rmtree(spec.folder / PREVIEWS, ignore_errors=True)
    if not settings["workers"]:
        yield builder, InProcess(builder, plan.registry)
        return
    setup = setup_of(spec, builder)
    limits, count = _limits(spec), settings["workers"]
    team: Processes | Cluster = Processes(setup, limits.shared(count), count)
    if settings["engine"] == "ray":
        team = Cluster(setup, limits, count, place_of(spec))
    with team as workers, Previews(setup, limits.shared(count)) as previews:

        @contextmanager
        def quiet() -> Iterator[None]:
            with workers.paused(), previews.paused():
                yield

        yield replace(builder, quiet=quiet, previews=previews), workers


def setup_of(spec: Spec, builder: Builder) -> Setup:
    """What a worker opens the same builder with."""
    # A worker does not open the database.
    known = Spec({**spec.settings, "storage": ""}).settings
    return Setup(known, str(spec.folder), str(builder.head or ""), made_of(builder))


def _limits(spec: Spec) -> Limits:
    """What one trial may take."""
    own, memory, all_s = spec.settings.get("trial_timeout"), spec.settings.get("trial_memory"), spec.timeout_s
    limit_s = LONGEST_TRIAL if all_s is None else max(SHORTEST_LIMIT, all_s / 2)
    return Limits(seconds(own) if own else limit_s, round(size_mb(memory) * MEGABYTE) if memory else 0)
