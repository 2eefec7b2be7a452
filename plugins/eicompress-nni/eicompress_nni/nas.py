"""NNI's regularized evolution (arXiv 1802.01548) over a search space of eicompress, by `nni.nas`.

    python -m eicompress_nni.nas --model MODEL --data DATA --space supernet --budget 700KB --candidates 40

NNI draws and mutates; eicompress builds each candidate and scores it on validation. With a super-network in the space,
such as in `supernet`, a candidate is a part of it and takes seconds. Every knob that is searched must have a finite
number of values.
"""

import argparse
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.errors import EicompressError, Inapplicable, SpecError
from eicompress.plugins import discover
from eicompress.recipe import Recipe, recipe_toml
from eicompress.spec import read
from eicompress.study.space import SearchSpace
from eicompress.study.space_file import read_space
from eicompress.trials.builder import open_builder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # NNI wraps every module of torch, and warns of those that it does not know
    import pytorch_lightning  # noqa: F401  # nni.nas finds it only where it was imported before
    from nni import choice, report_final_result
    from nni.nas.evaluator import FunctionalEvaluator
    from nni.nas.execution import SequentialExecutionEngine
    from nni.nas.nn.pytorch import ModelSpace
    from nni.nas.space import RawFormatModelSpace
    from nni.nas.strategy import RegularizedEvolution

OVER = -1.0
"""The score of a candidate that is over the budget, or cannot be built: below every quality."""


@dataclass(frozen=True)
class Found:
    """A candidate that NNI drew, and its quality; `OVER` where it has none."""

    parameters: Mapping[str, Any]
    quality: float


def evolve(
    space: SearchSpace, score: Callable[[Recipe], float], *, candidates: int, population: int, seed: int
) -> list[Found]:
    """The candidates that NNI's evolution scores, the best first. Raises `SpecError` for a knob with endless values."""
    evaluated: list[Found] = []

    def evaluate(drawn: "_Drawn") -> None:
        found = Found(drawn.parameters, score(space.recipe(drawn.parameters)))
        evaluated.append(found)
        report_final_result(found.quality)

    models = RawFormatModelSpace.from_model(_Choices(space), FunctionalEvaluator(evaluate))
    evolution = RegularizedEvolution(population_size=population, sample_size=max(2, population // 4), seed=seed)
    evolution(models, SequentialExecutionEngine(max_model_count=candidates))
    return sorted(evaluated, key=lambda each: -each.quality)


class _Drawn(torch.nn.Module):
    """One point of the space."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self.parameters = dict(parameters)


class _Choices(ModelSpace):
    """A choice for each knob that is searched."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        for name, domain in space.domains.items():
            self.add_mutable(choice(name, _values(name, domain)))

    def freeze(self, sample: Mapping[str, Any]) -> _Drawn:
        self.validate(sample)
        return _Drawn(sample)


def _values(name: str, domain: BaseDistribution) -> list[Any]:
    if isinstance(domain, CategoricalDistribution):
        return list(domain.choices)
    if isinstance(domain, IntDistribution) and not domain.log:
        return list(range(domain.low, domain.high + 1, domain.step))
    if isinstance(domain, FloatDistribution) and domain.step:
        count = round((domain.high - domain.low) / domain.step) + 1
        return [domain.low + number * domain.step for number in range(count)]
    raise SpecError(f"NNI must list the values of `{name}`, but they have no step: give choices, or a `step`")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--space", default="supernet")
    parser.add_argument("--budget", required=True, help="such as 700KB")
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--population", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("nas"), help="folder of intermediate files")
    asked = parser.parse_args()
    try:
        _run(asked)
    except EicompressError as error:
        parser.exit(2, f"error: {error}\n")


def _run(asked: argparse.Namespace) -> None:
    registry = discover()
    spec = read({"model": asked.model, "data": asked.data, "budget": asked.budget, "seed": asked.seed})
    space = read_space(asked.space, registry)
    builder = open_builder(spec, registry, folder=asked.folder, progress=lambda _: None)
    most = spec.budgets["size_mb"]

    def score(recipe: Recipe) -> float:
        try:
            if (builder.preview(recipe, size_only=True).value("size_mb") or most) > most:
                return OVER
            record = builder.scored(recipe, fidelity=1.0, seed=asked.seed, progress=lambda _: None)
        except Inapplicable:
            return OVER
        return record.value("quality") or 0.0

    found = evolve(space, score, candidates=asked.candidates, population=asked.population, seed=asked.seed)
    within = [each for each in found if each.quality > OVER]
    print(f"{len(found)} candidates, {len(within)} within {asked.budget}")
    if within:
        print(f"quality {within[0].quality:.4f}\n{recipe_toml(space.recipe(within[0].parameters).to_json())}")


if __name__ == "__main__":
    main()
