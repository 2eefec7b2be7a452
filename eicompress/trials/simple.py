"""The simple baselines, measured as candidates are: what a student must not lose to.

The answer that never changes (the majority class, or the mean of the numbers), and two artifacts: the mean of static
embeddings, and tf-idf. Learned from the training rows, measured on the validation rows. Of several tasks of which some
answer words, the artifacts answer the others, and the answer that never changes those of words.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from eicompress.contracts import Examples
from eicompress.errors import Inapplicable
from eicompress.export import folder as artifacts
from eicompress.measures import Subject
from eicompress.metrics.quality import qualities_beside, quality_of
from eicompress.recipe import Recipe
from eicompress.tasks.multi_task import SeveralTasks
from eicompress.trials import measuring
from eicompress.trials.materials import Materials
from eicompress.trials.measuring import Bench, Clock, measured_as_is, record_of
from eicompress.trials.static_embeddings import StaticClassifier, fit_static
from eicompress.trials.tfidf import TfIdf, fit_tfidf
from eicompress.values import MEGABYTE, SIMPLE, Artifact, Measurement, Record, seed_of

STATIC, TFIDF = "static embeddings", "tf-idf"
"""Simple baselines, by the names that are shown; what an answer that never changes is called, its kind knows."""
ROWS = 20_000
"""Training rows that a regression reads, drawn with the seed where there are more."""


def bounded(train: Examples, seed: int) -> Examples:
    """At most as many rows as a regression reads, drawn with the seed."""
    if len(train) <= ROWS:
        return train
    return train.take(np.random.default_rng(seed_of(seed, "yardsticks")).permutation(len(train))[:ROWS].tolist())


def measure_simplest(materials: Materials) -> Record:
    """The one that runs no model."""
    train, validation, answer = materials.examples["train"], materials.examples["validation"], materials.task.answer
    logits = answer.simplest_logits(train.texts, train.targets, validation.texts)
    quality = quality_of(logits, materials.task, validation, "validation")
    return _simple(materials, answer.simplest, answer.simplest_note, Clock(), quality)


def measure_static(materials: Materials, size_mb: float | None, on: Bench) -> Record:
    """An artifact of a linear model on the mean of the baseline's static word vectors, of at most `size_mb` megabytes.

    Where the tokenizer cannot be pruned, the record says why there is none.
    """
    clock, source, own = Clock(), materials.source.encoder, of_whole_texts(materials)
    with clock.phase("training"):
        with torch.no_grad():
            table = source.words(torch.arange(source.config.vocabulary)).numpy()
        train = bounded(own.examples["train"], materials.seed)
        try:
            vectors = None
            if own.task.answer.unit:
                vectors = np.asarray(materials.teacher.outputs(train.texts).logits, np.float32)
            tokenizer = materials.source.tokenizer
            found = fit_static(own.task, train, tokenizer, table, materials.seed, size_mb, vectors)
        except Inapplicable as error:
            return _no_artifact(materials, STATIC, f"no artifact can be made of it: {error}", clock)
    if found is None:
        return _no_artifact(materials, STATIC, f"not even one dimension fits into {size_mb:g} MB", clock)
    return _measured(materials, STATIC, found, size_mb, on, clock)


def measure_tfidf(materials: Materials, size_mb: float | None, on: Bench) -> Record:
    """An artifact of tf-idf and a linear model of at most `size_mb` megabytes."""
    clock, own = Clock(), of_whole_texts(materials)
    with clock.phase("training"):
        train = bounded(own.examples["train"], materials.seed)
        found = fit_tfidf(own.task, train, materials.seed, size_mb)
    if found is None:
        reason = "no word occurs" if size_mb is None else f"not even one word fits into {size_mb:g} MB"
        return _no_artifact(materials, TFIDF, reason, clock)
    return _measured(materials, TFIDF, found, size_mb, on, clock)


def _measured(
    materials: Materials, name: str, found: TfIdf | StaticClassifier, size_mb: float | None, on: Bench, clock: Clock
) -> Record:
    record, own = _simple(materials, name, found.note, clock), of_whole_texts(materials)

    def write(into: Path) -> None:
        manifest = {"recipe": [], "facts": record.facts, "task": materials.task.name}
        measuring.tuned_baseline(own, artifacts.write_files(found.files, into / "artifact", manifest), on)

    entry = materials.cache.store(name.replace(" ", "-"), [materials.inputs, materials.seed, size_mb], write)
    artifact = Artifact(entry / "artifact")
    if own is materials:
        return measured_as_is(record, materials, artifact, on)
    return _beside_words(name, found.note, artifact, own, materials, clock)


def of_whole_texts(materials: Materials) -> Materials:
    """The materials of those of several tasks that answer whole texts, where others answer words; else all of them."""
    task = materials.task
    if not isinstance(task, SeveralTasks) or task.answer.reads != "both":
        return materials
    own, read = task.of_whole_texts, dict[str, Examples]()
    for split, examples in materials.examples.items():
        rows = np.flatnonzero(task.answer.tasks_of(examples.targets) < len(own.tasks))
        read[split] = examples.take(rows.tolist())
    return replace(materials, task=own, examples=read)


def _beside_words(
    name: str, note: str, artifact: Artifact, own: Materials, materials: Materials, clock: Clock
) -> Record:
    """The record of an artifact for the tasks of whole texts as a rival in all tasks: each of words has its simplest
    answer, which has no file, so there is no artifact."""
    train, validation, task = materials.examples["train"], materials.examples["validation"], materials.task
    assert isinstance(task, SeveralTasks) and isinstance(own.task, SeveralTasks)
    answer, count = task.answer, len(own.task.tasks)
    with clock.phase("measuring"):
        logits = answer.simplest_logits(train.texts, train.targets, validation.texts)
        rows = np.flatnonzero(answer.tasks_of(validation.targets) < count)
        found = Subject(artifact, own.task, own.examples["validation"]).logits
        logits[rows, 0, : own.task.answer.outputs] = found
    others = [f"of `{each.name}` the {each.answer.simplest}, without a file" for each in answer.parts[count:]]
    note = "; ".join([f"{note}, {artifact.size_bytes / MEGABYTE:.2f} MB", *others])
    quality = quality_of(logits, task, validation, "validation")
    return _simple(materials, name, note, clock, quality, *qualities_beside(logits, task, validation, "validation"))


def _no_artifact(materials: Materials, name: str, reason: str, clock: Clock) -> Record:
    return replace(_simple(materials, name, "", clock), outcome="inapplicable", reason=reason)


def _simple(materials: Materials, name: str, note: str, clock: Clock, *measurements: Measurement) -> Record:
    """The record of a simple baseline, which has no recipe and a fact that names it."""
    record = record_of(materials, Recipe(()), materials.source, clock)
    facts = {SIMPLE: {"name": name, "note": note}}
    return replace(record, seed=materials.seed, trained=True, measurements=measurements, facts=facts)
