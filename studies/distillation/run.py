"""What is each part of distillation worth, at the same bytes and the same number of training steps?

    python studies/distillation/run.py --model TEACHER --data DATA [--unlabelled TEXT] [--rows 1000]

One student, of at most 1 MB for a teacher of MiniLM's size, is trained in every way below with every seed and scored on
the validation split as an artifact. A gain is over the row that stands in "over", example by example and seed by seed:
its interval is a bootstrap over both. What was built before is not built again, so the same command goes on.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from eicompress.cache import default_folder, write_whole
from eicompress.errors import EicompressError
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.study.with_seeds import WithSeeds, scored_with_seeds
from eicompress.trials.builder import Builder, open_builder
from eicompress.values import Progress, digest_of

SHAPE = (
    {"strategy": "vocabulary_pruning"},
    {"strategy": "thin_student", "layers": 2, "heads": 0.5, "neurons": 0.125},
    {"strategy": "embedding_factorization", "size": 96},
)
BITS = {"strategy": "quantization", "embedding_bits": 4, "layer_bits": 4}


@dataclass(frozen=True)
class Way:
    """A way to train the student: a strategy with its knobs, and the way over which it should gain."""

    name: str
    over: str
    strategy: str
    knobs: Mapping[str, object]
    before: tuple[Mapping[str, object], ...] = ()
    """Steps between the student's shape and its bits."""

    def recipe(self, registry: Registry, steps: int) -> Recipe:
        """Each way takes the same number of steps, whatever text there is."""
        first = sum(each["strategy"] == LAYERS["strategy"] for each in self.before) * round(LAYER_SHARE * steps)
        before = [
            {**each, "max_steps": first} if each["strategy"] == LAYERS["strategy"] else each for each in self.before
        ]
        last = {"strategy": self.strategy, "epochs": 100.0, "max_steps": steps - first, **self.knobs}
        return Recipe.from_json([*SHAPE, *before, BITS, last], registry.strategies)


PLAIN, TEXT, FEATURES = {"distortions": 0}, {"distortions": 3}, {"state_weight": 1.0}
HEAD = {**TEXT, "head": "frozen"}
LEARNING = {**TEXT, "head": "tied", "teacher_updates": "joint"}
SOON = {**LEARNING, "start": 0.0}
NEAR_WORDS = ({"strategy": "augmentation", "copies": 3},)
GENERAL = ({"strategy": "general_distillation"},)
LAYERS = {"strategy": "layer_distillation", "epochs": 100.0}
HIDDEN = (LAYERS,)
RELATIONS = ({**LAYERS, "hidden_weight": 0.0, "relation_weight": 1.0},)
IN_TURN = ({**LAYERS, "hidden_weight": 0.0, "feature_map_weight": 1.0, "attention_weight": 1.0, "progressive": True},)
LAYER_SHARE = 0.3
"""Of the steps, for the layers where they learn first."""
WAYS = (
    Way("labels alone", "", "distillation", {**PLAIN, "label_weight": 1.0}),
    Way("+ logits", "labels alone", "distillation", PLAIN),
    Way("+ features", "+ logits", "distillation", {**PLAIN, **FEATURES}),
    Way("+ teacher's head, frozen", "+ features", "cross_distillation", {**HEAD, **PLAIN}),
    Way("logits + text", "+ logits", "distillation", TEXT),
    Way("features + text", "logits + text", "distillation", {**TEXT, **FEATURES}),
    Way("head + text", "features + text", "cross_distillation", HEAD),
    Way("head + text, a copy that learns", "features + text", "cross_distillation", {**HEAD, "head": "copy"}),
    Way("cross: the teacher's head learns", "head + text", "cross_distillation", LEARNING),
    Way(
        "cross: its head in turns",
        "head + text",
        "cross_distillation",
        {**LEARNING, "teacher_updates": "alternating", "student_steps": 4},
    ),
    Way("cross: its head at a fifth of the rate", "head + text", "cross_distillation", {**SOON, "teacher_rate": 0.2}),
    Way("cross: its head at the student's rate", "head + text", "cross_distillation", {**SOON, "teacher_rate": 1.0}),
    Way("features + text with near words", "features + text", "distillation", {**PLAIN, **FEATURES}, NEAR_WORDS),
    Way(
        "general distillation, features + text",
        "features + text",
        "distillation",
        {**TEXT, **FEATURES},
        GENERAL,
    ),
    Way("general distillation, head + text", "head + text", "cross_distillation", HEAD, GENERAL),
    # The teacher runs beside the student from here on.
    Way("hidden states, features + text", "features + text", "distillation", {**TEXT, **FEATURES}, HIDDEN),
    Way("relations, features + text", "features + text", "distillation", {**TEXT, **FEATURES}, RELATIONS),
    Way("one layer after the other, features + text", "features + text", "distillation", {**TEXT, **FEATURES}, IN_TURN),
    Way("cross: its last layer learns", "head + text", "cross_distillation", {**LEARNING, "teacher_layers": 1}),
    Way(
        "cross: its upper half learns from the start",
        "head + text",
        "cross_distillation",
        {**SOON, "teacher_layers": 3, "teacher_rate": 0.1},
    ),
    # With a probe (`--teacher-training probe`) this fine-tunes the teacher beside the student.
    Way(
        "cross: all its layers learn from the start",
        "head + text",
        "cross_distillation",
        {**SOON, "teacher_layers": 24, "teacher_rate": 0.1},
    ),
)


def shortened(builder: Builder, rows: int) -> Builder:
    """The same with this number of rows of the training split, drawn once: data are often sorted by label."""
    train = builder.examples["train"]
    few = train.take(np.sort(np.random.default_rng(0).permutation(len(train))[:rows]).tolist())
    return replace(
        builder, examples={**builder.examples, "train": few}, digest=digest_of([builder.digest, "rows", rows])
    )


def watch(way: str, seed: int, each: Progress) -> None:
    share = f"{each.step}/{each.steps}" if each.steps else ""
    print(f"\r{f'{way}, seed {seed}: {each.phase} {share}':<100}", end="", file=sys.stderr, flush=True)


def line(way: Way, found: Mapping[str, WithSeeds]) -> str:
    own = found[way.name]
    cells = [way.name, f"{100 * own.mean('quality'):.2f} ± {100 * np.std(own.qualities):.2f}"]
    if way.over in found:
        gain = own.gain_over(found[way.over])
        cells += [way.over, f"{100 * gain.mean:+.2f}", f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}", gain.verdict]
    else:
        cells += [""] * 4
    seconds = fmean(record.seconds_by_phase.get("training", 0.0) for record in own.records)
    cells += [f"{own.mean('size_mb'):.3f}", f"{seconds:.0f}"]
    return "| " + " | ".join(cells) + " |"


def table(builder: Builder, found: Mapping[str, WithSeeds], given: argparse.Namespace) -> str:
    count = len(builder.examples["train"]), len(builder.examples["validation"])
    lines = [
        f"{builder.task.quality} in percent on {count[1]} validation rows, {count[0]} training rows, "
        f"{given.steps} steps of 32 texts, seeds {given.seed} to {given.seed + given.seeds - 1}.",
        "",
        "| way | quality | over | gain | 95 % interval | verdict | MB | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [line(way, found) for way in WAYS if way.name in found]) + "\n"


def builder_of(given: argparse.Namespace, registry: Registry) -> Builder:
    asked = {name: getattr(given, name) for name in ("model", "data", "seed", "teacher_training", "unlabelled")}
    made = open_builder(read(asked), registry, folder=default_folder() / "distillation-study", progress=lambda _: None)
    return shortened(made, given.rows) if given.rows else made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the teacher, as a folder of transformers")
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher-training", choices=("probe", "finetune"), default="finetune")
    parser.add_argument("--unlabelled", nargs="*", default=(), help="texts for general distillation")
    parser.add_argument("--rows", type=int, default=0, help="number of rows of the training split that are used")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=(), metavar="WAY", help="these ways alone")
    parser.add_argument("--output", type=Path, help="a file for the table")
    given = parser.parse_args()
    registry = discover()
    builder = builder_of(given, registry)
    seeds = range(given.seed, given.seed + given.seeds)
    found: dict[str, WithSeeds] = {}
    for way in WAYS:
        if given.only and way.name not in given.only:
            continue
        recipe = way.recipe(registry, given.steps)
        try:
            found[way.name] = scored_with_seeds(builder, recipe, seeds, partial(watch, way.name))
        except (EicompressError, ArithmeticError) as error:
            print(f"\n{way.name}: {error}")
            continue
        print("\r" + line(way, found), flush=True)
        if given.output:
            write_whole(given.output, table(builder, found, given).encode())
    print(f"\n{table(builder, found, given)}")


if __name__ == "__main__":
    main()
