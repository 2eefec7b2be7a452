"""Records counted, and ranked by what a search is for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eicompress.study.objective import Objective, dominated_by
from eicompress.values import Record


@dataclass(frozen=True)
class Counts:
    """What became of the draws. `reached` counts those that reached a training of their own, crashed ones too."""

    trained: int = 0
    stopped: int = 0
    """Stopped early, since others were ahead."""
    variants: int = 0
    """Variants of another trial's training."""
    over_budget: int = 0
    repeats: int = 0
    inapplicable: int = 0
    failed: int = 0
    reached: int = 0


def count(records: Iterable[Record]) -> Counts:
    found = dict.fromkeys(vars(Counts()), 0)
    for record in records:
        found[_group(record)] += 1
        found["reached"] += has_own_training(record)
    return Counts(**found)


def has_own_training(record: Record) -> bool:
    """Whether the record is that of a candidate for which something was trained."""
    return record.trained and record.repeat_of is None and record.variant_of is None


def ranked(records: Mapping[int, Record], objective: Objective) -> list[tuple[int, Record]]:
    """Trained candidates within budget, best first; repeats left out.

    Where two metrics are traded, those that fewer others dominate come first, and of these the best in the first
    metric.
    """
    fitting = [(number, record) for number, record in records.items() if fits(record, objective)]
    gains = [objective.gains(record) for _, record in fitting]
    worse_than = dominated_by(np.array(gains)) if fitting and len(objective.metrics) > 1 else np.zeros(len(fitting))
    order = sorted(range(len(fitting)), key=lambda at: (worse_than[at], -gains[at][0], fitting[at][1].draw))
    return [fitting[at] for at in order]


def best_of(made: Sequence[Record], objective: Objective) -> Record:
    """Of what was made of one recipe the best on validation within budget, or the first where none is."""
    best = made[0]
    for each in made[1:]:
        if fits(each, objective) and (not fits(best, objective) or objective.worth(each) > objective.worth(best)):
            best = each
    return best


def fits(record: Record, objective: Objective) -> bool:
    """Whether the record is that of a trained candidate within budget, and repeats no other."""
    return record.outcome == "complete" and record.repeat_of is None and objective.fits(record)


def front_of(records: Mapping[int, Record], objective: Objective) -> list[tuple[int, Record]]:
    """The trained candidates within budget that no other dominates, best in the first metric first."""
    found = ranked(records, objective)
    worse_than = dominated_by(np.array([objective.gains(record) for _, record in found])) if found else ()
    return [each for each, count in zip(found, worse_than, strict=True) if count == 0]


def to_promote(records: Mapping[int, Record], objective: Objective) -> list[tuple[int, Record]]:
    """The trials to rebuild, most wanted first: the best, or of a front the best and others spread along it.

    Where the smallest or the fastest is wanted, it comes first; `records` are then those within noise of the best.
    """
    if len(objective.metrics) == 1:
        return ranked(records, objective)[: objective.rebuilds]
    front = front_of(records, objective)
    last = min(len(front), objective.rebuilds) - 1
    spread = [front[round(at * (len(front) - 1) / last)] for at in range(last + 1)] if last > 0 else front
    return spread[::-1] if objective.least else spread


def violation(record: Record, objective: Objective) -> float:
    """How far a record is over its budgets, as a sum of shares."""
    return sum(max(0.0, each) for each in objective.constraints(record).values())


def heaviest_parts(record: Record, count: int) -> str:
    """The parts that weigh most, as `embedding 1.20 MB, layers 0.40 MB`; `count` is how many to name."""
    heaviest = sorted(record.bytes_by_group.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in heaviest[:count])


def _group(record: Record) -> str:
    if record.repeat_of is not None:
        return "repeats"
    if record.outcome in ("failed", "inapplicable"):
        return record.outcome
    if record.outcome == "stopped early":
        return "stopped"
    if record.variant_of is not None and record.trained:
        return "variants"
    return "trained" if record.trained else "over_budget"
