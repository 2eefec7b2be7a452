"""Exports a built candidate and measures it for its record."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch

from eicompress.answers import TeacherOutputs
from eicompress.contracts import Array, Candidate, Context, GraphStrategy
from eicompress.encoder.device import computes_with
from eicompress.errors import DataError, MeasureError, ModelError
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.measures import Conditions, Metric, Subject
from eicompress.metrics.exit_curve import exit_curve
from eicompress.metrics.latency import CAREFUL_SECONDS, MOST_TEXTS, QUICK_SECONDS, LatencyMetric
from eicompress.metrics.measure import Taken, measure
from eicompress.metrics.profile import milliseconds_by_operator
from eicompress.metrics.quality import QUALITY, QualityMetric
from eicompress.metrics.size import SizeMetric
from eicompress.metrics.this_machine import machine
from eicompress.recipe import Recipe
from eicompress.runtime import usual_length
from eicompress.training.teacher import TeacherBefore
from eicompress.trials.candidate import applied
from eicompress.trials.kept import PACKAGES, kept_logits
from eicompress.trials.materials import Materials
from eicompress.values import Artifact, Json, Record, Text

PROMOTED_LENGTHS = (16, 64, 128)
"""Tokens; a longer one than a model has positions for is taken, and named, at what it has."""


@dataclass(frozen=True)
class Bench:
    """The metrics to measure, built-in and foreign ones alike, and the conditions of measurement."""

    metrics: tuple[type[Metric], ...]
    wanted: frozenset[str]
    """Those that a limit or the objective names."""
    conditions: Conditions
    folder: Path
    """Logits are kept under it."""

    @property
    def previewed(self) -> tuple[type[Metric], ...]:
        """Metrics of previews that may be measured while anything else runs."""
        return tuple(each for each in self.usual if each.preview and not each.alone)

    @property
    def trained(self) -> tuple[type[Metric], ...]:
        """Metrics of every trained candidate, measured on any machine, even a busy one."""
        return tuple(each for each in self.usual if not each.alone)

    @property
    def alone(self) -> tuple[type[Metric], ...]:
        """Metrics of previews and results that must be measured while nothing else runs."""
        return tuple(each for each in self.usual if each.alone)

    @property
    def promoted(self) -> tuple[type[Metric], ...]:
        """Metrics that are measured on results only."""
        return tuple(each for each in self.metrics if each not in self.usual)

    @property
    def usual(self) -> tuple[type[Metric], ...]:
        """All metrics except those that are measured on results only."""
        return tuple(each for each in self.metrics if not each.promoted or each.name in self.wanted)


class Clock:
    """Seconds of each phase of one build. Those of a phase inside of another are not counted as the other's too."""

    def __init__(self, seconds: Mapping[str, float] = MappingProxyType({})) -> None:
        self.seconds = dict(seconds)
        self._inside = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start, before, self._inside = time.perf_counter(), self._inside, 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took - self._inside, 3)
            self._inside = before + took


@dataclass(frozen=True)
class TimedTeacher(TeacherBefore):
    """A teacher whose answers are a phase of their own: once they are stored, they take no time."""

    clock: Clock

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        with self.clock.phase("teacher"):
            return self.teacher.outputs(texts)


def written(materials: Materials, recipe: Recipe, made: Candidate, context: Context, folder: Path) -> Artifact:
    """The candidate exported to a folder, after the recipe's steps on its graph."""
    task = materials.task
    graph = artifacts.graph_of(made, pairs=task.pairs)
    for step in recipe.steps:
        if isinstance(step, GraphStrategy):
            graph = applied(step, graph, context)
    manifest = {"recipe": recipe.to_json(), "facts": made.facts, "task": task.name}
    return artifacts.write(made, task.answer, folder, pairs=task.pairs, manifest=manifest, graph=graph)


def record_of(materials: Materials, recipe: Recipe, made: Candidate, clock: Clock) -> Record:
    """A record without measurements."""
    sources = [materials.registry.sources["strategy", step.name] for step in recipe.steps]
    return Record(
        recipe=tuple(recipe.to_json()),
        draw=-1,
        outcome="complete",
        seconds_by_phase=clock.seconds,
        facts=made.facts,
        versions=dict(artifacts.versions(PACKAGES))
        | {source.package: source.version for source in sources}
        | {"machine": machine(), "training threads": str(torch.get_num_threads())}
        | {"trained with": computes_with(materials.compute_device)},
    )


def scored(
    materials: Materials,
    recipe: Recipe,
    made: Candidate,
    artifact: Artifact,
    on: Bench,
    clock: Clock,
    *,
    share: float = 1.0,
    known: Array | None = None,
) -> Record:
    """What is measured of everything that was trained, the baseline included, on this share of the validation texts.
    `known` are the artifact's logits of them, where they were read before.

    Of less than all of them, no parity is checked and no logits are kept. Raises `MeasureError` without quality.
    """
    facts: dict[str, Json] = dict(made.facts)
    with clock.phase("measuring"):
        subject = _subject(materials, artifact, on.conditions)
        subject = tuned(replace(subject, examples=materials.validation(share), known=known))
        taken = measure(on.trained, subject)
    if QUALITY in taken.unmeasured:
        raise MeasureError(f"the quality of a candidate must be known, but is not: {taken.unmeasured[QUALITY]}")
    record = record_of(materials, recipe, made, clock).with_measured(taken.measurements, taken.unmeasured)
    if share < 1.0:
        return replace(record, bytes_by_group=artifacts.bytes_by_group(artifact))
    answer = materials.task.answer
    if not any(isinstance(step, GraphStrategy) for step in recipe.steps):
        with clock.phase("parity"):
            parity = check_parity(made, subject.examples.texts, answer.standard(subject.raw), answer)
        facts["parity"] = {"largest_difference": parity.largest_difference, "agreement": parity.agreement}
    return replace(_found(record, subject, on), facts=facts)


def tuned(subject: Subject) -> Subject:
    """Choose on the subject's examples what its artifact's answers need beside the graph, such as a threshold, and
    write it into the artifact; an artifact that does not run is left as it is, for `measure` to say so."""
    if not subject.task.answer.tuned_on_validation:
        return subject
    try:
        known, outside = subject.raw, subject.outside
    except (ModelError, DataError):
        return subject
    answer = subject.task.answer
    artifacts.write_answer(subject.artifact, answer.tuned(answer.standard(known), subject.examples.targets, outside))
    return replace(subject, known=known)


def tuned_baseline(materials: Materials, artifact: Artifact, on: Bench, share: float = 1.0) -> Array | None:
    """The same on this share of the validation texts, of an artifact that is to be kept in the cache, where nothing
    changes later; its logits of them, if they were read."""
    subject = replace(_subject(materials, artifact, on.conditions), examples=materials.validation(share))
    return tuned(subject).known


def previewed(materials: Materials, artifact: Artifact, on: Bench, careful: bool) -> Taken:
    """What is measured before anything is trained, and need not be alone; with care, as of what is kept."""
    return measure(on.previewed, _subject(materials, artifact, _preview_conditions(on, careful)))


def previewed_alone(materials: Materials, artifact: Artifact, on: Bench, careful: bool) -> Taken:
    """What is measured before anything is trained, while nothing else runs."""
    return measure(on.alone, _subject(materials, artifact, _preview_conditions(on, careful)))


def weighed(materials: Materials, artifact: Artifact, on: Bench) -> Taken:
    """The record with the size alone."""
    return measure([SizeMetric], _subject(materials, artifact, on.conditions))


def timed(record: Record, materials: Materials, on: Bench) -> Record:
    """The record with what is measured of its artifact with care, while nothing else runs, and how many of the
    validation texts it cuts."""
    conditions = replace(on.conditions, seconds=CAREFUL_SECONDS)
    subject = _subject(materials, Artifact(Path(record.files["artifact"])), conditions)
    record = _measured(record, on.alone, subject)
    return replace(record, facts={**record.facts, "cut": _cut(subject)})


def measured_as_is(record: Record, materials: Materials, artifact: Artifact, on: Bench) -> Record:
    """The record of an artifact that no recipe made, measured as a candidate's is."""
    subject = tuned(_subject(materials, artifact, on.conditions))
    return timed(_found(_measured(record, on.trained, subject), subject, on), materials, on)


def promoted(record: Record, materials: Materials, on: Bench) -> Record:
    """The record with what is measured of a promoted artifact alone: the test split, more lengths, where bytes and
    milliseconds go, and what else is measured of nothing but these."""
    conditions = replace(on.conditions, seconds=CAREFUL_SECONDS)
    subject = _subject(materials, Artifact(Path(record.files["artifact"])), conditions)
    test = replace(subject, examples=materials.examples["test"], split="test")
    found = [*QualityMetric().measure(test)]
    positions = subject.model.positions
    for length in sorted({min(length, positions or length) for length in PROMOTED_LENGTHS}):
        taken = LatencyMetric().measure(replace(subject, conditions=replace(conditions, seq_len=length)))
        found += [replace(each, name=f"{each.name}_at_{length}") for each in taken]
    record = _measured(record.with_measured(found, {}), on.promoted, subject)
    files = {**record.files, **kept_logits(on.folder, {"test": test.logits})}
    return replace(record, facts={**record.facts, **_anatomy(subject)}, files=files)


def quality_on_test(materials: Materials, artifact: Artifact, on: Bench) -> Record:
    """The baseline's record with its quality on the test split alone."""
    subject = replace(_subject(materials, artifact, on.conditions), examples=materials.examples["test"], split="test")
    record = record_of(materials, Recipe(()), materials.source, Clock())
    return record.with_measured(QualityMetric().measure(subject), {})


def _preview_conditions(on: Bench, careful: bool) -> Conditions:
    return replace(on.conditions, seconds=CAREFUL_SECONDS if careful else QUICK_SECONDS)


def _subject(materials: Materials, artifact: Artifact, conditions: Conditions) -> Subject:
    return Subject(artifact, materials.task, materials.examples["validation"], conditions=conditions)


def _measured(record: Record, metrics: Sequence[type[Metric]], subject: Subject) -> Record:
    taken = measure(metrics, subject)
    return record.with_measured(taken.measurements, taken.unmeasured)


def _found(record: Record, subject: Subject, on: Bench) -> Record:
    """The record with where the artifact and its logits lie, and what its parts weigh."""
    artifact = subject.artifact
    files = {"artifact": str(artifact.folder), **kept_logits(on.folder, {subject.split: subject.logits})}
    return replace(record, bytes_by_group=artifacts.bytes_by_group(artifact), files=files)


def _anatomy(subject: Subject) -> dict[str, Json]:
    """Where bytes and milliseconds go: `tensors`, `operators`. `exits`: quality against milliseconds, where texts may
    exit early."""
    curve = [vars(each) for each in exit_curve(subject)]
    model, texts = subject.model, subject.examples.texts
    length = usual_length(model.tokenizer, texts)
    return {
        "tensors": {"largest": artifacts.bytes_by_tensor(subject.artifact)},
        "operators": {
            "ms": milliseconds_by_operator(subject.artifact, length, texts[:MOST_TEXTS]),
            "sequence_length": length,
        },
        **({"exits": {"curve": curve}} if curve else {}),
    }


def _cut(subject: Subject) -> Json:
    """How many of the texts are longer than the model reads, and after how many tokens they are cut."""
    read = subject.model.lengths(subject.examples.texts)
    return {"texts": sum(each.cut for each in read), "of": len(read), "tokens": subject.model.limit}
