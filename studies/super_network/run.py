"""Whether parts of a super-network are ranked by some validation texts as by all, how fast, and what rewiring is worth;
and how parts do beside the same shapes trained alone, as they are and trained a little by themselves.

    python studies/super_network/run.py MODEL DATA FOLDER [--epochs 3] [--seeds 3] [--parts 50] [--shapes 20] \\
        [--finish 0.75] [--only scores|rewiring|alone]

MODEL is a teacher, fine-tuned for DATA. What was trained and scored lies in FOLDER, and is not made again: after an
interruption the same command goes on. Seconds are of the processor, since other programs may run.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from eicompress.contracts import Candidate
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.strategies.super_network import Subnetwork
from eicompress.study.agreement import agreement
from eicompress.study.kept_answers import stored_logits
from eicompress.training.trainer import fit_nothing
from eicompress.trials import candidate as candidates
from eicompress.trials import measuring
from eicompress.trials.builder import Builder, open_builder
from eicompress.trials.starting_point import write_starting_point
from eicompress.values import Artifact

BEFORE: list[dict[str, Any]] = [
    {"strategy": "vocabulary_pruning", "num_tokens": 5000},
    {"strategy": "thin_student", "layers": 3, "neurons": 0.25},
    {"strategy": "embedding_factorization", "size": 128},
    {"strategy": "quantization", "embedding_bits": 4, "layer_bits": 2},
]
SHARES = np.arange(0.25, 1.01, 0.125)
COUNTS = (250, 500, 1000, 1500)
"""Validation texts."""
NARROW = (Subnetwork(3, 0.25, 0.25, 1.0), Subnetwork(2, 0.25, 0.25, 1.0), Subnetwork(3, 0.25, 0.25, 0.25))
"""Parts with a quarter of the heads and neurons."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", type=int, default=50)
    parser.add_argument("--shapes", type=int, default=20)
    parser.add_argument("--finish", type=float, default=0.75)
    studies = {"scores": scores, "rewiring": rewiring, "alone": alone}
    parser.add_argument("--only", choices=studies)
    asked = parser.parse_args()
    for name, study in studies.items():
        if asked.only in (None, name):
            study(asked)


def scores(asked: argparse.Namespace) -> None:
    """Each of many random parts, scored on some validation texts and on all."""
    builder, registry = opened(asked, 0)
    trained, path = super_network(asked, builder, registry, 0, rewire=True), asked.folder / "scores.jsonl"
    context, share = builder.context(fit_nothing), builder.scored_share
    parts = dict.fromkeys(random_parts())  # in this order, each once
    for place, part in zip(range(asked.parts), parts, strict=False):
        if place < len(lines(path)):
            continue
        found: dict[str, Any] = {"part": asdict(part)}
        recipe = Recipe((part,))
        for name, on in (("some", share), ("all", 1.0)):
            start = time.process_time()
            made = candidates.build(recipe, context, builder.cache, str, trained)
            artifact = measuring.written(builder, recipe, made, context, asked.folder / "artifact")
            record = measuring.scored(
                builder, recipe, made, artifact, builder._bench_alone, measuring.Clock(), share=on
            )
            found[name] = {"quality": record.value("quality"), "seconds": time.process_time() - start}
        logits, examples = stored_logits(Path(record.files["validation_logits"])), builder.examples["validation"]
        for count in COUNTS:
            rows = builder.scored_rows(count / len(examples))
            found[str(count)] = builder.task.score(logits[rows], examples.targets[rows])
        note(path, found)
    report_scores(lines(path))
    report_previews(asked, builder, registry, list(parts)[: asked.parts])


def report_scores(found: list[dict[str, Any]]) -> None:
    seconds = {name: mean(each[name]["seconds"] for each in found) for name in ("some", "all")}
    for count in COUNTS:
        agreed = agreement(0.0, 1.0, [(each[str(count)], each["all"]["quality"]) for each in found])
        low, high = agreed.interval or (0.0, 0.0)
        print(
            f"{count} texts: rank correlation {agreed.correlation:.2f} ({low:.2f} to {high:.2f}), {agreed.pairs} parts"
        )
    print(f"seconds of a core for a part: {seconds['some']:.2f} on some texts, {seconds['all']:.2f} on all")


def report_previews(asked: argparse.Namespace, builder: Builder, registry: Registry, parts: list[Subnetwork]) -> None:
    """What the coordinator takes for a part: bytes, latency, and how far two measurements of it are apart."""
    builder.baseline()
    before = [*BEFORE, {"strategy": "super_network", "epochs": asked.epochs}]
    taken, apart = [], []
    for part in parts[:10]:
        recipe = Recipe((*Recipe.from_json(before, registry.strategies).steps, part))
        start = time.process_time()
        first = builder._measure_preview(recipe, size_only=False, careful=False)
        taken.append(time.process_time() - start)
        second = builder._measure_preview(recipe, size_only=False, careful=False)
        one, other = (each.value("latency_ratio") or 0.0 for each in (first, second))
        apart.append(abs(one - other) / max(one, other))
    print(f"seconds of a core for a preview: {mean(taken[1:]):.2f}; ratios of latency differ by {mean(apart):.0%}")


def rewiring(asked: argparse.Namespace) -> None:
    """Parts with a quarter of the width, of super-networks with and without rewiring."""
    path = asked.folder / "rewiring.jsonl"
    for seed in range(asked.seeds):
        if seed < len(lines(path)):
            continue
        builder, registry = opened(asked, seed)
        context = builder.context(fit_nothing)
        found: dict[str, list[float]] = {}
        for rewire in (True, False):
            trained = super_network(asked, builder, registry, seed, rewire=rewire)
            found[str(rewire)] = []
            for part in NARROW:
                recipe = Recipe((part,))
                made = candidates.build(recipe, context, builder.cache, str, trained)
                artifact = Artifact(asked.folder / "artifact")
                artifact = measuring.written(builder, recipe, made, context, artifact.folder)
                record = measuring.scored(builder, recipe, made, artifact, builder._bench_alone, measuring.Clock())
                found[str(rewire)].append(record.value("quality") or 0.0)
        note(path, found)
    for place, part in enumerate(NARROW):
        gains = [100 * (each["True"][place] - each["False"][place]) for each in lines(path)]
        spread = f" ± {stdev(gains):.2f}" if len(gains) > 1 else ""
        print(f"{part}: rewiring is worth {mean(gains):+.2f}{spread} points over {len(gains)} seeds")


def alone(asked: argparse.Namespace) -> None:
    """Random parts beside the same shapes trained alone for `--epochs`, and beside themselves after `--finish` more."""
    builder, registry = opened(asked, 0)
    path = asked.folder / "alone.jsonl"
    shared = [*BEFORE, {"strategy": "super_network", "epochs": asked.epochs}]
    for place, part in zip(range(asked.shapes), dict.fromkeys(random_parts()), strict=False):
        if place < len(lines(path)):
            continue
        step = {"strategy": "subnetwork", **asdict(part)}
        steps = {
            "part": [*shared, step],
            "finished": [*shared, step, lesson(asked.finish)],
            "alone": [*shape(part), lesson(asked.epochs)],
        }
        found: dict[str, Any] = {"shape": asdict(part)}
        for name, written in steps.items():
            recipe = Recipe.from_json(written, registry.strategies)
            record = builder.scored(recipe, fidelity=1.0, seed=0, progress=lambda _: None)
            found[name] = {"quality": record.value("quality"), "mb": record.value("size_mb")}
        note(path, found)
    rows = [{name: each[name]["quality"] for name in ("part", "finished", "alone")} for each in lines(path)]
    for name in ("part", "finished"):
        agreed = agreement(0.0, 1.0, [(each[name], each["alone"]) for each in rows])
        low, high = agreed.interval or (0.0, 0.0)
        gains = [100 * (each[name] - each["alone"]) for each in rows]
        spread = f" (standard deviation {stdev(gains):.2f})" if len(gains) > 1 else ""
        print(
            f"{name} beside alone: rank correlation {agreed.correlation or 0.0:.2f} ({low:.2f} to {high:.2f}), "
            f"{mean(gains):+.2f} points{spread}, {len(rows)} shapes"
        )


def lesson(epochs: float) -> dict[str, Any]:
    return {"strategy": "distillation", "epochs": epochs, "distortions": 3}


def shape(part: Subnetwork) -> list[dict[str, Any]]:
    """The steps that make the shape of a part at once, with the heads and neurons that are most important."""
    words, thin, embedding, bits = BEFORE
    thin = {**thin, "layers": part.layers, "heads": part.heads, "neurons": thin["neurons"] * part.neurons}
    return [words, thin, {**embedding, "size": round(embedding["size"] * part.embedding)}, bits]


def opened(asked: argparse.Namespace, seed: int) -> tuple[Builder, Registry]:
    registry = discover()
    spec = read({"model": asked.model, "data": asked.data, "seed": seed})
    return open_builder(spec, registry, folder=asked.folder, progress=lambda _: None), registry


def super_network(
    asked: argparse.Namespace, builder: Builder, registry: Registry, seed: int, *, rewire: bool
) -> Candidate:
    """The trained super-network of this seed."""
    folder = asked.folder / f"trained-{seed}-{int(rewire)}"
    if not folder.is_dir():
        step = {"strategy": "super_network", "epochs": asked.epochs, "rewire": rewire}
        recipe = Recipe.from_json([*BEFORE, step], registry.strategies)
        write_starting_point(builder, recipe, folder, progress=lambda _: None)
    return candidates.load(folder)


def random_parts() -> Iterator[Subnetwork]:
    generator = np.random.default_rng(0)
    for _ in range(1000):
        shares = (float(generator.choice(SHARES)) for _ in range(3))
        yield Subnetwork(int(generator.integers(1, 4)), *shares)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def note(path: Path, found: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
