"""Records of the outcomes of trials."""

from collections.abc import Sequence
from dataclasses import replace

from eicompress.recipe import Recipe
from eicompress.study.halving import rungs_of
from eicompress.study.objective import Objective
from eicompress.values import Outcome, Record


def judged(record: Record, objective: Objective, recipe: Recipe, draw: int) -> Record:
    """What was measured of a recipe, compared with the budgets."""
    over = objective.broken(record)
    outcome: Outcome = "over budget" if over else "inapplicable" if objective.unmeasured(record) else "complete"
    reasons = [objective.missed(record, name, by) for name, by in over.items()]
    reasons += [f"`{name}` could not be measured: {why}" for name, why in record.unmeasured.items()]
    steps = tuple(recipe.to_json())
    return replace(record, recipe=steps, draw=draw, outcome=outcome, reason=", ".join(reasons))


def repeated(known: Record, number: int, draw: int) -> Record:
    """The record of a draw that came to the same as the trial of this number, whose record is known."""
    of = number if known.repeat_of is None else known.repeat_of
    return replace(known, draw=draw, repeat_of=of)


def completed(record: Record, preview: Record) -> Record:
    """The record with what only its preview measured: a latency is taken once, and reused."""
    names = {*record.unmeasured, *(each.name for each in record.measurements)}
    missing = [each for each in preview.measurements if each.name not in names]
    return record.with_measured(missing, {name: why for name, why in preview.unmeasured.items() if name not in names})


def trained(trainings: Sequence[Record], *, variant_of: int | None, in_rungs: bool) -> Record:
    """The record of a trial's last training, with what the record remembers of all of them."""
    last = trainings[-1]
    if variant_of is not None:
        return replace(last, variant_of=variant_of)
    return replace(last, rungs=rungs_of(trainings)) if in_rungs else last


def after(training: Record) -> str:
    """How long a training was, or on how much a candidate was scored, for the reason why no more follows."""
    return f"after {share_text(training.fidelity)} of the {training.whole}"


def share_text(share: float) -> str:
    """A share of the full training, or of what a candidate is scored on: `34%`, `0.5%`."""
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"
