"""What a trial's parameters are drawn from: their draws, their least values, and grids of them."""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial


def suggest(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    """A trial's value of this name."""
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def least(distribution: BaseDistribution) -> Any:
    """The lowest value, or the first choice where not all are numbers."""
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return distribution.low
    assert isinstance(distribution, CategoricalDistribution)
    numbers = [each for each in distribution.choices if isinstance(each, int | float)]
    return min(numbers) if len(numbers) == len(distribution.choices) else distribution.choices[0]


def grid(distribution: BaseDistribution, most: int) -> list[Any]:
    """The values of a distribution, or `most` of them."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    count = most if step is None else min(most, round((high - low) / step) + 1)
    shares = np.linspace(0, 1, count)
    values = low * (high / low) ** shares if distribution.log else low + (high - low) * shares
    if step is not None:
        values = low + np.round((values - low) / step) * step
    return sorted({int(each) if isinstance(distribution, IntDistribution) else float(each) for each in values})
