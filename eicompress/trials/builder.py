"""Builds measured artifacts from recipes, for one baseline, data set and seed."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from eicompress.answers import MultiTask
from eicompress.cache import Cache, default_folder
from eicompress.data.corpus import UnlabelledText, withheld
from eicompress.deployment import Device
from eicompress.encoder.device import own_device
from eicompress.errors import EicompressError, SpecError, listed
from eicompress.export import folder as artifacts
from eicompress.measures import Conditions
from eicompress.metrics.quality import QUALITY_TEST
from eicompress.metrics.size import SIZE
from eicompress.metrics.this_machine import ThisMachine
from eicompress.parsing import NAMED
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.spec import Spec
from eicompress.training.task_teachers import TaskTeachers
from eicompress.training.teacher import Ensemble, StoredTeacher
from eicompress.training.trainer import fit_nothing
from eicompress.trials import measuring
from eicompress.trials.adjusting import adjusted
from eicompress.trials.baseline import Baseline
from eicompress.trials.inputs import (
    Model,
    before_teaching,
    check_ensemble,
    how_taught,
    in_time_for_a_teacher,
    model_folder,
    opened_teacher_search,
    read_model,
    read_start,
    who_teaches,
    why_taught,
    with_teacher,
)
from eicompress.trials.kept import Measured, code_of, kept_examples
from eicompress.trials.materials import Materials
from eicompress.trials.measuring import Bench, Clock, TimedTeacher, record_of, written
from eicompress.trials.previews import PREVIEWS, Previews
from eicompress.trials.shared_training import SharedTraining, build
from eicompress.trials.simple import STATIC, TFIDF, measure_simplest, measure_static, measure_tfidf
from eicompress.trials.task_data import TaskData, read_data
from eicompress.trials.task_teaching import teachers_of_tasks
from eicompress.trials.training_time import TimeEstimate, count_steps, estimate_time
from eicompress.values import SHARED, Artifact, Json, Progress, Record, digest_of

BUILDS = "builds"
"""The folder of a search's own artifacts, by key; results lie elsewhere."""
BASELINE_SHARE = 0.1
"""Of the time of a search, what the baseline's quality may take."""


@dataclass(frozen=True)
class Builder(Materials):
    """Builds recipes of its materials and measures them, under one set of conditions."""

    folder: Path
    """Artifacts and predictions are written under it."""
    threads: int = 1
    seq_len: int | None = None
    device: Device = field(default_factory=ThisMachine)
    """Where latency is taken."""
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext
    """What is entered while a metric is measured that must be alone, so that nothing else of ours runs."""
    previews: Previews | None = None
    """The process that applies what is not trained; None for this one."""
    head: Path | None = None
    """The folder of the baseline, where its head was trained first."""
    baseline_s: float = math.inf
    """Seconds that the baseline's quality may take; where it would take longer, some validation texts count."""
    wanted: tuple[str, ...] = ()
    """The metrics that a limit or the objective names."""
    notes: tuple[str, ...] = ()
    """Notes for the user on how data and model were prepared."""

    def baseline(self) -> Record:
        """The baseline's own size, latency and quality, measured like a candidate's, with what a report needs: a file
        of the validation split's texts and targets."""
        record = self._baseline.record()
        examples = kept_examples(self.folder, self.task, self.examples["validation"])
        return replace(record, files={**record.files, "validation_examples": examples})

    def simple(self, size_mb: float | None) -> dict[str, Record]:
        """The records of simple baselines on validation, by name; none where targets have a form of their own.

        tf-idf and static embeddings are artifacts of at most `size_mb` megabytes, measured like a candidate's. Where
        words are answered there are none; of several tasks of which some do, they answer the others.
        """
        answer, key, remembered = self.task.answer, ["simple", self.inputs, self.seed], self._measured.remembered
        if not answer.holds(self.examples["train"].targets):
            return {}
        simplest = {answer.simplest: remembered([*key, answer.simplest], lambda: measure_simplest(self))}
        if answer.reads == "words":  # no linear model of whole texts answers so
            return simplest
        static = {STATIC: remembered([*key, STATIC, size_mb], lambda: measure_static(self, size_mb, self._bench))}
        if answer.unit:  # words that are not weighted by a label are what the simplest counts
            return simplest | static
        tfidf = {TFIDF: remembered([*key, TFIDF, size_mb], lambda: measure_tfidf(self, size_mb, self._bench))}
        return simplest | static | tfidf

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        """The recipe's artifact, built and measured without training: every metric that previews know, or the size
        alone; with care, as of what is kept. Raises `Inapplicable`."""
        key = ["preview", self.made_from(recipe, 0.0, self.seed), size_only, *(["careful"] if careful else [])]
        return self._measured.remembered(key, lambda: self._measure_preview(recipe, size_only, careful))

    def exported(self, recipe: Recipe, *, size_only: bool, careful: bool) -> Record:
        """The recipe's artifact without training, `files["artifact"]`, with what of a preview may be measured while
        anything else runs. Raises `Inapplicable`."""
        clock, context = Clock(), self.context(fit_nothing)
        with clock.phase("preview"):
            made = self._shared.previewed(recipe, context)
            artifact = written(self, recipe, made, context, self.folder / PREVIEWS / recipe.digest)
        with clock.phase("measuring"):
            if size_only:
                taken = measuring.weighed(self, artifact, self._bench_alone)
            else:
                taken = measuring.previewed(self, artifact, self._bench, careful)
        record = record_of(self, recipe, made, clock).with_measured(taken.measurements, taken.unmeasured)
        files = {"artifact": str(artifact.folder)}
        return replace(record, bytes_by_group=artifacts.bytes_by_group(artifact), files=files)

    def estimate_time(self, recipe: Recipe) -> TimeEstimate:
        """Estimated seconds of the recipe's training at full length. Raises `Inapplicable`."""
        if self.previews is not None:
            return self.previews.estimate_time(recipe)
        return estimate_time(recipe, self.begin(), self.estimate_context())

    def count_steps(self, recipe: Recipe) -> int:
        """Steps of the recipe's trainings at full length; nothing is trained. Raises `Inapplicable`."""
        if self.previews is not None:
            return self.previews.count_steps(recipe)
        return count_steps(recipe, self.begin(), self.estimate_context())

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        """Train, export, check and score, on any machine: nothing is measured that must be alone.

        The artifact's folder is `record.files["artifact"]`. Where all training is shared, `fidelity` is the share of
        the validation texts to score on; below 1 the artifact is not kept.
        """
        clock = Clock()
        key = self.key(recipe, fidelity=fidelity, seed=seed)
        context = self.training_context(
            recipe, fidelity=fidelity, seed=seed, progress=progress, clocked=partial(clock.phase, "training")
        )
        context = replace(context, teacher=TimedTeacher(context.teacher, clock))
        done = len(recipe.shared.steps)
        begin = self._shared.trained(recipe, seed, progress, clock) if done else self.start
        with clock.phase("applying"):
            made = build(recipe, context, self, fidelity, begin, done)
        share = fidelity if recipe.only_shared else 1.0
        with clock.phase("measuring"):
            made = adjusted(made, self.task, self.validation(share))
        progress(Progress("export"))
        with clock.phase("export"):
            artifact = written(self, recipe, made, context, self.folder / BUILDS / key)
        progress(Progress("measuring"))
        record = measuring.scored(self, recipe, made, artifact, self._bench_alone, clock, share=share)
        if share < 1.0:
            artifacts.remove(artifact)
        shared: dict[str, Json] = {}
        if done:
            shared[SHARED] = {"key": self.key(recipe.shared, fidelity=1.0, seed=seed), "steps": done}
        facts = {**record.facts, **shared}
        record = replace(record, key=key, fidelity=fidelity, seed=seed, trained=True, facts=facts)
        return replace(record, only_shared=recipe.only_shared)

    def scored(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        """As `build`, remembered, and without the artifact: for those who want to know how good a recipe is."""

        def build() -> Record:
            record = self.build(recipe, fidelity=fidelity, seed=seed, progress=progress)
            if "artifact" in record.files:
                artifacts.remove(Artifact(Path(record.files["artifact"])))
            return replace(record, files={name: file for name, file in record.files.items() if name != "artifact"})

        return self._measured.remembered(["scored", self.key(recipe, fidelity=fidelity, seed=seed)], build)

    def timed(self, record: Record) -> Record:
        """The record with what must be alone to be measured, such as the latency, taken here and with care."""
        return measuring.timed(record, self, self._bench)

    def promote_extras(self, record: Record, within_s: float = math.inf) -> Record:
        """The record with what is measured of a promoted artifact alone: the test split, more lengths, `steps`, the
        bytes after each step so far, and the baseline's quality on the test split if it takes at most `within_s`."""
        promoted = measuring.promoted(record, self, self._bench)
        steps = self.registry.recipe(record.recipe).steps
        sizes = [self._previewed_mb(Recipe(steps[: count + 1])) for count in range(len(steps))]
        facts: dict[str, Json] = {"baseline": {QUALITY_TEST: self._baseline.on_test(within_s)}, "steps": {"mb": sizes}}
        return replace(promoted, facts={**promoted.facts, **facts})

    def test_s(self) -> float:
        """Seconds that reading the test split once takes the baseline; 0 where its quality there is known."""
        return self._baseline.test_s()

    def _measure_preview(self, recipe: Recipe, size_only: bool, careful: bool) -> Record:
        record = (self.previews or self).exported(recipe, size_only=size_only, careful=careful)
        artifact, clock = Artifact(Path(record.files["artifact"])), Clock(record.seconds_by_phase)
        if not size_only:
            with clock.phase("measuring"):
                taken = measuring.previewed_alone(self, artifact, self._bench, careful)
            record = record.with_measured(taken.measurements, taken.unmeasured)
        artifacts.remove(artifact)
        return replace(record, seconds_by_phase=clock.seconds, files={})

    def _previewed_mb(self, recipe: Recipe) -> float | None:
        try:
            return self.preview(recipe, size_only=True).value(SIZE)
        except EicompressError:
            # The beginning of a recipe need not be one that stands alone.
            return None

    @cached_property
    def _shared(self) -> SharedTraining:
        return SharedTraining(self)

    @property
    def _measured(self) -> Measured:
        return Measured(self.cache, self.threads, self.seq_len, self.device, code_of(self._bench_alone.usual))

    @cached_property
    def _bench(self) -> Bench:
        conditions = replace(self._bench_alone.conditions, reference=self._baseline.artifact)
        return replace(self._bench_alone, conditions=conditions)

    @property
    def _bench_alone(self) -> Bench:
        """Without a reference, which is the baseline."""
        conditions = Conditions(self.threads, self.seq_len, quiet=self.quiet, device=self.device)
        return Bench(tuple(self.registry.metrics.values()), frozenset(self.wanted), conditions, self.folder)

    @cached_property
    def _baseline(self) -> Baseline:
        return Baseline(self, self._measured, self._bench_alone, self.baseline_s)


def open_builder(
    spec: Spec, registry: Registry, *, folder: Path, progress: Callable[[Progress], None], head: Path | None = None
) -> Builder:
    """Read data, model and teachers, and train a teacher first where the model has no head for the task.

    Artifacts are written under `folder`. `head` is the folder of the teacher that was trained before, where there is
    one. Without a `teacher` among the settings the model is its own; it is one of them where they name its folder.
    Raises `DataError`, `ModelError`, `SpecError`.
    """
    settings, compute_device, cache = spec.settings, own_device(), Cache(default_folder())
    source_folder = model_folder(spec.model)  # first, since to read the data may take a while
    read = read_data(registry, spec)
    named = read_model(source_folder, read.task.answer)
    baseline, notes, trained = named.answering(read.task.answer), read.notes, None
    if compute_device == "cuda":
        notes += (
            f"Students and teachers compute on {torch.cuda.get_device_name()}; artifacts are measured on the CPU.",
        )
    if baseline is None:
        if head is None:
            _check_named(spec, named, source_folder, read, device=compute_device, cache=cache)
        limit_s, how = spec.teacher_s, settings["teacher_training"]
        search = opened_teacher_search(
            source_folder,
            read,
            seed=spec.seed,
            device=compute_device,
            limit_s=limit_s,
            cache=cache,
            progress=in_time_for_a_teacher(progress, limit_s),
        )
        why = why_taught(named.answer, read.task.answer)
        trained = head or with_teacher(search, how, note=before_teaching(why, how, limit_s))
        baseline = read_model(trained, read.task.answer)
        notes += how_taught(why, trained)
    if spec.unlabelled and read.task.pairs and not read.task.answer.mixed:
        notes += ("The task reads pairs of texts, so single sentences of `--unlabelled` get no answers to learn.",)
    read = replace(read, task=read.task.sized(baseline.candidate.encoder.config.outputs))
    baseline = replace(baseline, digest=digest_of([baseline.digest, read.digest]))
    begin, begin_digest = read_start(spec.start, baseline.candidate) if spec.start else (baseline.candidate, "")
    teacher = _teacher(spec, baseline, source_folder, read, device=compute_device, cache=cache)
    asked = teacher.watched(progress)
    return Builder(
        registry=registry,
        task=read.task,
        examples={
            split: each if split == "train" else read.task.judged(each, asked, read.examples["validation"])
            for split, each in read.examples.items()
        },
        source=baseline.candidate,
        digest=baseline.digest,
        teacher=teacher,
        unlabelled=UnlabelledText(
            spec.unlabelled, withheld(text for name in ("validation", "test") for text in read.examples[name].all_texts)
        ),
        start=begin,
        start_digest=begin_digest,
        cache=cache,
        folder=folder.resolve(),
        seed=spec.seed,
        compute_device=compute_device,
        threads=settings["threads"],
        seq_len=settings.get("seq_len"),
        device=registry.device(settings["device"])(),
        head=trained,
        baseline_s=math.inf if spec.timeout_s is None else BASELINE_SHARE * spec.timeout_s,
        wanted=spec.wanted,
        notes=notes,
    )


def _check_named(spec: Spec, model: Model, folder: Path, read: TaskData, *, device: str, cache: Cache) -> None:
    """Read once what is named besides the model, so that what is wrong is found before a teacher is trained for long.

    Raises `DataError`, `ModelError` and `SpecError`.
    """
    _teacher(spec, model, folder, read, device=device, cache=cache)
    if spec.start:
        read_start(spec.start, model.candidate)
    for source in spec.unlabelled:
        next(iter(UnlabelledText((source,))), None)


def _teacher(
    spec: Spec, baseline: Model, folder: Path, read: TaskData, *, device: str, cache: Cache
) -> StoredTeacher | Ensemble | TaskTeachers:
    """Who teaches; `folder` is that of the model, which is one of the teachers where it is named among them.

    Raises `SpecError` and `ModelError`.
    """
    named = spec.teachers
    if isinstance(read.task.answer, MultiTask):
        check_ensemble(spec.settings["ensemble"], read.task.answer)
        plain = [each for each in named if not NAMED.fullmatch(each)]
        if plain:
            raise SpecError(
                "`--teacher` must have the name of a task, NAME=FOLDER, where there are several tasks, but got "
                f"{listed(plain)}"
            )
        return teachers_of_tasks(baseline, spec.teachers_of_tasks, read, seed=spec.seed, device=device, cache=cache)
    same = folder.resolve()
    others = [None if Path(each).resolve() == same else Path(each) for each in named]
    return who_teaches(baseline, others, spec.settings["ensemble"], read, seed=spec.seed, device=device, cache=cache)
