"""Filling: one knob is not searched, but set by previews to the largest value within the size budget."""

from collections.abc import Callable, Mapping
from typing import Protocol

from eicompress.metrics.size import SIZE
from eicompress.recipe import Recipe
from eicompress.study.space import Fill, SearchSpace
from eicompress.values import Record

PREVIEWS = 6
TOLERANCE = 0.005
"""A size at most this share below the budget ends the filling."""


class Previewer(Protocol):
    """Measures a recipe without training it."""

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        """Raises `Inapplicable`."""


def filled(builder: Previewer, space: SearchSpace, recipe: Recipe, budgets: Mapping[str, float]) -> Recipe:
    """The recipe with as much of the filled knob as the size budget has room for. Raises `Inapplicable`."""
    fill, budget = space.fill, budgets.get(SIZE)
    if fill is None or all(step.name != fill.strategy for step in recipe.steps):
        return recipe

    def size(value: int) -> float:
        return builder.preview(space.filled(recipe, value), size_only=True).value(SIZE) or 0.0

    return space.filled(recipe, fill.high if budget is None else largest(size, fill, budget))


def largest(size: Callable[[int], float], fill: Fill, budget: float) -> int:
    """The largest value whose size is within budget, nearly; the least value if none is.

    Often all there is fits, so that is asked first. Then secant steps, because a size grows almost in proportion, kept
    inside a bracket, because at some point there may be nothing left to add.
    """
    low, high = fill.low, fill.high
    if size(high) <= budget:
        return high
    low_size = size(low)
    value = min(2 * low, high - 1)
    for _ in range(PREVIEWS):
        if high - low <= 1 or budget - low_size <= TOLERANCE * budget:
            break
        value_size = size(value)
        slope = (value_size - low_size) / (value - low)
        if value_size > budget:
            high = value
        else:
            low, low_size = value, value_size
        aim = budget * (1 - TOLERANCE / 2) - low_size
        guess = low + int(aim / slope) if slope > 0 else (low + high) // 2
        value = max(low + 1, min(guess, high - 1))
    return low
