"""Students with and without a part at the same bytes: built, scored and timed, for the studies beside this file.

Each is as large as its budget allows: what the part takes, the student without it has in wider word vectors.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from onnxruntime import InferenceSession

from eicompress import runtime
from eicompress.encoder.model import Encoder
from eicompress.errors import BudgetError, EicompressError
from eicompress.export.emit import emit
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.study.fit_to_budget import largest
from eicompress.study.space import Fill
from eicompress.study.with_seeds import WithSeeds, scored_with_seeds
from eicompress.trials.builder import Builder
from eicompress.values import Progress

SIZES = Fill("embedding_factorization", "size", 8, 383)
"""Below the hidden width, so that word vectors are projected."""
LENGTHS = (16, 64)
TURNS = 400


class Way(Protocol):
    """A student: everything but the width of its word vectors, which uses up the budget."""

    @property
    def budget(self) -> float:
        """Megabytes."""

    def recipe(self, size: int, steps: int, registry: Registry) -> Recipe: ...


Student = TypeVar("Student", bound=Way)


@dataclass(frozen=True)
class Outcome:
    """What a way reached, seed by seed."""

    size: int
    """Of its word vectors."""
    built: WithSeeds

    def mean(self, name: str) -> float:
        return self.built.mean(name)

    @property
    def qualities(self) -> list[float]:
        """In percent, one for each seed."""
        return [100 * each for each in self.built.qualities]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What both studies are asked for."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the teacher, as a folder of transformers")
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a file for the tables")
    return parser


def outcomes(
    builder: Builder,
    ways: Iterable[Student],
    given: argparse.Namespace,
    line: Callable[[Student, Mapping[Student, Outcome]], str],
) -> dict[Student, Outcome]:
    """Each way's outcome, printed as it comes; a way that cannot be built is left out with its reason."""
    found: dict[Student, Outcome] = {}
    for way in ways:
        try:
            found[way] = _outcome(builder, way, given)
        except (EicompressError, ArithmeticError) as error:
            print(f"\n{way}: {error}")
            continue
        print("\r" + line(way, found), flush=True)
    return found


def gain(own: Outcome, without: Outcome | None) -> list[str]:
    """Three cells: the gain over the student without, in points, its interval, and what it says."""
    if without is None:
        return [""] * 3
    found = own.built.gain_over(without.built)
    return [f"{100 * found.mean:+.2f}", f"{100 * found.low:+.2f} to {100 * found.high:+.2f}", found.verdict]


def described(builder: Builder, given: argparse.Namespace) -> str:
    """What the numbers of a table are."""
    rows = {split: len(builder.examples[split]) for split in ("validation", "train")}
    return (
        f"{builder.task.quality} in percent on {rows['validation']} validation rows, {rows['train']} training rows, "
        f"{given.steps} steps of 32 texts, seeds {given.seed} to {given.seed + given.seeds - 1}"
    )


def session_of(model: Encoder) -> InferenceSession:
    return runtime.session(emit(model, pairs=False).SerializeToString())


def in_turns(sessions: Sequence[InferenceSession], tokens: int, length: int) -> list[float]:
    """The median of the microseconds that each of some models takes for one text of random tokens below `tokens`."""
    ids = np.random.default_rng(0).integers(0, tokens, (1, length))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    taken = np.empty((len(sessions), TURNS))
    for turn, (number, each) in itertools.product(range(TURNS), enumerate(sessions)):
        each.run(["logits"], feeds)  # what the others left in the caches is gone
        start = time.perf_counter()
        each.run(["logits"], feeds)
        taken[number, turn] = time.perf_counter() - start
    return [1e6 * float(each) for each in np.median(taken, axis=1)]


def microseconds(sessions: Sequence[InferenceSession], tokens: int, length: int) -> str:
    """The cells of `in_turns`."""
    return " | ".join(f"{each:.0f}" for each in in_turns(sessions, tokens, length))


def _outcome(builder: Builder, way: Way, given: argparse.Namespace) -> Outcome:
    size = _widest(builder, way, given.steps)
    recipe = way.recipe(size, given.steps, builder.registry)

    def watch(seed: int, each: Progress) -> None:
        line = f"\r{way}, seed {seed}: {each.phase} {each.step}/{each.steps}"
        print(f"{line:<140}", end="", file=sys.stderr, flush=True)

    seeds = range(given.seed, given.seed + given.seeds)
    return Outcome(size, scored_with_seeds(builder, recipe, seeds, watch))


def _widest(builder: Builder, way: Way, steps: int) -> int:
    """The largest size of word vectors that the budget has room for. Raises `BudgetError`."""

    def megabytes(size: int) -> float:
        recipe = way.recipe(size, steps, builder.registry)
        return builder.preview(recipe, size_only=True).value("size_mb") or 0.0

    size = largest(megabytes, SIZES, way.budget)
    if megabytes(size) > way.budget:
        raise BudgetError(
            f"the budget must have room for word vectors of {size} dimensions: raise it, or make the rest smaller"
        )
    return size
