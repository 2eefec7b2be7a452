"""Does a short distillation rank students as the full one does?

    python studies/autodistill/run.py --model builtin:minilm --data builtin:docstrings --output OUT
    python studies/autodistill/run.py ... --count 10 --rows 1000 --validation-rows 500 --full 0.3     # small

Draws students at random from the search space `autodistill`, trains each for a short share of the training and in full,
and prints Spearman's correlation of the two qualities on validation with its 95 % interval. Below 0.7 it is said to be
unreliable. A training that has ended is not run again, so the same command goes on where it was interrupted.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.samplers import RandomSampler

from eicompress.cache import Cache
from eicompress.contracts import Examples
from eicompress.errors import Inapplicable
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.study.agreement import TRUSTED, agreement
from eicompress.study.space import SearchSpace
from eicompress.study.space_file import read_space
from eicompress.trials.builder import Builder, open_builder
from eicompress.values import Progress, digest_of, seed_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--teacher-training", default="probe")
    parser.add_argument("--space", default="autodistill")
    parser.add_argument("--count", type=int, default=20, help="students (default: %(default)s)")
    parser.add_argument("--short", type=float, help="share of the training (default: the space's fidelity)")
    parser.add_argument("--full", type=float, default=1.0, help="share that counts as all of it (default: %(default)s)")
    parser.add_argument("--rows", type=int, help="of the training split (default: all)")
    parser.add_argument("--validation-rows", type=int, help="(default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="where trainings are kept")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    builder = opened(asked)
    space = read_space(asked.space, builder.registry)
    short = asked.full * (asked.short or space.fidelity)
    pairs = []
    print("| layers | heads | neurons | hidden | word dimensions | MB | short, % | full, % |\n|" + "---|" * 8)
    for recipe in students(builder, space, asked):
        size = builder.preview(recipe, size_only=True).value("size_mb")
        qualities = [quality(builder, recipe, share, asked.seed) for share in (short, asked.full)]
        steps = {step["strategy"]: step for step in recipe.to_json()}
        thin, words = steps["thin_student"], steps["embedding_factorization"]
        shape = [thin["layers"], *(f"{thin[name]:.2f}" for name in ("heads", "neurons", "hidden")), words["size"]]
        cells = [*shape, f"{size:.2f}", *(f"{100 * each:.1f}" for each in qualities)]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
        pairs.append((qualities[0], qualities[1]))
    found = agreement(short, asked.full, pairs)
    print(f"\n{found}")
    if found.correlation is not None:
        reliable = "unreliable" if found.doubtful else "reliable enough"
        print(f"The short training is {reliable} for ranking students (the bound is {TRUSTED}).")


def students(builder: Builder, space: SearchSpace, asked: argparse.Namespace) -> Iterator[Recipe]:
    """Different students, drawn at random."""
    study = optuna.create_study()
    seen: set[str] = set()
    while len(seen) < asked.count:
        study.sampler = RandomSampler(seed=seed_of(asked.seed, len(study.trials)))
        recipe = space.suggest(study.ask())
        if recipe.digest in seen:
            continue
        try:
            builder.preview(recipe, size_only=True)
        except Inapplicable:
            continue
        seen.add(recipe.digest)
        yield recipe


def quality(builder: Builder, recipe: Recipe, share: float, seed: int) -> float:
    found = builder.scored(recipe, fidelity=share, seed=seed, progress=silent).value("quality")
    assert found is not None
    return found


def silent(_: Progress) -> None:
    return None


def opened(asked: argparse.Namespace) -> Builder:
    """The builder, with fewer rows where that is asked for."""
    words = {name: getattr(asked, name) for name in ("model", "data", "text", "label", "teacher_training", "seed")}
    output = asked.output.resolve()
    builder = open_builder(read(words), discover(only=""), folder=output, progress=silent)
    counts = {"train": asked.rows, "validation": asked.validation_rows}
    examples = {name: some(each, counts.get(name), asked.seed) for name, each in builder.examples.items()}
    digest = digest_of([builder.digest, counts, asked.seed])
    return replace(builder, examples=examples, digest=digest, cache=Cache(output / "cache"))


def some(examples: Examples, rows: int | None, seed: int) -> Examples:
    """This many rows, or all of them; drawn, since data are often sorted by label."""
    if rows is None or rows >= len(examples):
        return examples
    return examples.take(np.sort(np.random.default_rng(seed).permutation(len(examples))[:rows]).tolist())


if __name__ == "__main__":
    main()
