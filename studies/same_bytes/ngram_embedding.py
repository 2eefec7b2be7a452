"""What are vectors of pairs of tokens worth, at the same bytes and the same number of training steps?

    python studies/same_bytes/ngram_embedding.py --model TEACHER --data DATA [--layers 0 1] [--budgets 0.25 0.5]

A student in 2 bits is trained with and without `ngram_embedding`, with every seed, and scored on the validation split
as an artifact. Both are as large as the budget allows: what the pairs take, the one without has in wider word vectors.
The gain is over the best student without pairs of as many layers and bytes, example by example and seed by seed, and
its interval a bootstrap over both. Then comes what the pairs take of a text's time. What was built before is not built
again, so the same command goes on.
"""

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from students import LENGTHS, Outcome, arguments, described, gain, microseconds, outcomes, session_of

from eicompress.cache import default_folder, write_whole
from eicompress.encoder.config import BigramConfig, EncoderConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.metrics.this_machine import machine
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.trials.builder import Builder, open_builder

NONE = BigramConfig(1, 32)
"""One bucket tells no pair from another: the student without."""
LEARNING_RATES = {0: 3e-3, 1: 1e-3}
"""Of students of no layers and of some."""
TRAINING = {"epochs": 100.0, "distortions": 0, "label_weight": 0.5}


@dataclass(frozen=True)
class Way:
    """A student, in as far as students differ here."""

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


def ways(given: argparse.Namespace) -> Iterator[Way]:
    """Of as many layers and bytes, the students without pairs before those with."""
    tables = [NONE, *(BigramConfig(*map(int, each.split("x"))) for each in given.tables)]
    for layers, budget, shape, tokens in itertools.product(given.layers, given.budgets, tables, given.tokens):
        yield Way(layers, budget, tokens, shape)


def line(way: Way, found: Mapping[Way, Outcome]) -> str:
    own, shape = found[way], way.bigrams
    cells = [f"{way.layers}", f"{way.budget}", f"{way.tokens}", f"{own.size}"]
    cells += [
        "none" if shape == NONE else f"{shape.buckets} x {shape.width}",
        f"{100 * own.mean('quality'):.2f} ± {np.std(own.qualities):.2f}",
    ]
    without = [
        found[each] for each in found if (each.layers, each.budget, each.bigrams) == (way.layers, way.budget, NONE)
    ]
    best = max(without, key=lambda each: each.mean("quality")) if shape != NONE and without else None
    return "| " + " | ".join([*cells, *gain(own, best), f"{own.mean('size_mb'):.3f}"]) + " |"


def table(builder: Builder, found: Mapping[Way, Outcome], given: argparse.Namespace) -> str:
    lines = [
        f"{described(builder, given)}.",
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
        models = [session_of(student(layers, each)) for each in shapes]
        lines += [f"| {layers} | {length} | " + microseconds(models, 4000, length) + " |" for length in LENGTHS]
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


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--teacher-training", choices=("probe", "finetune"), default="finetune")
    parser.add_argument("--layers", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--budgets", type=float, nargs="*", default=[0.25, 0.5], help="megabytes")
    parser.add_argument("--tokens", type=int, nargs="*", default=[1500, 6000], help="tokens that are kept, at most")
    parser.add_argument("--tables", nargs="*", default=["4096x32"], help="buckets x width")
    given = parser.parse_args()
    asked = {name: getattr(given, name) for name in ("model", "data", "seed", "teacher_training")}
    folder = default_folder() / "ngram-embedding-study"
    builder = open_builder(read(asked), discover(), folder=folder, progress=lambda _: None)
    found = outcomes(builder, ways(given), given, line)
    report = f"{table(builder, found, given)}\n{latencies(given.tables)}"
    if given.output:
        write_whole(given.output, report.encode())
    print(f"\n{report}")


if __name__ == "__main__":
    main()
