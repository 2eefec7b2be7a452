"""Do MobileBERT's and ConvBERT's layers win over a plain thin student of the same bytes and the same milliseconds?

    python studies/same_bytes/blocks.py --model TEACHER --data DATA [--budget 1.91]

A student with bottlenecks and one with mixed attention and grouped matrices, in 4 bits, are made as large as the budget
allows by the width of their word vectors. Beside each stands a thin student of the same bytes: of all numbers of layers
and shares of neurons, the one whose latency is nearest. All are trained for the same number of steps, with every seed,
and scored on the validation split as artifacts. The gain is over the thin student, example by example and seed by seed,
and its interval a bootstrap over both. At last all are timed in turns. What was built before is not built again.
"""

import argparse
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnxruntime import InferenceSession
from students import Outcome, arguments, described, gain, in_turns, microseconds, outcomes

from eicompress import runtime
from eicompress.cache import default_folder, write_whole
from eicompress.metrics.this_machine import machine
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.trials.builder import Builder, open_builder

TOKENS = 4000
LEAST_TOKENS = 1000
"""That each student has, for random texts."""
LENGTHS = (16, 32)
"""Of texts; students have no more positions than clinc150's texts need."""
NEAREST = 6
"""Shapes that are timed in turns."""
USUAL_SIZE = 128
"""Of word vectors, where only the latency of a shape is asked for."""
LEAST_SIZE = 32
"""A thin student that has no room for word vectors of this width is no rival."""
LAYERS = (1, 2, 3, 4, 5, 6)
NEURONS = (0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75, 1.0)
TRAINING = {"epochs": 100.0, "distortions": 1, "label_weight": 0.5, "learning_rate": 1e-3}
TRANSFER = {"feature_map_weight": 100.0, "mean_weight": 5000.0, "variance_weight": 5.0, "attention_weight": 1.0}
"""MobileBERT's losses of its progressive transfer."""

Steps = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Way:
    """A student, in as far as students differ here."""

    name: str
    budget: float
    """Megabytes."""
    layers: int
    neurons: float
    """Share of each layer's."""
    against: str = ""
    """The name of the student that this one is the thin rival of."""

    def recipe(self, size: int, steps: int, registry: Registry) -> Recipe:
        blocks, transfer = PARTS.get(self.name, ((), ()))
        apart = steps // 2 if transfer else 0
        written = [
            {"strategy": "vocabulary_pruning", "num_tokens": TOKENS},
            {"strategy": "thin_student", "layers": self.layers, "neurons": self.neurons},
            {"strategy": "embedding_factorization", "size": size},
            *blocks,
            {"strategy": "quantization", "embedding_bits": 4, "layer_bits": 4},
            *({**each, "max_steps": apart} for each in transfer),
            {"strategy": "distillation", "max_steps": steps - apart, **TRAINING},
        ]
        return Recipe.from_json(written, registry.strategies)


PARTS: Mapping[str, tuple[Steps, Steps]] = {
    "mobilebert": (
        (
            {"strategy": "swap_norm"},
            {"strategy": "swap_activation"},
            {"strategy": "bottleneck", "width": 128, "blocks": 2, "trigrams": True},
        ),
        (
            {
                "strategy": "layer_distillation",
                "progressive": True,
                "hidden_weight": 0.0,
                "epochs": 100.0,
                "distortions": 1,
                **TRANSFER,
            },
        ),
    ),
    "convbert": (({"strategy": "mixed_attention"}, {"strategy": "grouped_ffn", "groups": 2}), ()),
}
"""What a system's student has before it is quantized, and what trains it before the distillation, for half of the
steps."""
SHAPES = {"mobilebert": (4, 0.5), "convbert": (3, 0.5)}
"""Layers, and share of neurons, of the systems' students: MobileBERT's as in the recipe of its search space, ConvBERT's
with twice the neurons of its recipe, since two groups halve the weights."""


def ways(builder: Builder, given: argparse.Namespace) -> Iterator[Way]:
    """Each thin rival before its system's student."""
    for name in given.systems:
        way = Way(name, given.budget, *SHAPES[name])
        yield rival(builder, way, given.steps)
        yield way


def rival(builder: Builder, way: Way, steps: int) -> Way:
    """The thin student of the same bytes whose latency is nearest: the nearest in their previews are timed in turns."""

    def latency(each: Way) -> float:
        return builder.preview(each.recipe(USUAL_SIZE, steps, builder.registry)).value("latency_ms") or math.inf

    def megabytes(each: Way) -> float:
        recipe = each.recipe(LEAST_SIZE, steps, builder.registry)
        return builder.preview(recipe, size_only=True).value("size_mb") or math.inf

    wanted = latency(way)
    shapes = (Way("thin", way.budget, *shape, against=way.name) for shape in itertools.product(LAYERS, NEURONS))
    within = [each for each in shapes if megabytes(each) <= way.budget]
    near = sorted(within, key=lambda each: abs(math.log(latency(each) / wanted)))[:NEAREST]
    sessions = [session(builder, each, USUAL_SIZE, steps) for each in (way, *near)]
    exactly, *others = in_turns(sessions, LEAST_TOKENS, LENGTHS[0])
    return min(zip(near, others, strict=True), key=lambda each: abs(math.log(each[1] / exactly)))[0]


def session(builder: Builder, way: Way, size: int, steps: int) -> InferenceSession:
    """The student untrained, which takes as long as the trained one."""
    record = builder.exported(way.recipe(size, steps, builder.registry), size_only=False, careful=False)
    return runtime.load(record.files["artifact"]).session


def line(way: Way, found: Mapping[Way, Outcome]) -> str:
    own = found[way]
    without = next((each for thin, each in found.items() if thin.against == way.name), None)
    each_seed = ", ".join(f"{each:.1f}" for each in own.qualities)
    seconds = max(each.seconds_by_phase.get("training", 0.0) for each in own.built.records)
    cells = [named(way), f"{way.layers}", f"{way.neurons:g}", f"{own.size}", f"{own.mean('size_mb'):.3f}"]
    cells += [f"{seconds:.0f} s", f"{100 * own.mean('quality'):.2f} ({each_seed})"]
    return "| " + " | ".join([*cells, *gain(own, without)]) + " |"


def named(way: Way) -> str:
    return f"thin, beside {way.against}" if way.against else way.name


def table(builder: Builder, found: Mapping[Way, Outcome], given: argparse.Namespace) -> str:
    lines = [
        f"{described(builder, given)}; at most {given.budget:g} MB; {machine()}.",
        "",
        "| student | layers | neurons | word width | MB | training | quality (each seed) | gain | 95 % interval "
        "| verdict |",
        "|---" * 10 + "|",
    ]
    return "\n".join(lines + [line(way, found) for way in found]) + "\n"


def latencies(builder: Builder, found: Mapping[Way, Outcome], steps: int) -> str:
    """All students in turns in one process."""
    models = [session(builder, way, own.size, steps) for way, own in found.items()]
    lines = [f"p50 in µs, batch 1, one thread, {machine()}.", ""]
    lines += ["| tokens | " + " | ".join(map(named, found)) + " |", "|---" * (len(found) + 1) + "|"]
    lines += [f"| {length} | {microseconds(models, LEAST_TOKENS, length)} |" for length in LENGTHS]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--budget", type=float, default=1.91, help="megabytes")
    parser.add_argument("--systems", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = parser.parse_args()
    asked = {name: getattr(given, name) for name in ("model", "data", "seed")}
    folder = default_folder() / "blocks-study"
    builder = open_builder(read(asked), discover(), folder=folder, progress=lambda _: None)
    found = outcomes(builder, ways(builder, given), given, line)
    report = f"{table(builder, found, given)}\n{latencies(builder, found, given.steps)}"
    if given.output:
        write_whole(given.output, report.encode())
    print(f"\n{report}")


if __name__ == "__main__":
    main()
