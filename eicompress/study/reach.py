"""Whether any candidate of a search space can be within the budgets: what cannot be met is refused before a search."""

from collections.abc import Callable, Mapping
from functools import partial
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
"""Values of a knob to try if the corner is over a budget: both ends, and the middle."""
MARGIN = 0.25
"""The smallest candidate is not quite the fastest (8 bits can be faster than 4), so a budget of another metric than
size counts as out of reach only if it is missed by more than this share."""


def check_reachable(builder: Previewer, space: SearchSpace, objective: Objective) -> Record | None:
    """The preview of the smallest candidate that was found, None where none can be built.

    Where that is far over another budget than size, one that is found from it within both. Raises `BudgetError` if it
    is over the size budget, or, measured with care, far over another; and `Crashed`.
    """
    parameters = _smallest(builder, space, objective.budgets.get(SIZE))
    smallest = _previewed(builder, space, parameters)
    if smallest is None:
        return None  # what a strategy cannot do ends its trials, and no search
    if SIZE in objective.broken_for_good(smallest):
        raise _out_of_reach(SIZE, objective, smallest)
    if _missed(objective, smallest) <= MARGIN:
        return smallest

    def careful(parameters: Mapping[str, Any]) -> Record:
        return builder.preview(space.recipe(parameters), careful=True)

    best = careful(parameters)
    if _missed(objective, best) > MARGIN:
        missed = partial(_missed_at, builder, space, objective)
        moved = _nearest(space, parameters, missed, MARGIN)
        if moved != parameters:
            best = min((best, careful(moved)), key=partial(_missed, objective))
    for name, by in objective.broken_for_good(best).items():
        if by > MARGIN:
            raise _out_of_reach(name, objective, best)
    return best


def _smallest(builder: Previewer, space: SearchSpace, bound: float | None) -> dict[str, Any]:
    """The trial parameters of a small candidate: the corner, or where that is over `bound` megabytes, the nearest."""

    def megabytes(parameters: Mapping[str, Any]) -> float:
        record = _previewed(builder, space, parameters, size_only=True)
        return float("inf") if record is None else record.value(SIZE) or 0.0

    corner = space.corner()
    return corner if bound is None else _nearest(space, corner, megabytes, bound)


def _nearest(
    space: SearchSpace,
    begin: dict[str, Any],
    measure: Callable[[Mapping[str, Any]], float],
    enough: float,
) -> dict[str, Any]:
    """The trial parameters that measure least of those that are found from some by moving one at a time, until one
    measures `enough`: not every knob has its smallest and fastest candidates at its low end."""
    best, least = begin, measure(begin)
    for name, of in space.domains.items():
        for value in grid(of, VALUES):
            if least <= enough:
                return best
            moved = {**best, name: value}
            if value != best[name] and (less := measure(moved)) < least:
                best, least = moved, less
    return best


def _missed(objective: Objective, record: Record) -> float:
    """The largest share by which a record is over another budget than size; infinite where it is over that too."""
    broken = objective.broken_for_good(record)
    return float("inf") if SIZE in broken else max(broken.values(), default=0.0)


def _missed_at(builder: Previewer, space: SearchSpace, objective: Objective, parameters: Mapping[str, Any]) -> float:
    record = _previewed(builder, space, parameters)
    return float("inf") if record is None else _missed(objective, record)


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
