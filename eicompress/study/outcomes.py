"""The records of what became of trials."""

from collections.abc import Sequence
from dataclasses import replace

from eicompress.recipe import Recipe
from eicompress.study.halving import rungs_of
from eicompress.study.objective import Objective
from eicompress.values import Outcome, Record


def judged(record: Record, objective: Objective, recipe: Recipe, draw: int) -> Record:
    """What was measured of a recipe, compared with the budgets."""
    over = objective.broken(record)
    missed = {name: "below the least" if name == "quality" else "over budget" for name in over}
    reason = ", ".join(f"{name} {by:.1%} {missed[name]}" for name, by in over.items())
    outcome: Outcome = "over budget" if over else "complete"
    return replace(record, recipe=tuple(recipe.to_json()), draw=draw, outcome=outcome, reason=reason)


def repeated(known: Record, number: int, draw: int) -> Record:
    """The record of a draw that came to the same as the trial of this number, whose record is known."""
    of = number if known.repeat_of is None else known.repeat_of
    return replace(known, draw=draw, repeat_of=of)


def completed(record: Record, preview: Record) -> Record:
    """The record with what only its preview measured: a latency is taken once, and reused."""
    names = {each.name for each in record.measurements}
    missing = tuple(each for each in preview.measurements if each.name not in names)
    return replace(record, measurements=(*record.measurements, *missing))


def untimed(record: Record) -> Record:
    """The record without what is measured again of everything that is handed out."""
    names = ("size_mb", "download_mb", "quality")
    kept = (each for each in record.measurements if each.name in names or each.conditions.get("split") == "validation")
    return replace(record, measurements=tuple(kept))


def trained(trainings: Sequence[Record], *, variant_of: int | None, in_rungs: bool) -> Record:
    """The record of a trial's last training, with what the record remembers of all of them."""
    last = trainings[-1]
    if variant_of is not None:
        return replace(last, variant_of=variant_of)
    return replace(last, rungs=rungs_of(trainings)) if in_rungs else last


def after(training: Record) -> str:
    """How long a training was, for the reason why none follows."""
    return f"after {training.fidelity:.1%} of the full training"
