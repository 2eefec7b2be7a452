"""From a built candidate to the numbers in its record."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from eicompress import runtime
from eicompress.contracts import Candidate, Context, Examples, GraphStrategy
from eicompress.encoder.device import computes_with
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.metrics import bench
from eicompress.metrics.latency import CAREFUL_SECONDS, QUICK_SECONDS, usual_length
from eicompress.metrics.profile import milliseconds_by_operator
from eicompress.metrics.this_machine import machine
from eicompress.recipe import Recipe
from eicompress.trials.candidate import blamed
from eicompress.trials.kept import PACKAGES, kept_logits
from eicompress.trials.materials import Materials
from eicompress.values import Artifact, Json, Measurement, Record

PROMOTED_LENGTHS = (16, 64, 128)
"""Tokens; a longer one than a model has positions for is taken, and named, at what it has."""


class Clock:
    """Seconds of each phase of one build."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


def written(materials: Materials, recipe: Recipe, made: Candidate, context: Context, folder: Path) -> Artifact:
    """The candidate exported to a folder, after the recipe's steps on its graph."""
    task = materials.task
    graph = artifacts.graph_of(made, pairs=task.pairs)
    for step in recipe.steps:
        if isinstance(step, GraphStrategy):
            with blamed(step):
                graph = step.apply(graph, context)
    manifest = {"recipe": recipe.to_json(), "facts": made.facts, "task": task.name}
    return artifacts.write(made, task.answer, folder, pairs=task.pairs, manifest=manifest, graph=graph)


def record_of(materials: Materials, recipe: Recipe, made: Candidate, clock: Clock) -> Record:
    """A record in which nothing is measured yet."""
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
    clock: Clock,
    *,
    folder: Path,
    threads: int,
) -> Record:
    """What is measured of everything that was trained, the baseline included, but for its latency.

    The logits are kept under `folder`.
    """
    facts: dict[str, Json] = dict(made.facts)
    model = runtime.load(artifact.folder, threads=threads)
    validation = materials.examples["validation"]
    with clock.phase("measuring"):
        qualities, logits = bench.quality(model, materials.task, {"validation": validation})
    if not any(isinstance(step, GraphStrategy) for step in recipe.steps):
        with clock.phase("parity"):
            parity = check_parity(made, validation.texts, logits["validation"], materials.task.answer)
        facts["parity"] = {"largest_difference": parity.largest_difference, "agreement": parity.agreement}
    return replace(
        record_of(materials, recipe, made, clock),
        measurements=(*weighed(artifact), *qualities),
        bytes_by_group=artifacts.bytes_by_group(artifact),
        facts=facts,
        files={"artifact": str(artifact.folder), **kept_logits(folder, logits)},
    )


def weighed(artifact: Artifact) -> tuple[Measurement, ...]:
    """Bytes on disk, and zipped."""
    return (*bench.size(artifact), *bench.download(artifact))


def glanced_at(artifact: Artifact, on: bench.Bench, *, memory: bool) -> tuple[Measurement, ...]:
    """What of a preview is measured beside its bytes: latency for a moment, and memory where it matters."""
    measured = on.latency(artifact, seconds=QUICK_SECONDS).measurements()
    return (*measured, *(on.memory(artifact) if memory else ()))


def timed(record: Record, on: bench.Bench, *, memory: bool) -> Record:
    """The record with the latency of its artifact, taken with care, and memory where it matters."""
    artifact = Artifact(Path(record.files["artifact"]))
    measured = on.latency(artifact, seconds=CAREFUL_SECONDS).measurements()
    measured += on.memory(artifact) if memory else ()
    return replace(record, measurements=(*record.measurements, *measured))


def promoted(materials: Materials, record: Record, on: bench.Bench, *, folder: Path, memory: bool) -> Record:
    """The record with what is measured of a promoted artifact alone: the test split, more lengths, where bytes and
    milliseconds go, and memory unless it is known (`memory`)."""
    artifact = Artifact(Path(record.files["artifact"]))
    model = on.load(artifact)
    qualities, logits = bench.quality(model, materials.task, {"test": materials.examples["test"]})
    latencies = tuple(
        replace(each, name=f"{each.name}_at_{length}")
        for length in sorted({min(length, model.positions or length) for length in PROMOTED_LENGTHS})
        for each in on.latency(artifact, seconds=CAREFUL_SECONDS, seq_len=length).measurements()
    )
    measurements = (*record.measurements, *qualities, *latencies, *(() if memory else on.memory(artifact)))
    facts = {**record.facts, **_anatomy(artifact, model, materials.examples["validation"])}
    return replace(
        record, measurements=measurements, facts=facts, files={**record.files, **kept_logits(folder, logits)}
    )


def _anatomy(artifact: Artifact, model: runtime.Model, validation: Examples) -> dict[str, Json]:
    """Where bytes and milliseconds go: `tensors`, `operators`; and `cut`, how many of the validation texts are longer
    than the model reads, and after how many tokens they are cut."""
    length = usual_length(model.tokenizer, validation.texts)
    read = model.lengths(validation.texts)
    return {
        "tensors": {"largest": artifacts.bytes_by_tensor(artifact)},
        "operators": {"ms": milliseconds_by_operator(artifact, length), "sequence_length": length},
        "cut": {"texts": sum(each.cut for each in read), "of": len(read), "tokens": model.limit},
    }
