"""Picking: the best candidate of a study within limits that its search did not know."""

import math
from collections.abc import Mapping
from dataclasses import replace

from eicompress.errors import BudgetError, SpecError, StudyError
from eicompress.metrics.quality import QUALITY
from eicompress.plugins import Registry
from eicompress.study.halving import at_first
from eicompress.study.ranking import best_of, ranked
from eicompress.study.result import Result
from eicompress.study.space import SearchSpace
from eicompress.values import Record

LUCKY = 2
"""How many candidates that were scored on a part of the validation texts alone are tried beside the best."""


def picked(result: Result, budgets: Mapping[str, float], registry: Registry) -> list[tuple[int, Record]]:
    """The trial of the highest quality within these limits, among candidates of one shared training, and its number,
    with what its rebuild came to if that is better; after it those that were scored on a part of the validation texts
    alone, and did better there. Which of them is the best, all validation texts must say.

    Raises `StudyError` where a study has no shared training, and `BudgetError` where nothing is within the limits.
    """
    study = result.folder.name
    cheap = {number: each for number, each in result.records.items() if registry.recipe(each.recipe).shared.steps}
    if not cheap:
        raise StudyError(
            f"`pick` takes a part of a super-network, but no candidate of study `{study}` is one. Search again within "
            f"the other limits, or train a super-network: `eicompress search --space supernet`"
        )
    objective = replace(result.objective, name=QUALITY, metrics=(QUALITY,), budgets=budgets)
    both = {number: [each, *filter(None, [result.rebuilt.get(number)])] for number, each in cheap.items()}
    best = ranked({number: best_of(made, objective) for number, made in both.items()}, objective)[:1]
    begun = {number: replace(each, outcome="complete") for number, each in cheap.items() if _part(each)}
    least = max((_first(each) for _, each in best), default=-math.inf)
    better = [(number, cheap[number]) for number, each in ranked(begun, objective) if _first(each) > least]
    found = [*best, *better[:LUCKY]]
    if not found:
        raise BudgetError(f"no sub-network of study `{study}` is within the limits. {_least(cheap, result, budgets)}")
    return found


def check_finish(space: SearchSpace) -> None:
    """Raise `SpecError` where a search space does not say how to train a sub-network by itself."""
    if not space.finish:
        raise SpecError(
            f"`--finish` must have steps to train a sub-network with, but the search space `{space.name}` has no "
            "`[[finish]]`: leave it out, or add them and search again"
        )


def finished(part: Record, space: SearchSpace) -> Record:
    """The record to build of a part that is trained by itself, at full length."""
    return replace(part, recipe=space.finished(part.recipe), fidelity=1.0, only_shared=False)


def _part(record: Record) -> bool:
    """Whether it was scored on a part of the validation texts alone."""
    return record.only_shared and record.outcome == "stopped early"


def _first(record: Record) -> float:
    """The score that all have."""
    return at_first(record).value(QUALITY) or 0.0


def _least(records: Mapping[int, Record], result: Result, budgets: Mapping[str, float]) -> str:
    """What the candidates reach of each limit, each by itself."""
    reached = []
    for name, bound in budgets.items():
        values = [value for each in records.values() if (value := each.value(name)) is not None]
        if values:
            metric = result.objective.known[name]
            best = f"{min(values) if metric.direction == 'minimize' else max(values):.3g} {metric.unit}".strip()
            reached.append(f"{best} of {name} (limit {bound:g})")
        else:
            reached.append(f"no {name}, which the search has not measured")
    return f"They reach {', '.join(reached)}: ask for what is reached, or let the search go on"
