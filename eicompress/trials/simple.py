"""The simple baselines, measured as candidates are: what a student must not lose to."""

from dataclasses import replace
from pathlib import Path

import torch

from eicompress.export import folder as artifacts
from eicompress.metrics.quality import quality_of
from eicompress.metrics.size import SizeMetric
from eicompress.recipe import Recipe
from eicompress.trials.baselines import STATIC, TFIDF, Static, bounded, static_regression
from eicompress.trials.materials import Materials
from eicompress.trials.measuring import Bench, Clock, measured_as_is, record_of
from eicompress.trials.tfidf import fit_tfidf
from eicompress.values import SIMPLE, Artifact, Measurement, Record


def measure_simplest(materials: Materials) -> Record:
    """The one that runs no model: one answer for every text, or one for every word."""
    train, validation, answer = materials.examples["train"], materials.examples["validation"], materials.task.answer
    logits = answer.simplest_logits(train.texts, train.targets, validation.texts)
    quality = quality_of(logits, materials.task, validation, "validation")
    note = "one answer for every word" if answer.per_word else "one answer for every text"
    return _simple(materials, answer.simplest, note, Clock(), quality)


def measure_static(materials: Materials) -> Record:
    """A linear model on the mean of the baseline's static word vectors."""
    clock, source, validation = Clock(), materials.source.encoder, materials.examples["validation"]
    with clock.phase("training"):
        with torch.no_grad():
            static = Static(materials.source.tokenizer, source.words(torch.arange(source.config.vocabulary)))
        train = bounded(materials.examples["train"], materials.seed)
        found = static_regression(materials.task, train, validation.texts, static, materials.seed)
    size = SizeMetric.measurement(found.size_mb, estimated="one byte a weight")
    quality = quality_of(found.logits, materials.task, validation, "validation")
    return _simple(materials, STATIC, found.note, clock, size, quality)


def measure_tfidf(materials: Materials, size_mb: float | None, on: Bench) -> Record:
    """An artifact of tf-idf and a linear model of at most `size_mb` megabytes."""
    clock = Clock()
    with clock.phase("training"):
        train = bounded(materials.examples["train"], materials.seed)
        found = fit_tfidf(materials.task, train, materials.seed, size_mb)
    if found is None:
        reason = "no word occurs" if size_mb is None else f"not even one word fits into {size_mb:g} MB"
        return replace(_simple(materials, TFIDF, "", clock), outcome="inapplicable", reason=reason)
    record = _simple(materials, TFIDF, found.note, clock)

    def write(into: Path) -> None:
        manifest = {"recipe": [], "facts": record.facts, "task": materials.task.name}
        artifacts.write_files(found.files, into / "artifact", manifest)

    entry = materials.cache.store(TFIDF, [materials.inputs, materials.seed, size_mb], write)
    return measured_as_is(record, materials, Artifact(entry / "artifact"), on)


def _simple(materials: Materials, name: str, note: str, clock: Clock, *measurements: Measurement) -> Record:
    """The record of a simple baseline, which has no recipe and a fact that names it."""
    record = record_of(materials, Recipe(()), materials.source, clock)
    facts = {SIMPLE: {"name": name, "note": note}}
    return replace(record, seed=materials.seed, trained=True, measurements=measurements, facts=facts)
