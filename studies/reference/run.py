"""What are references of similar training texts worth, at the same bytes and the same number of training steps?

    python studies/reference/run.py --model TEACHER --data DATA [--students 1x0.45 2x0.8] [--stores 256x1x64 1024x1x64]

A student in 4 bits is trained with and without `reference`, with every seed, and scored on the validation split as an
artifact. All are as large as the budget allows: what a store takes, the student without has in wider word vectors. The
gain is over that student, example by example and seed by seed, and its interval a bootstrap over both. What was built
before is not built again, so the same command goes on; the table is written after each student. At last comes what a
search among references takes of a text's time.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from onnxruntime import InferenceSession

from eicompress import runtime
from eicompress.cache import default_folder, write_whole
from eicompress.contracts import Array
from eicompress.encoder.config import EncoderConfig, LayerConfig, ReferenceConfig
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.encoder.references import filled_references
from eicompress.errors import BudgetError, EicompressError
from eicompress.export.emit import emit
from eicompress.metrics.significance import paired_difference
from eicompress.metrics.this_machine import machine
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.study.fit_to_budget import largest
from eicompress.study.space import Fill
from eicompress.trials.builder import Builder, open_builder
from eicompress.values import Progress, Record

SIZES = Fill("embedding_factorization", "size", 8, 384)
LENGTHS = (16, 64)
TURNS = 400
TRAINING = {"epochs": 100.0, "distortions": 1, "label_weight": 0.5, "learning_rate": 1e-3}


@dataclass(frozen=True)
class Store:
    """References, vectors of each, dimensions of a vector."""

    references: int
    vectors: int
    width: int

    def __str__(self) -> str:
        return f"{self.references} x {self.vectors} x {self.width}"


@dataclass(frozen=True)
class Way:
    """A student: everything but the width of its word vectors, which uses up the budget."""

    layers: int
    budget: float
    """Megabytes."""
    store: Store | None

    def recipe(self, size: int, given: argparse.Namespace, registry: Registry) -> Recipe:
        store = [] if self.store is None else [{"strategy": "reference", **vars(self.store)}]
        written = [
            {"strategy": "vocabulary_pruning", "num_tokens": given.tokens},
            {"strategy": "thin_student", "layers": self.layers, "heads": 0.5, "neurons": 0.25},
            {"strategy": "embedding_factorization", "size": size},
            *store,
            {"strategy": "quantization", "embedding_bits": 4, "layer_bits": 4},
            {"strategy": "distillation", "max_steps": given.steps, **TRAINING},
        ]
        return Recipe.from_json(written, registry.strategies)


@dataclass(frozen=True)
class Outcome:
    """What a way reached, seed by seed."""

    size: int
    """Of its word vectors."""
    records: tuple[Record, ...]
    right: Array
    """(seeds, n): the quality of each validation example."""

    def mean(self, name: str) -> float:
        return fmean(record.value(name) or 0.0 for record in self.records)


def ways(given: argparse.Namespace) -> Iterator[Way]:
    """Of each number of layers and bytes, the student without references before those with."""
    stores = [None, *(Store(*map(int, each.split("x"))) for each in given.stores)]
    for student, store in itertools.product(given.students, stores):
        layers, budget = student.split("x")
        yield Way(int(layers), float(budget), store)


def widest(builder: Builder, way: Way, given: argparse.Namespace) -> int:
    """The largest size of word vectors that the budget has room for. Raises `BudgetError`."""

    def megabytes(size: int) -> float:
        recipe = way.recipe(size, given, builder.registry)
        return builder.preview(recipe, size_only=True).value("size_mb") or 0.0

    size = largest(megabytes, SIZES, way.budget)
    if megabytes(size) > way.budget:
        raise BudgetError(
            f"the budget must have room for word vectors of {size} dimensions: raise it, or store fewer references"
        )
    return size


def outcome(builder: Builder, way: Way, given: argparse.Namespace) -> Outcome:
    size = widest(builder, way, given)
    recipe = way.recipe(size, given, builder.registry)
    records = []
    for seed in range(given.seed, given.seed + given.seeds):
        start = time.monotonic()

        def watch(each: Progress, seed: int = seed, start: float = start) -> None:
            line = f"\r{way}, seed {seed}: {each.phase} {each.step}/{each.steps} {time.monotonic() - start:.0f} s"
            print(f"{line:<140}", end="", file=sys.stderr, flush=True)

        records.append(builder.scored(recipe, fidelity=1.0, seed=seed, progress=watch))
    targets = builder.examples["validation"].targets
    logits = [np.load(record.files["validation_logits"], allow_pickle=False) for record in records]
    return Outcome(size, tuple(records), np.stack([builder.task.correct(each, targets) for each in logits]))


def line(way: Way, found: Mapping[Way, Outcome]) -> str:
    own, without = found[way], found.get(Way(way.layers, way.budget, None))
    each_seed = ", ".join(f"{100 * (record.value('quality') or 0.0):.1f}" for record in own.records)
    cells = [f"{way.layers}", f"{way.budget}", str(way.store or "none"), f"{own.size}"]
    cells += [f"{own.mean('size_mb'):.3f}", f"{100 * own.mean('quality'):.2f} ({each_seed})"]
    if way.store is not None and without is not None:
        gain = paired_difference(own.right, without.right)
        cells += [f"{100 * gain.mean:+.2f}", f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}", gain.verdict]
    else:
        cells += [""] * 3
    return "| " + " | ".join(cells) + " |"


def table(builder: Builder, found: Mapping[Way, Outcome], given: argparse.Namespace) -> str:
    count = len(builder.examples["train"]), len(builder.examples["validation"])
    lines = [
        f"{builder.task.quality} in percent on {count[1]} validation rows, {count[0]} training rows, {given.steps} "
        f"steps of 32 texts, seeds {given.seed} to {given.seed + given.seeds - 1}; {machine()}.",
        "",
        "| layers | budget, MB | references | word width | MB | quality (each seed) | gain | 95 % interval | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [line(way, found) for way in found]) + "\n"


def latencies() -> str:
    """Students of random weights with and without references, in turns in one process."""
    stores = [None, *(Store(count, 1, 64) for count in (256, 1024, 8192))]
    sessions = [runtime.session(emit(student(each), pairs=False).SerializeToString()) for each in stores]
    lines = [f"p50 in µs of a student of one layer, batch 1, one thread, {machine()}.", ""]
    lines += [
        "| tokens | " + " | ".join(str(each or "none") for each in stores) + " |",
        "|---" * (len(stores) + 1) + "|",
    ]
    for length in LENGTHS:
        taken = [f"{1e6 * each:.0f}" for each in in_turns(sessions, length)]
        lines.append(f"| {length} | " + " | ".join(taken) + " |")
    return "\n".join(lines) + "\n"


def student(store: Store | None) -> Encoder:
    """One layer, 2,500 tokens, word vectors of 64 dimensions, 384 hidden ones, in 4 bits."""
    torch.manual_seed(0)
    layers = (LayerConfig(heads=6, head_size=32, ffn=384),)
    model = Encoder(EncoderConfig(2500, 64, 384, layers, 64, 150, "words", pooling="mean", pooler=False))
    if store is not None:
        shape = ReferenceConfig(store.references, 16, store.vectors, store.width)
        ids, table = torch.randint(1, 2500, (store.references, 16)), torch.randn(store.references, store.width)
        output = torch.randn(384, store.width), torch.randn(384)
        model.add_references(filled_references(shape, ids, table, output, padding_id=0))
    model.set_quantization(QuantSpec(4), QuantSpec(4))
    return model


def in_turns(sessions: Sequence[InferenceSession], length: int) -> list[float]:
    """The median of the seconds that each takes for one text."""
    ids = np.random.default_rng(0).integers(0, 2500, (1, length))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    taken = np.empty((len(sessions), TURNS))
    for turn, (number, each) in itertools.product(range(TURNS), enumerate(sessions)):
        each.run(["logits"], feeds)  # what the others left in the caches is gone
        start = time.perf_counter()
        each.run(["logits"], feeds)
        taken[number, turn] = time.perf_counter() - start
    medians: list[float] = np.median(taken, axis=1).tolist()
    return medians


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the teacher, as a folder of transformers")
    parser.add_argument("--data", required=True)
    parser.add_argument("--students", nargs="+", default=["1x0.45", "2x0.8"], help="layers x megabytes")
    parser.add_argument("--stores", nargs="+", default=["256x1x64", "1024x1x64"], help="references x vectors x width")
    parser.add_argument("--tokens", type=int, default=2500, help="tokens that are kept, at most")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a file for the table")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    asked = {name: getattr(given, name) for name in ("model", "data", "seed")}
    folder = default_folder() / "reference-study"
    builder = open_builder(read(asked), discover(), folder=folder, progress=lambda _: None)
    found: dict[Way, Outcome] = {}
    for way in ways(given):
        try:
            found[way] = outcome(builder, way, given)
        except (EicompressError, ArithmeticError) as error:
            print(f"\n{way}: {error}")
            continue
        print("\r" + line(way, found), flush=True)
        if given.output:
            write_whole(given.output, table(builder, found, given).encode())
    report = f"{table(builder, found, given)}\n{latencies()}"
    if given.output:
        write_whole(given.output, report.encode())
    print(f"\n{report}")


if __name__ == "__main__":
    main()
