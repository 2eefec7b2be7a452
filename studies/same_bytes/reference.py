"""What are references of similar training texts worth, at the same bytes and the same number of training steps?

    python studies/same_bytes/reference.py --model TEACHER --data DATA [--students 1x0.45 2x0.8] [--stores 256x1x64]

A student in 4 bits is trained with and without `reference`, with every seed, and scored on the validation split as an
artifact. All are as large as the budget allows: what a store takes, the student without has in wider word vectors. The
gain is over that student, example by example and seed by seed, and its interval a bootstrap over both. What was built
before is not built again, so the same command goes on. At last comes what a search among references takes of a text's
time.
"""

import argparse
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from students import LENGTHS, Outcome, arguments, described, gain, microseconds, outcomes, session_of

from eicompress.cache import default_folder, write_whole
from eicompress.encoder.config import EncoderConfig, LayerConfig, ReferenceConfig
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.encoder.references import filled_references
from eicompress.metrics.this_machine import machine
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.trials.builder import Builder, open_builder

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
    """A student, in as far as students differ here."""

    layers: int
    budget: float
    """Megabytes."""
    tokens: int
    store: Store | None

    def recipe(self, size: int, steps: int, registry: Registry) -> Recipe:
        store = [] if self.store is None else [{"strategy": "reference", **vars(self.store)}]
        written = [
            {"strategy": "vocabulary_pruning", "num_tokens": self.tokens},
            {"strategy": "thin_student", "layers": self.layers, "heads": 0.5, "neurons": 0.25},
            {"strategy": "embedding_factorization", "size": size},
            *store,
            {"strategy": "quantization", "embedding_bits": 4, "layer_bits": 4},
            {"strategy": "distillation", "max_steps": steps, **TRAINING},
        ]
        return Recipe.from_json(written, registry.strategies)


def ways(given: argparse.Namespace) -> Iterator[Way]:
    """Of each number of layers and bytes, the student without references before those with."""
    stores = [None, *(Store(*map(int, each.split("x"))) for each in given.stores)]
    for student, store in itertools.product(given.students, stores):
        layers, budget = student.split("x")
        yield Way(int(layers), float(budget), given.tokens, store)


def line(way: Way, found: Mapping[Way, Outcome]) -> str:
    own = found[way]
    without = found.get(Way(way.layers, way.budget, way.tokens, None)) if way.store else None
    each_seed = ", ".join(f"{each:.1f}" for each in own.qualities)
    cells = [f"{way.layers}", f"{way.budget}", str(way.store or "none"), f"{own.size}"]
    cells += [f"{own.mean('size_mb'):.3f}", f"{100 * own.mean('quality'):.2f} ({each_seed})"]
    return "| " + " | ".join([*cells, *gain(own, without)]) + " |"


def table(builder: Builder, found: Mapping[Way, Outcome], given: argparse.Namespace) -> str:
    lines = [
        f"{described(builder, given)}; {machine()}.",
        "",
        "| layers | budget, MB | references | word width | MB | quality (each seed) | gain | 95 % interval | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [line(way, found) for way in found]) + "\n"


def latencies() -> str:
    """Students of random weights with and without references, in turns in one process."""
    stores = [None, *(Store(count, 1, 64) for count in (256, 1024, 8192))]
    models = [session_of(student(each)) for each in stores]
    lines = [f"p50 in µs of a student of one layer, batch 1, one thread, {machine()}.", ""]
    lines += [
        "| tokens | " + " | ".join(str(each or "none") for each in stores) + " |",
        "|---" * (len(stores) + 1) + "|",
    ]
    lines += [f"| {length} | " + microseconds(models, 2500, length) + " |" for length in LENGTHS]
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


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--students", nargs="+", default=["1x0.45", "2x0.8"], help="layers x megabytes")
    parser.add_argument("--stores", nargs="+", default=["256x1x64", "1024x1x64"], help="references x vectors x width")
    parser.add_argument("--tokens", type=int, default=2500, help="tokens that are kept, at most")
    given = parser.parse_args()
    asked = {name: getattr(given, name) for name in ("model", "data", "seed")}
    folder = default_folder() / "reference-study"
    builder = open_builder(read(asked), discover(), folder=folder, progress=lambda _: None)
    report = f"{table(builder, outcomes(builder, ways(given), given, line), given)}\n{latencies()}"
    if given.output:
        write_whole(given.output, report.encode())
    print(f"\n{report}")


if __name__ == "__main__":
    main()
