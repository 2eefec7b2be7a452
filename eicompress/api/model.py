"""What trains outside a search: teach, compress, replay, prepare and ablate."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from eicompress.api.opening import builder_of, check_left_out, check_new, known, nothing, recipe_of, registry_of
from eicompress.declaration import checked, declared
from eicompress.errors import SpecError, StudyError
from eicompress.metrics.quality import QUALITY
from eicompress.settings import (
    LENGTH,
    REPEATS,
    TIME,
    TRIAL,
    AblateSettings,
    AblationSettings,
    CompressSettings,
    PickSettings,
    PrepareSettings,
    ReplaySettings,
    SearchSettings,
    TeachSettings,
)
from eicompress.spec import budgets_of, read
from eicompress.values import Artifact, Progress, Record

if TYPE_CHECKING:
    from eicompress.plugins import Registry
    from eicompress.recipe import Recipe
    from eicompress.study.ablation import Ablation, Built
    from eicompress.study.result import Result
    from eicompress.trials.builder import Builder
    from eicompress.trials.replay import Replay
    from eicompress.trials.taught import Attempt
    from eicompress.trials.teach import Lesson


def compress(
    *,
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    recipe: "str | Path | Recipe",
    output: str | Path,
    fidelity: float = 1.0,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[CompressSettings],
) -> Record:
    """Build one recipe, without a search, and write the artifact to `output`.

    Quality is measured on the validation split; `measure` reads another one. A recipe whose only training is a shared
    one is trained whole at any `fidelity`. Raises `SpecError`, `DataError`, `ModelError`, `Inapplicable` and
    `ExportError`.
    """
    from eicompress.measures import quantities
    from eicompress.reporting.model_card import card

    fidelity = LENGTH(fidelity, "fidelity")
    check_new(output)
    spec = read({"model": model, "data": data, **checked(CompressSettings, settings)})
    registry = registry_of(spec)
    steps = recipe_of(recipe, registry)
    builder = builder_of(spec, registry, on_progress)
    if steps.only_shared:
        fidelity = 1.0  # a shared training knows no other
    record = builder.build(steps, fidelity=fidelity, seed=spec.seed, progress=on_progress or nothing)
    timed = builder.timed(record)
    made, metrics = Artifact(Path(timed.files["artifact"])), quantities(registry.metrics)
    return _placed(timed, Path(output), card(made, timed, None, spec.to_toml(), metrics, Path(output).name))


def prepare(
    *,
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    recipe: "str | Path | Recipe",
    output: str | Path,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[PrepareSettings],
) -> Path:
    """Train what a recipe makes, at full length, and write it to a new folder as a starting point (`start`) for studies
    of the same model, or of one of the same shape that was fine-tuned on another task. Raises as `compress` does.
    """
    from eicompress.trials.starting_point import write_starting_point

    check_new(output)
    spec = read({"model": model, "data": data, **checked(PrepareSettings, settings)})
    registry = registry_of(spec)
    steps = recipe_of(recipe, registry)
    builder = builder_of(spec, registry, on_progress)
    write_starting_point(builder, steps, Path(output), progress=on_progress or nothing)
    return Path(output)


def teach(
    *,
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    timeout: str | None = None,
    members: int = 1,
    on_attempt: "Callable[[Attempt], None] | None" = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[TeachSettings],
) -> "Lesson":
    """Train the best teacher that the model and the training rows allow within the time, and write it to a new folder,
    which every command takes as `model` or `teacher`. With several `members`, students learn from all of them.

    Everything is chosen on held-out training rows; the validation split is read once, at the end. Raises `SpecError`,
    `DataError` and `ModelError`.
    """
    from eicompress.trials.teach import train_teacher

    check_new(output)
    asked = {"model": model, "data": data, "teacher_timeout": None if timeout is None else TIME(timeout, "--timeout")}
    spec = read({**asked, **checked(TeachSettings, settings)})
    return train_teacher(
        spec,
        registry_of(spec),
        Path(output),
        members=REPEATS(members, "--members"),
        progress=on_progress or nothing,
        on_attempt=on_attempt or nothing,
    )


def replay(
    study: str,
    trial: int,
    *,
    output: str | Path,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[ReplaySettings],
) -> "Replay":
    """Build a study's trial again, its rebuild at full length where there is one, and compare the bytes.

    Raises as `compress` does, and `StudyError`.
    """
    from eicompress.study.plan import found_so_far
    from eicompress.trials.replay import Replay, differences

    trial = TRIAL(trial, "--trial")
    check_new(output)
    spec = known(study, checked(ReplaySettings, settings), builds=True)
    result = found_so_far(spec)
    before = result.promoted.get(trial) or _trained(result, trial)
    registry = registry_of(spec)
    builder = builder_of(spec, registry, on_progress, of_study=True)
    record = _built_again(builder, registry, before, Path(output), on_progress or nothing)
    return Replay(record, differences(before, record))


def pick(
    study: str,
    *,
    output: str | Path,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[PickSettings],
) -> tuple[int, Record]:
    """Build the best sub-network of a study within other limits; the number of its trial, and its record.

    Only what the study has measured is chosen from, by its quality on validation. Nothing is trained while the cache
    has the study's super-network; `finish` trains the sub-network by itself, as the study's search space says. Raises
    as `replay` does, and `BudgetError` where no sub-network is within the limits.
    """
    from eicompress.study.pick import check_finish, finished, picked
    from eicompress.study.plan import check_limits, found_so_far
    from eicompress.study.space_file import read_space

    check_new(output)
    asked = checked(PickSettings, settings)
    budgets = budgets_of(asked)
    if not budgets:
        raise SpecError("`pick` must have a limit, but got none: add `--budget 700KB`, `--latency 1ms` or both")
    spec = known(study, asked, builds=True)
    registry = registry_of(spec)
    check_limits(budgets, registry)
    finish = read_space(spec.settings["space"], registry) if asked.get("finish") else None
    if finish is not None:
        check_finish(finish)
    candidates = picked(found_so_far(spec), budgets, registry)
    builder, progress = builder_of(spec, registry, on_progress, of_study=True), on_progress or nothing
    if len(candidates) > 1:
        candidates.sort(key=lambda each: -_quality_of(builder, registry, each[1], progress))
    number, before = candidates[0]
    if finish is not None:
        before = finished(before, finish)
    return number, _built_again(builder, registry, before, Path(output), progress)


def ablate(
    study: str | None = None,
    trial: int | None = None,
    *,
    recipe: "str | Path | Recipe | None" = None,
    output: str | Path | None = None,
    on_built: "Callable[[Built], None] | None" = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[AblateSettings],
) -> "Ablation":
    """What each step of a trial, or of a recipe for `model` and `data`, is worth, and each `knob`.

    The recipe is built again without each step, and with each knob (`strategy.knob`, or `strategy.knob=value`) set
    back, with `seeds` seeds. `fidelity` is the trial's own, or full length. The folder `output` gets `table.md` and
    `table.json`: by default one in the study's folder, or `ablation` here. Raises as `compress` does.
    """
    from eicompress.study.ablation import ablate, save, variants
    from eicompress.study.plan import found_so_far

    asked = checked(AblateSettings, settings)
    fidelity, trial = asked.get("fidelity"), None if trial is None else TRIAL(trial, "TRIAL")
    if (recipe is None) == (study is None or trial is None):
        raise SpecError("an ablation must be given either a study and a trial, or a recipe with a model and data")
    if recipe is None:
        check_left_out(settings, "a study", but={*declared(AblationSettings), *declared(ReplaySettings)})
    output = "ablation" if output is None and recipe is not None else output
    if output is not None:
        check_new(output)
    if study is not None and trial is not None:
        spec = known(study, asked, builds=True)
        before = _trained(found_so_far(spec), trial)
        registry = registry_of(spec)
        steps, fidelity = registry.recipe(before.recipe), fidelity or before.fidelity
        output = output or spec.folder / f"ablation-{trial:04d}"
    else:
        assert recipe is not None
        spec = read({name: value for name, value in asked.items() if name in declared(SearchSettings)})
        registry = registry_of(spec)
        steps = recipe_of(recipe, registry)
    made = variants(steps, asked.get("knob", ()))
    found = ablate(
        builder_of(spec, registry, on_progress, of_study=study is not None),
        steps,
        made,
        fidelity=1.0 if fidelity is None else fidelity,
        seeds=range(spec.seed, spec.seed + asked["seeds"]),
        progress=on_progress or nothing,
        built=on_built or nothing,
    )
    assert output is not None
    save(found, Path(output))
    return found


def _built_again(
    builder: "Builder", registry: "Registry", before: Record, output: Path, progress: Callable[[Progress], None]
) -> Record:
    """The record of the same recipe, length and seed, its artifact in `output`."""
    fidelity = 1.0 if before.only_shared else before.fidelity
    record = builder.build(registry.recipe(before.recipe), fidelity=fidelity, seed=before.seed, progress=progress)
    return _placed(builder.timed(record), output)


def _quality_of(
    builder: "Builder", registry: "Registry", record: Record, progress: Callable[[Progress], None]
) -> float:
    """Of a candidate on all validation texts: of a part of a shared training that was scored on some, built again."""
    if record.outcome == "complete":
        return record.value(QUALITY) or 0.0
    recipe = registry.recipe(record.recipe)
    return builder.scored(recipe, fidelity=1.0, seed=record.seed, progress=progress).value(QUALITY) or 0.0


def _trained(result: "Result", trial: int) -> Record:
    record = result.records.get(trial)
    if record is None or not record.trained:
        what = "was never trained" if record else "does not exist"
        raise StudyError(f"a trial that is built again must have been trained, but trial {trial} {what}")
    return record


def _placed(record: Record, output: Path, card: str | None = None) -> Record:
    """Copy the record's artifact, with its manifest and a card, to where the user wants it."""
    from eicompress.export.folder import copy

    artifact = copy(Artifact(Path(record.files["artifact"])), output, card)
    return replace(record, files={**record.files, "artifact": str(artifact.folder)})
