"""What are vectors of pairs of tokens worth, at the same bytes and the same number of training steps?

    python studies/ngram_embedding/run.py --model TEACHER --data DATA [--layers 0 1] [--budgets 0.25 0.5]

A student in 2 bits is trained with and without `ngram_embedding`, with every seed, and scored on the validation split
as an artifact. Both are as large as the budget allows: what the pairs take, the one without has in wider word vectors.
The gain is over the best student without pairs of as many layers and bytes, example by example and seed by seed, and
its interval a bootstrap over both. Then comes what the pairs take of a text's time. What was built before is not built
again, so the same command goes on.
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
from eicompress.encoder.config import BigramConfig, EncoderConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
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

NONE = BigramConfig(1, 32)
"""One bucket tells no pair from another: the student without."""
SIZES = Fill("embedding_factorization", "size", 8, 384)
LEARNING_RATES = {0: 3e-3, 1: 1e-3}
"""Of students of no layers and of some."""
TRAINING = {"epochs": 100.0, "distortions": 0, "label_weight": 0.5}
LENGTHS = (16, 64)
TURNS = 400


@dataclass(frozen=True)
class Way:
    """A student: everything but the width of its word vectors, which uses up the budget."""

    layers: int
    budget: float
    """Megabytes."""
    tokens: int
    bigrams: BigramConfig

    def recipe(self, size: int, steps: int, registry: Registry) -> Recipe:
        rate = LEARNING_RATES[min(self.layers, 1)]
        written = [
            {"strategy": "vocabulary_pruning", "num_tokens": self.tokens},
            {"strategy": "thin_student", "layers": self.layers, "heads": 0.5, "neurons": 0.125},
            {"strategy": "embedding_factorization", "size": size},
            {"strategy": "ngram_embedding", "buckets": self.bigrams.buckets, "width": self.bigrams.width},
            {"strategy": "quantization", "embedding_bits": 2, "layer_bits": 2},
            {"strategy": "distillation", "max_steps": steps, "learning_rate": rate, **TRAINING},
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
    """Of as many layers and bytes, the students without pairs before those with."""
    tables = [NONE, *(BigramConfig(*map(int, each.split("x"))) for each in given.tables)]
    for layers, budget, shape, tokens in itertools.product(given.layers, given.budgets, tables, given.tokens):
        yield Way(layers, budget, tokens, shape)


def widest(builder: Builder, way: Way, given: argparse.Namespace) -> int:
    """The largest size of word vectors that the budget has room for. Raises `BudgetError`."""

    def megabytes(size: int) -> float:
        recipe = way.recipe(size, given.steps, builder.registry)
        return builder.preview(recipe, size_only=True).value("size_mb") or 0.0

    size = largest(megabytes, SIZES, way.budget)
    if megabytes(size) > way.budget:
        raise BudgetError(
            f"the budget must have room for word vectors of {size} dimensions: raise it, or keep fewer tokens"
        )
    return size


def outcome(builder: Builder, way: Way, given: argparse.Namespace) -> Outcome:
    size = widest(builder, way, given)
    recipe = way.recipe(size, given.steps, builder.registry)
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
    own, shape = found[way], way.bigrams
    spread = np.std([100 * (record.value("quality") or 0.0) for record in own.records])
    cells = [f"{way.layers}", f"{way.budget}", f"{way.tokens}", f"{own.size}"]
    cells += [
        "none" if shape == NONE else f"{shape.buckets} x {shape.width}",
        f"{100 * own.mean('quality'):.2f} ± {spread:.2f}",
    ]
    without = [
        found[each] for each in found if (each.layers, each.budget, each.bigrams) == (way.layers, way.budget, NONE)
    ]
    if shape != NONE and without:
        gain = paired_difference(own.right, max(without, key=lambda each: each.mean("quality")).right)
        cells += [f"{100 * gain.mean:+.2f}", f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}", gain.verdict]
    else:
        cells += [""] * 3
    return "| " + " | ".join([*cells, f"{own.mean('size_mb'):.3f}"]) + " |"


def table(builder: Builder, found: Mapping[Way, Outcome], given: argparse.Namespace) -> str:
    count = len(builder.examples["train"]), len(builder.examples["validation"])
    lines = [
        f"{builder.task.quality} in percent on {count[1]} validation rows, {count[0]} training rows, "
        f"{given.steps} steps of 32 texts, seeds {given.seed} to {given.seed + given.seeds - 1}.",
        "",
        "| layers | budget, MB | tokens | word width | pairs | quality | gain | 95 % interval | verdict | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [line(way, found) for way in found]) + "\n"


def latencies(tables: Sequence[str]) -> str:
    """Students of random weights with and without pairs, in turns in one process."""
    shapes = [None, *(BigramConfig(*map(int, each.split("x"))) for each in tables)]
    names = ["none" if each is None else f"{each.buckets} x {each.width}" for each in shapes]
    lines = [f"p50 in µs, batch 1, one thread, {machine()}.", "", "| layers | tokens | " + " | ".join(names) + " |"]
    lines += ["|---" * (len(names) + 2) + "|"]
    for layers in (0, 1):
        sessions = [runtime.session(emit(student(layers, each), pairs=False).SerializeToString()) for each in shapes]
        for length in LENGTHS:
            taken = [f"{1e6 * each:.0f}" for each in in_turns(sessions, length)]
            lines.append(f"| {layers} | {length} | " + " | ".join(taken) + " |")
    return "\n".join(lines) + "\n"


def student(layers: int, bigrams: BigramConfig | None) -> Encoder:
    """4,000 tokens, word vectors of 64 dimensions, 384 hidden ones, in 2 bits."""
    shape = LayerConfig(heads=6, head_size=32, ffn=192)
    config = EncoderConfig(4000, 64, 384, (shape,) * layers, 64, 64, "words", pooling="mean", pooler=False)
    torch.manual_seed(0)
    model = Encoder(config)
    if bigrams is not None:
        model.add_bigrams(torch.randn(bigrams.buckets, bigrams.width), torch.randn(384, bigrams.width))
    model.set_quantization(QuantSpec(2), QuantSpec(2))
    return model


def in_turns(sessions: Sequence[InferenceSession], length: int) -> Iterator[float]:
    """The median of the seconds that each takes for one text."""
    ids = np.random.default_rng(0).integers(0, 4000, (1, length))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    taken = np.empty((len(sessions), TURNS))
    for turn, (number, each) in itertools.product(range(TURNS), enumerate(sessions)):
        each.run(["logits"], feeds)  # what the others left in the caches is gone
        start = time.perf_counter()
        each.run(["logits"], feeds)
        taken[number, turn] = time.perf_counter() - start
    yield from np.median(taken, axis=1).tolist()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the teacher, as a folder of transformers")
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher-training", choices=("probe", "finetune"), default="finetune")
    parser.add_argument("--layers", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--budgets", type=float, nargs="*", default=[0.25, 0.5], help="megabytes")
    parser.add_argument("--tokens", type=int, nargs="*", default=[1500, 6000], help="tokens that are kept, at most")
    parser.add_argument("--tables", nargs="*", default=["4096x32"], help="buckets x width")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a file for the tables")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    asked = {name: getattr(given, name) for name in ("model", "data", "seed", "teacher_training")}
    builder = open_builder(
        read(asked), discover(), folder=default_folder() / "ngram-embedding-study", progress=lambda _: None
    )
    found: dict[Way, Outcome] = {}
    for way in ways(given):
        try:
            found[way] = outcome(builder, way, given)
        except (EicompressError, ArithmeticError) as error:
            print(f"\n{way}: {error}")
            continue
        print("\r" + line(way, found), flush=True)
    report = f"{table(builder, found, given)}\n{latencies(given.tables)}"
    if given.output:
        write_whole(given.output, report.encode())
    print(f"\n{report}")


if __name__ == "__main__":
    main()
