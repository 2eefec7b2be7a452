"""Whether any candidate of a search space can be within the budgets: what cannot be met is refused before a search."""

from collections.abc import Iterator, Mapping
from typing import Any

from eicompress.cache import is_disk_error
from eicompress.errors import BudgetError, Crashed, StudyError
from eicompress.metrics.latency import LATENCY, of_exits
from eicompress.metrics.size import SIZE
from eicompress.study.distributions import grid
from eicompress.study.fit_to_budget import Previewer
from eicompress.study.objective import Objective
from eicompress.study.ranking import heaviest_parts
from eicompress.study.space import SearchSpace
from eicompress.values import Record

VALUES = 3
"""Values of a knob to try if the corner is too large: both ends, and the middle."""
MARGIN = 0.25
"""The smallest candidate is not quite the fastest (8 bits can be faster than 4), so a budget of another metric than
size counts as out of reach only if it is missed by more than this share."""


def check_reachable(builder: Previewer, space: SearchSpace, objective: Objective) -> Record | None:
    """The preview of the smallest candidate that was found, None where none can be built.

    Raises `BudgetError` if that is over the size budget, or, measured with care, far over another; and `Crashed`.
    """
    bound = objective.budgets.get(SIZE)
    parameters = _smallest(builder, space, bound)
    smallest = _previewed(builder, space, parameters)
    if smallest is None:
        return None  # what a strategy cannot do ends its trials, and no search
    if SIZE in objective.broken_for_good(smallest):
        raise _out_of_reach(SIZE, objective, smallest)
    if any(by > MARGIN for by in objective.broken_for_good(smallest).values()):
        smallest = builder.preview(space.recipe(parameters), careful=True)
        for name, by in objective.broken_for_good(smallest).items():
            if by > MARGIN:
                raise _out_of_reach(name, objective, smallest)
    return smallest


def _smallest(builder: Previewer, space: SearchSpace, bound: float | None) -> dict[str, Any]:
    """The trial parameters of a small candidate: the corner, or where that is over `bound` megabytes, what is found
    from it by moving one parameter at a time. Not every knob has its smallest candidates at its low end."""

    def megabytes(parameters: Mapping[str, Any]) -> float:
        record = _previewed(builder, space, parameters, size_only=True)
        return float("inf") if record is None else record.value(SIZE) or 0.0

    best = space.corner()
    size = megabytes(best) if bound is not None else 0.0
    if bound is None or size <= bound:
        return best
    for name, value in _moves(space):
        moved = {**best, name: value}
        if value != best[name] and (smaller := megabytes(moved)) < size:
            best, size = moved, smaller
        if size <= bound:
            break
    return best


def _moves(space: SearchSpace) -> Iterator[tuple[str, Any]]:
    for name, of in space.domains.items():
        for value in grid(of, VALUES):
            yield name, value


def _previewed(
    builder: Previewer, space: SearchSpace, parameters: Mapping[str, Any], *, size_only: bool = False
) -> Record | None:
    try:
        return builder.preview(space.recipe(parameters), size_only=size_only)
    except Exception as error:
        if is_disk_error(error) or isinstance(error, Crashed | StudyError):
            raise
        return None


def _out_of_reach(name: str, objective: Objective, smallest: Record) -> BudgetError:
    metric, bound, value = objective.known[name], objective.budgets[name], smallest.value(name) or 0.0
    heaviest = heaviest_parts(smallest, 3)
    of = of_exits(smallest) if name == LATENCY else ""
    reached = f"{value:.3g} {metric.unit}{of}" + (f" ({heaviest})" if heaviest else "")
    if metric.direction == "maximize":
        return BudgetError(
            f"the smallest candidate of this search space must reach {bound:g} {metric.unit} of {name}, but has "
            f"{reached}: ask for less, or give a search space that begins higher."
        )
    return BudgetError(
        f"no candidate of this search space can meet the budget of {bound:g} {metric.unit}: the smallest reachable is "
        f"{reached}. Ask for at least {value * 1.05:.2g} {metric.unit}, or give a search space that goes lower."
    )
