"""What commands and Python callers do, in the same words and with the same defaults."""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eicompress.errors import BudgetError, DataError, SpecError, StudyError, nearest
from eicompress.spec import Spec, choice, read, read_search, read_study, read_toml, study_name, whole
from eicompress.values import MEGABYTE, Artifact, Progress, Record

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from optuna.trial import FrozenTrial

    from eicompress.contracts import Examples, Task
    from eicompress.plugins import Registry
    from eicompress.recipe import Recipe
    from eicompress.reporting.comparison import Comparison
    from eicompress.reporting.data import Numbers
    from eicompress.runtime import Model
    from eicompress.study.ablation import Ablation, Built
    from eicompress.study.events import Compared, Event
    from eicompress.study.forecast import Forecast
    from eicompress.study.ledger import Ledger
    from eicompress.study.objective import Objective
    from eicompress.study.result import Result
    from eicompress.study.search import Workers
    from eicompress.study.space import SearchSpace
    from eicompress.trials.builder import Lesson, Workshop
    from eicompress.trials.taught import Attempt
    from eicompress.values import Measurement

TEACHER = "teacher"
"""The folder in a study's with the teacher that was trained for it."""
PACKAGES = ("zip", "hf")
"""What `pack` writes."""
LONGEST_TRIAL = 7_200.0
"""Seconds of a trial, unless `trial_timeout` says otherwise: these, or half of the time for everything."""
SHORTEST_LIMIT = 600.0
"""Seconds, however short the time for everything is."""
LENGTHS = (16, 64, 128)
"""Tokens at which `measure` takes a latency unless it is told."""
FEW_DRAWS = 4
"""Random recipes that a search previews before it begins; `plan` takes more."""


@dataclass(frozen=True)
class Plan:
    """A search that was asked for, checked as far as it can be without reading model and data."""

    spec: Spec
    registry: "Registry"
    space: "SearchSpace"
    only_plugins: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """Names what the search is made from besides model and data, so that a study can be told from another."""
        return {"space": self.space.digest, **_plugin_digest(self.spec)}


@dataclass(frozen=True)
class Replay:
    """A trial that was built again. `differences` is empty where its bytes are those of the first time."""

    record: Record
    differences: tuple[str, ...]


def search(
    *,
    model: str | None = None,
    data: str | None = None,
    budget: str | None = None,
    latency: str | None = None,
    memory: str | None = None,
    min_quality: float | None = None,
    study: str | None = None,
    studies: str | Path = "studies",
    timeout: str | None = None,
    trials: int | None = None,
    stop_at: float | None = None,
    promotion_seeds: int | None = None,
    from_: str | None = None,
    objective: str | None = None,
    sampler: str | None = None,
    space: str | None = None,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    seed: int | None = None,
    seq_len: int | None = None,
    threads: int | None = None,
    teacher_training: str | None = None,
    teacher_timeout: str | None = None,
    teacher: Sequence[str] | None = None,
    ensemble: str | None = None,
    unlabelled: Sequence[str] | None = None,
    storage: str | None = None,
    start: str | None = None,
    workers: int | None = None,
    engine: str | None = None,
    ray_address: str | None = None,
    worker_cpus: int | None = None,
    worker_gpus: float | None = None,
    trial_timeout: str | None = None,
    trial_memory: str | None = None,
    plugin: str | None = None,
    only_plugins: str | None = None,
    on_event: "Callable[[Event], None] | None" = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> "Result":
    """Search for the best artifact within budget.

    A study that exists already goes on, and needs no more than its name: it remembers `plugin` too. Without `trials`
    and `timeout` a search takes two hours. `workers` is how many processes train; 0 for none but this one. With
    `engine="ray"` they run on a Ray cluster. Raises
    `SpecError`, `DataError`, `ModelError`, `BudgetError` and `StudyError`.
    """
    written = {name: value for name, value in locals().items() if not name.startswith("on_")}
    return run(planned(written), on_event or _nothing, on_progress or _nothing)


def plan(on_progress: Callable[[Progress], None] | None = None, **asked: Any) -> "Forecast":
    """What a search asked for in the words of `search` will meet: what fits, what is reachable, what a training takes.

    Nothing is trained but a teacher, where the model has no head for the task. Raises as `search` does.
    """
    return foreseen(planned(asked), on_progress or _nothing)


def foreseen(
    plan: Plan, on_progress: Callable[[Progress], None], on_event: "Callable[[Event], None] | None" = None
) -> "Forecast":
    """What a planned search will meet. Raises `BudgetError` where no candidate can meet the budgets."""
    from eicompress.study.forecast import forecast, in_rungs
    from eicompress.study.store import read_ledger

    spec = plan.spec
    workshop = _workshop(spec, plan.registry, on_progress, _scratch())
    compared = _compared(workshop, spec)
    (on_event or _nothing)(compared)
    ledger = read_ledger(spec.folder) if (spec.folder / "study.toml").is_file() else None
    space, steps = in_rungs(plan.space, ledger, workshop, spec.seed)
    records = ledger.records().values() if ledger else ()
    found = forecast(workshop, space, objective_of(spec), spec.seed, records)
    return replace(found, full_steps=steps, baselines={"baseline": compared.baseline, **compared.simple})


def _compared(workshop: "Workshop", spec: Spec) -> "Compared":
    """What the baseline and the simple baselines reach."""
    from eicompress.study.events import Compared

    objective = objective_of(spec)
    return Compared(workshop.baseline(), workshop.simple(objective.hard.get("size_mb")), objective)


def planned(written: Mapping[str, Any]) -> Plan:
    """The plan of a search in the words of `search`; what an existing study knows need not be given again."""
    from eicompress.plugins import discover
    from eicompress.study.space_file import read_space
    from eicompress.trials.ray_cluster import check_installed

    given = {name: value for name, value in written.items() if value is not None}
    if "study" in given and not {"model", "data"} & set(given):
        given = {**read_study(_folder(given["study"], given.get("studies", "studies"))), **given}
    only = given.pop("only_plugins", None)
    spec = _with_remembered_plugin(read_search({**given, "studies": str(given.get("studies", "studies"))}))
    # Refused here already: before a plug-in is loaded, a model read or a teacher trained.
    _check_study(spec, _plugin_digest(spec))
    if spec.engine == "ray":
        check_installed()
    registry = discover(spec.plugin or None, only)
    if spec.task:
        registry.task(spec.task)
    space = read_space(spec.space, registry)
    traded = {"size_mb", "download_mb"} & set(spec.metrics)
    plan = Plan(spec, registry, space.unfilled() if traded else space, only)
    _check_study(spec, plan.digests)
    return _warm(plan) if spec.from_ else plan


def _warm(plan: Plan) -> Plan:
    """The plan with the recipes that `--from` names before those of the space. Raises `SpecError` and `StudyError`."""
    from eicompress.study.warm_start import Named, as_parameters, best_recipes, recipe_files

    spec, named = plan.spec, Path(plan.spec.from_)
    if named.exists() and not (named / "study.toml").is_file():
        files = recipe_files(named)
        recipes: list[Named] = [(f"`{path}`", tuple(read_recipe(path, plan.registry).to_json())) for path in files]
    else:
        studies, name = (named.parent, named.name) if named.exists() else (spec.studies, spec.from_)
        recipes = best_recipes(show(name, studies=studies))
    known, notes = as_parameters(plan.space, recipes)
    return replace(plan, space=replace(plan.space, known=(*known, *plan.space.known)), notes=tuple(notes))


def run(plan: Plan, on_event: "Callable[[Event], None]", on_progress: Callable[[Progress], None]) -> "Result":
    """Run or go on with a planned search."""
    from eicompress.study.coordinator import run_search
    from eicompress.study.events import Noticed
    from eicompress.study.search import Goal, Search
    from eicompress.study.store import opened

    spec = plan.spec
    workshop = _workshop(spec, plan.registry, on_progress, spec.folder)
    for note in filter(None, (*plan.notes, *workshop.notes, workshop.unlabelled.note())):
        on_event(Noticed(note))
    goal = Goal(
        objective_of(spec), spec.seed, spec.sampler, spec.trials, spec.timeout_s, spec.promotion_seeds, spec.stop_at
    )
    digests = {**workshop.digests, **plan.digests}
    directions = goal.objective.directions
    with (
        opened(spec.folder, spec.to_toml(), digests, directions, spec.storage) as ledger,
        _staffed(_with_kept_teacher(workshop, spec), plan) as (workshop, workers),
    ):
        on_event(_compared(workshop, spec))
        plan = _with_recorded_rungs(plan, workshop, ledger, on_event)
        if not ledger.records():
            _foresee(plan, workshop, on_event)
        try:
            result = run_search(Search(workshop, workers, plan.registry, ledger, plan.space, goal, on_event))
        except BaseException:
            # Where nothing fits, and after Ctrl-C, what was found until then can be looked at.
            on_event(Noticed(_reported(ledger, spec)))
            raise
        on_event(Noticed(_reported(ledger, spec)))
        return result


def _with_kept_teacher(workshop: "Workshop", spec: Spec) -> "Workshop":
    """Keep the teacher that was trained for a study in its folder: trained once more, it might be another."""
    from eicompress.trials.builder import write_folder

    kept, trained = spec.folder / TEACHER, workshop.head
    if trained is None or kept.exists():
        return workshop
    write_folder(kept, lambda folder: shutil.copytree(trained, folder, dirs_exist_ok=True))
    return replace(workshop, head=kept)


def _with_recorded_rungs(
    plan: Plan, workshop: "Workshop", ledger: "Ledger", on_event: "Callable[[Event], None]"
) -> Plan:
    """The plan with the rungs of its study, which are recorded, since all its trials must have them, and reported."""
    from eicompress.study.events import Noticed
    from eicompress.study.forecast import in_rungs
    from eicompress.study.halving import described

    space, steps = in_rungs(plan.space, ledger, workshop, plan.spec.seed)
    ledger.set_rungs(space.rungs, steps)
    on_event(Noticed(f"candidates are trained for {described(space.rungs, steps)}"))
    return replace(plan, space=space)


def _with_remembered_plugin(spec: Spec) -> Spec:
    """The spec with the plug-in file that its study was started with, where it names none. Raises `StudyError`."""
    if not (spec.folder / "study.toml").is_file():
        return spec
    known = str(read_study(spec.folder).get("plugin", ""))
    if known and spec.plugin in ("", known) and not Path(known).is_file():
        raise StudyError(
            f"the study in `{spec.folder}` must have the plug-in that it was started with, but `{known}` is gone: put "
            "it back, name its new place with `--plugin`, or give another `--study`"
        )
    return replace(spec, plugin=spec.plugin or known)


def _plugin_digest(spec: Spec) -> dict[str, str]:
    path = Path(spec.plugin)
    return {"plugin": sha256(path.read_bytes()).hexdigest()[:16]} if path.is_file() else {}


def _check_study(spec: Spec, digests: Mapping[str, str]) -> None:
    from eicompress.study.asked import check

    check(spec.folder, spec.to_toml(), digests)


def _foresee(plan: Plan, workshop: "Workshop", on_event: "Callable[[Event], None]") -> None:
    """Tell what the search will meet, in short."""
    from eicompress.study.events import Foreseen, Noticed
    from eicompress.study.forecast import forecast

    try:
        on_event(Foreseen(forecast(workshop, plan.space, objective_of(plan.spec), plan.spec.seed, draws=FEW_DRAWS)))
    except BudgetError:
        pass  # which the search finds too, and leaves a report
    except Exception as error:
        # A strategy that crashes is an outcome of the trials that use it.
        on_event(Noticed(f"nothing could be foreseen: {error}"))


@contextmanager
def _staffed(workshop: "Workshop", plan: Plan) -> "Iterator[tuple[Workshop, Workers]]":
    """The workers of a plan, and the workshop that takes a latency while they stand still."""
    from eicompress.trials.processes import Limits, Processes, Setup
    from eicompress.trials.ray_cluster import Cluster, Place
    from eicompress.trials.worker import InProcess, made_of

    spec = plan.spec
    if not spec.workers:
        yield workshop, InProcess(workshop, plan.registry)
        return
    seconds = LONGEST_TRIAL if spec.timeout_s is None else max(SHORTEST_LIMIT, spec.timeout_s / 2)
    limits = Limits(
        seconds if spec.trial_timeout_s is None else spec.trial_timeout_s,
        round((spec.trial_memory_mb or 0) * MEGABYTE),
    )
    setup = Setup(inputs_of(spec, spec.folder), spec.plugin or None, plan.only_plugins, made_of(workshop))
    team: Processes | Cluster = Processes(setup, limits.shared(spec.workers), spec.workers)
    if spec.engine == "ray":
        place = Place(spec.ray_address, spec.worker_cpus, spec.worker_gpus)
        # What was trained here is not trained again, and perhaps otherwise, on another machine.
        setup = replace(setup, inputs={**setup.inputs, "head": str(workshop.head or "")})
        team = Cluster(setup, limits, spec.workers, place)
    with team as workers:
        yield replace(workshop, quiet=workers.paused), workers


def _reported(ledger: "Ledger", spec: Spec) -> str:
    """Write report and cards, and say so: a search of hours does not end in a traceback for the sake of its report."""
    try:
        _carded(ledger, spec)
        return f"what was tried is drawn in {_written(ledger, spec)}"
    except Exception as error:
        return f"the report could not be written: {error}"


def _carded(ledger: "Ledger", spec: Spec) -> None:
    """Write the model card of each artifact that is handed out beside it."""
    from eicompress.reporting.model_card import write_card

    simple = [each for each in ledger.simple().values() if each.value("quality_test") is not None]
    rebuilds = itertools.chain.from_iterable(ledger.rebuilds().values())
    for record in (*simple, *rebuilds, *ledger.kept().values()):
        artifact = Artifact(Path(record.files.get("artifact", "")))
        if (artifact.folder / "config.json").is_file():
            write_card(artifact, record, ledger.baseline(), spec.to_toml())


def show(study: str, *, studies: str | Path = "studies") -> "Result":
    """What a study has found so far. Raises `SpecError` and `StudyError`."""
    from eicompress.study.result import result_of
    from eicompress.study.store import read_ledger

    spec = _spec_of(study, studies)
    return result_of(read_ledger(spec.folder), objective_of(spec))


def report(
    study: str,
    *,
    output: str | Path | None = None,
    png: str | Path | None = None,
    studies: str | Path = "studies",
) -> Path:
    """Write what a study has found as one HTML file, `report.html` in its folder by default; the file's path.

    `png` is a folder for its figures one by one, which takes Chromium or Chrome. It loads no model and changes nothing
    else, so it may be written while the search runs. Raises `SpecError` and `StudyError`.
    """
    from eicompress.reporting.figures import drawn
    from eicompress.reporting.png import write_pictures
    from eicompress.study.store import read_ledger

    spec = _spec_of(study, studies)
    ledger = read_ledger(spec.folder)
    path = _written(ledger, spec, Path(output) if output is not None else None)
    if png is not None:
        write_pictures(drawn(_numbers(ledger, spec)), Path(png))
    return path


def dashboard(study: str, *, port: int = 8080, studies: str | Path = "studies") -> "WSGIServer":
    """A server of the study's dashboard on this machine, to `serve_forever`; it follows a search that runs.

    It reads the study and writes nothing. Raises `SpecError` and `StudyError`.
    """
    from eicompress.reporting.dashboard import Mirror, serving
    from eicompress.study.store import read_ledger

    spec = _spec_of(study, studies)
    ledger = read_ledger(spec.folder)

    def read() -> "tuple[Numbers, list[FrozenTrial]]":
        return _numbers(ledger, spec), ledger.study.get_trials(deepcopy=False)

    return serving(Mirror(read, ledger.version), port)


def _written(ledger: "Ledger", spec: Spec, output: Path | None = None) -> Path:
    from eicompress.reporting.page import page
    from eicompress.study.result import REPORT

    path = output or ledger.folder / REPORT
    _write_page(path, page(_numbers(ledger, spec)))
    return path


def _numbers(ledger: "Ledger", spec: Spec) -> "Numbers":
    from eicompress.reporting.data import numbers
    from eicompress.study.importance import importance
    from eicompress.study.result import result_of

    return numbers(result_of(ledger, objective_of(spec)), importance(ledger.study), spec.to_toml())


def compress(
    *,
    model: str,
    data: str,
    recipe: "str | Path | Recipe",
    output: str | Path,
    fidelity: float = 1.0,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    seed: int | None = None,
    seq_len: int | None = None,
    threads: int | None = None,
    teacher_training: str | None = None,
    teacher_timeout: str | None = None,
    teacher: Sequence[str] | None = None,
    ensemble: str | None = None,
    unlabelled: Sequence[str] | None = None,
    start: str | None = None,
    plugin: str | None = None,
    only_plugins: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Record:
    """Build one recipe, without a search, and write the artifact to `output`.

    Quality is measured on the validation split; `measure` reads another one. Raises `SpecError`, `DataError`,
    `ModelError`, `Inapplicable` and `ExportError`.
    """
    from eicompress.export.folder import check_free
    from eicompress.plugins import discover
    from eicompress.reporting.model_card import write_card

    check_free(Path(output))
    words = ("model", "data", "task", "text", "text_pair", "label", "seed", "seq_len", "threads", "teacher", "ensemble")
    values = locals()
    written = {name: values[name] for name in (*words, "teacher_training", "teacher_timeout", "unlabelled", "start")}
    spec = read(written)
    registry = discover(plugin, only_plugins)
    steps = recipe if not isinstance(recipe, str | Path) else read_recipe(Path(recipe), registry)
    workshop = _workshop(spec, registry, on_progress or _nothing, _scratch())
    record = workshop.build(steps, fidelity=fidelity, seed=spec.seed, progress=on_progress or _nothing)
    placed = _placed(workshop.timed(record), Path(output))
    write_card(Artifact(Path(output)), placed, None, spec.to_toml())
    return placed


def prepare(
    *,
    model: str,
    data: str,
    recipe: "str | Path | Recipe",
    output: str | Path,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    seed: int | None = None,
    teacher_training: str | None = None,
    teacher_timeout: str | None = None,
    teacher: Sequence[str] | None = None,
    ensemble: str | None = None,
    unlabelled: Sequence[str] | None = None,
    start: str | None = None,
    plugin: str | None = None,
    only_plugins: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train what a recipe makes, at full length, and write it to a new folder as a starting point (`start`) for studies
    of the same model, or of one of the same shape that was fine-tuned on another task. Raises as `compress` does.
    """
    from eicompress.plugins import discover

    if Path(output).exists():
        raise SpecError(f"`--output` must be a new folder, but `{output}` exists: choose another name, or remove it")
    words = ("model", "data", "task", "text", "text_pair", "label", "seed", "teacher_training", "teacher", "ensemble")
    values = locals()
    spec = read({name: values[name] for name in (*words, "teacher_timeout", "unlabelled", "start")})
    registry = discover(plugin, only_plugins)
    steps = recipe if not isinstance(recipe, str | Path) else read_recipe(Path(recipe), registry)
    workshop = _workshop(spec, registry, on_progress or _nothing, _scratch())
    workshop.prepare(steps, Path(output), progress=on_progress or _nothing)
    return Path(output)


def teach(
    *,
    model: str,
    data: str,
    output: str | Path,
    timeout: str | None = None,
    members: int = 1,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    seed: int | None = None,
    plugin: str | None = None,
    only_plugins: str | None = None,
    on_attempt: "Callable[[Attempt], None] | None" = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> "Lesson":
    """Train the best teacher that the model and the training rows allow within the time, and write it to a new folder,
    which every command takes as `model` or `teacher`. With several `members`, students learn from all of them.

    Everything is chosen on held-out training rows; the validation split is read once, at the end. Raises `SpecError`,
    `DataError` and `ModelError`.
    """
    from eicompress.plugins import discover
    from eicompress.trials.builder import train_teacher

    if Path(output).exists():
        raise SpecError(f"`--output` must be a new folder, but `{output}` exists: choose another name, or remove it")
    words = ("model", "data", "task", "text", "text_pair", "label", "seed")
    values = locals()
    spec = read({**{name: values[name] for name in words}, "teacher_timeout": timeout})
    return train_teacher(
        spec.model,
        spec.data,
        Path(output),
        registry=discover(plugin, only_plugins),
        task=spec.task,
        columns=spec.columns,
        seed=spec.seed,
        limit_s=spec.teacher_timeout_s,
        members=whole("--members", members, 1),
        progress=on_progress or _nothing,
        on_attempt=on_attempt or _nothing,
    )


def replay(
    study: str,
    trial: int,
    *,
    output: str | Path,
    studies: str | Path = "studies",
    plugin: str | None = None,
    only_plugins: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Replay:
    """Build a study's trial again, its rebuild at full length where there is one, and compare the bytes."""
    from eicompress.export.folder import check_free
    from eicompress.plugins import discover

    check_free(Path(output))
    spec = _spec_of(study, studies)
    result = show(study, studies=studies)
    before = result.promoted.get(trial) or _trained(result, trial)
    registry = discover(plugin or spec.plugin or None, only_plugins)
    workshop = _workshop(spec, registry, on_progress or _nothing, _scratch())
    record = workshop.build(
        registry.recipe(before.recipe),
        fidelity=before.fidelity,
        seed=before.seed,
        progress=on_progress or _nothing,
    )
    record = _placed(workshop.timed(record), Path(output))
    return Replay(record, _differences(before, record))


def _trained(result: "Result", trial: int) -> Record:
    record = result.records.get(trial)
    if record is None or not record.trained:
        what = "was never trained" if record else "does not exist"
        raise StudyError(f"a trial that is built again must have been trained, but trial {trial} {what}")
    return record


def ablate(
    study: str | None = None,
    trial: int | None = None,
    *,
    recipe: "str | Path | Recipe | None" = None,
    model: str | None = None,
    data: str | None = None,
    seeds: int = 3,
    fidelity: float | None = None,
    knobs: Sequence[str] = (),
    output: str | Path | None = None,
    studies: str | Path = "studies",
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    seed: int | None = None,
    teacher_training: str | None = None,
    teacher_timeout: str | None = None,
    teacher: Sequence[str] | None = None,
    ensemble: str | None = None,
    unlabelled: Sequence[str] | None = None,
    start: str | None = None,
    plugin: str | None = None,
    only_plugins: str | None = None,
    on_built: "Callable[[Built], None] | None" = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> "Ablation":
    """What each step of a trial, or of a recipe for `model` and `data`, is worth, and each of `knobs`.

    The recipe is built again without each step, and with each knob (`strategy.knob`, or `strategy.knob=value`) set
    back, with `seeds` seeds. `fidelity` is the trial's own, or full length. The table is written to `output` with the
    endings `.md` and `.json`: by default into the study's folder, or `ablation` here. Raises as `compress` does.
    """
    from eicompress.plugins import discover
    from eicompress.study.ablation import ablate, save, variants

    written = locals()
    if (recipe is None) == (study is None or trial is None):
        raise SpecError("an ablation must be given either a study and a trial, or a recipe with a model and data")
    if study is not None and trial is not None:
        spec = _spec_of(study, studies)
        before = _trained(show(study, studies=studies), trial)
        registry = discover(plugin or spec.plugin or None, only_plugins)
        steps, fidelity = registry.recipe(before.recipe), fidelity or before.fidelity
        file = Path(output) if output else spec.folder / f"ablation-{trial:04d}"
    else:
        assert recipe is not None
        words = ("model", "data", "task", "text", "text_pair", "label", "seed", "teacher_training", "teacher")
        spec = read({name: written[name] for name in (*words, "teacher_timeout", "ensemble", "unlabelled", "start")})
        registry = discover(plugin, only_plugins)
        steps = recipe if not isinstance(recipe, str | Path) else read_recipe(Path(recipe), registry)
        file = Path(output or "ablation")
    made = variants(steps, knobs)
    workshop = _workshop(spec, registry, on_progress or _nothing, _scratch())
    found = ablate(
        workshop,
        steps,
        made,
        fidelity=1.0 if fidelity is None else fidelity,
        seeds=range(spec.seed, spec.seed + seeds),
        progress=on_progress or _nothing,
        built=on_built or _nothing,
    )
    save(found, file)
    return found


def load(artifact: str | Path, *, threads: int = 1) -> "Model":
    """An artifact, ready to predict; no torch is imported. Raises `ModelError`."""
    from eicompress import runtime

    return runtime.load(artifact, threads=threads)


def pack(artifact: str | Path, *, to: str = "zip", output: str | Path | None = None) -> Path:
    """Write an artifact as it is handed on, and return where: `zip`, one file for a device, or `hf`, a folder for the
    model hub with its model card. By default it lies beside the artifact, as `<artifact>.zip` or `<artifact>-hf`.

    The files are checked against the manifest first. Raises `ModelError`, `SpecError` and `ExportError`.
    """
    from eicompress import runtime
    from eicompress.export.package import to_hub, to_zip
    from eicompress.reporting.model_card import card_of

    choice("--to", to, PACKAGES)
    source = Artifact(Path(os.path.abspath(artifact)))
    runtime.load(source.folder)
    if to == "zip":
        return to_zip(source, Path(output or f"{source.folder}.zip"))
    return to_hub(source, card_of(source), Path(output or f"{source.folder}-hf"))


def measure(
    artifact: str | Path,
    *,
    data: str | None = None,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    threads: int = 1,
    seq_len: int | None = None,
    plugin: str | None = None,
    only_plugins: str | None = None,
) -> "tuple[Measurement, ...]":
    """Size and latency of an artifact, and its quality on data: on the test split, or on all rows of one file.

    Latency is taken at `seq_len` tokens, or at 16, 64 and 128. Raises `ModelError`, `DataError` and `MeasureError`.
    """
    from eicompress.metrics.bench import Bench, download, quality, size
    from eicompress.metrics.latency import CAREFUL_SECONDS
    from eicompress.plugins import discover

    folder = Artifact(Path(artifact))
    bench = Bench((), threads)
    model = bench.load(folder)
    found = [*size(folder), *download(folder)]
    for length in (seq_len,) if seq_len else LENGTHS:
        found += bench.latency(model, seconds=CAREFUL_SECONDS, seq_len=length).measurements()
    if data is not None:
        given = {"task": task, "text": text, "text_pair": text_pair, "label": label}
        spec = read({"model": str(artifact), "data": data, **given})
        if model.pairs and not spec.text_pair:
            spec = replace(spec, text_pair="text_pair")
        split, reader, examples = _examples(spec, model.labels, discover(plugin, only_plugins))
        found += quality(model, reader, {split: examples})[0]
    return tuple(found)


def compare(
    artifacts: Sequence[str | Path],
    *,
    data: str,
    output: str | Path | None = None,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    threads: int = 1,
    seq_len: int | None = None,
    plugin: str | None = None,
    only_plugins: str | None = None,
) -> "Comparison":
    """Two artifacts or more on the same data: bytes, milliseconds, and quality against that of the first one.

    Latency is taken at `seq_len` tokens, or at the first one's 95th percentile. `output` is a page to write. Raises
    `SpecError`, `ModelError` and `DataError`.
    """
    from eicompress.metrics.bench import Bench
    from eicompress.metrics.latency import CAREFUL_SECONDS, usual_length
    from eicompress.plugins import discover
    from eicompress.reporting.comparison import Comparison, Measured, against, comparison_page

    if len(artifacts) < 2:
        raise SpecError(f"`compare` must be given two artifacts or more, but got {len(artifacts)}")
    registry, bench, found, length = discover(plugin, only_plugins), Bench((), threads), [], seq_len
    given = {"task": task, "text": text, "text_pair": text_pair, "label": label}
    for each, name in zip(artifacts, _told_apart(artifacts), strict=True):
        model = bench.load(Artifact(Path(each)))
        spec = read({"model": str(each), "data": data, **given})
        if model.pairs and not spec.text_pair:
            spec = replace(spec, text_pair="text_pair")
        split, reader, examples = _examples(spec, model.labels, registry)
        length = length or usual_length(model.tokenizer, examples.texts)
        latency = bench.latency(model, seconds=CAREFUL_SECONDS, seq_len=length)
        correct = reader.correct(model.logits(examples.texts), examples.targets)
        found.append(Measured(name, Artifact(Path(each)).size_mb, latency.p50_ms, correct))
    first, *others = found
    compared = tuple(against(first, other) for other in others)
    comparison = Comparison(data, split, reader.quality, length or 0, first, compared)
    if output is not None:
        _write_page(Path(output), comparison_page(comparison))
    return comparison


def _told_apart(artifacts: Sequence[str | Path]) -> list[str]:
    """As many last parts of each path as it takes to tell them apart."""
    parts = [Path(os.path.abspath(each)).parts for each in artifacts]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len({*names}) == len({*parts}):
            break
    return names


def _write_page(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"`{path}` must be a place to write to, but: {error.strerror}") from error


def _examples(spec: Spec, labels: tuple[str, ...], registry: "Registry") -> "tuple[str, Task, Examples]":
    """The rows to measure on, under the artifact's own labels: the last split that the data has."""
    from eicompress.data.datasets import read_tables

    task = registry.task(spec.task_name)
    tables = read_tables(spec.data)
    split = next(name for name in ("test", "validation", "train") if name in tables)
    rows, column = tables[split].rows, spec.columns["label"]
    for at, row in enumerate(rows, start=1):
        for name in spec.columns.values():
            if row.get(name) is None:
                raise DataError(
                    f"every row of `{tables[split].origin}` must have `{name}`, but row {at} has not: "
                    f"{nearest(name, row)}"
                )
        if str(row[column]) not in labels:
            raise DataError(
                f"every label must be one of the artifact's, but row {at} of `{tables[split].origin}` has "
                f"`{row[column]}`: {nearest(str(row[column]), labels)}"
            )
    # A task numbers the labels of its training rows: here, one row for each label that the artifact knows.
    known = [{**rows[0], column: label} for label in labels]
    made, examples = task.read({"train": known, "measured": rows}, spec.columns)
    if made.labels != labels:
        raise DataError(f"the artifact must number its labels as `{spec.task_name}` does, but does not")
    return split, made, examples["measured"]


def read_recipe(path: Path, registry: "Registry") -> "Recipe":
    """The recipe in a TOML file of `[[steps]]`, or in a JSON file. Raises `SpecError`."""
    if path.suffix == ".json":
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SpecError(f"`{path}` must be a JSON file, but cannot be read: {error}") from error
        steps = value.get("steps", value.get("recipe")) if isinstance(value, dict) else value
    else:
        steps = read_toml(path).get("steps")
    if not isinstance(steps, list) or not steps:
        raise SpecError(f"`{path}` must have `[[steps]]`, each with a `strategy`, but has none")
    try:
        return registry.recipe(steps)
    except SpecError as error:
        raise SpecError(f"in `{path}`: {error}") from error


def objective_of(spec: Spec) -> "Objective":
    """What a spec's search is for."""
    from eicompress.study.objective import Objective

    return Objective(spec.objective.partition(":")[0], spec.budgets, spec.min_quality, spec.metrics)


def _scratch() -> Path:
    """Where artifacts are made that the user wants elsewhere."""
    from eicompress.cache import default_folder

    return default_folder() / "single"


def _workshop(spec: Spec, registry: "Registry", on_progress: Callable[[Progress], None], folder: Path) -> "Workshop":
    from eicompress.trials.builder import open_workshop

    return open_workshop(**inputs_of(spec, folder), registry=registry, progress=on_progress)


def inputs_of(spec: Spec, folder: Path) -> dict[str, Any]:
    """What a workshop is made of, as plain data."""
    measured = ("model", "data", "task", "columns", "seed", "threads", "seq_len")
    learned = ("teacher_training", "teacher_timeout_s", "ensemble", "unlabelled", "start")
    named = {word: getattr(spec, word) for word in (*measured, *learned)}
    named["memory"] = spec.memory_mb is not None or "memory_mb" in spec.metrics
    kept = folder / TEACHER
    return {**named, "teachers": spec.teacher, "folder": folder, "head": str(kept) if kept.is_dir() else ""}


def _spec_of(study: str, studies: str | Path) -> Spec:
    return read(read_study(_folder(study, studies)))


def _folder(study: str, studies: str | Path) -> Path:
    return Path(studies) / study_name(study)


def _placed(record: Record, output: Path) -> Record:
    """Copy the record's artifact, with its manifest, to where the user wants it."""
    from eicompress.export.folder import copy

    artifact = copy(Artifact(Path(record.files["artifact"])), output)
    return replace(record, files={**record.files, "artifact": str(artifact.folder)})


def _differences(before: Record, after: Record) -> tuple[str, ...]:
    """Which files differ from the first time, and what else was different."""
    sums = [_checksums(record) for record in (before, after)]
    if not sums[0]:
        return ("the first artifact is no longer there to compare with",)
    files = [name for name in sorted({*sums[0], *sums[1]}) if sums[0].get(name) != sums[1].get(name)]
    if not files:
        return ()
    changed = [
        f"{name} was {before.versions.get(name, '-')}, and is {after.versions.get(name, '-')}"
        for name in sorted({*before.versions, *after.versions})
        if before.versions.get(name) != after.versions.get(name)
    ]
    return (*(f"`{name}` has other bytes" for name in files), *changed)


def _checksums(record: Record) -> dict[str, str]:
    manifest = Artifact(Path(record.files.get("artifact", ""))).manifest
    return dict(json.loads(manifest.read_text(encoding="utf-8"))["files"]) if manifest.is_file() else {}


def _nothing(_: object) -> None:
    pass
