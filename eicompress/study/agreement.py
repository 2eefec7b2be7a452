"""The rank correlation between short and long training."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from eicompress.study.halving import is_control
from eicompress.values import TRAINING, Record

ENOUGH_PAIRS = 3
"""The least number of pairs for a rank correlation."""
NORMAL_95 = 1.959964
"""Standard deviations to either side that hold 95 % of a normal distribution."""
TRUSTED = 0.7
"""Below this rank correlation, users are warned about the short training."""


@dataclass(frozen=True)
class Agreement:
    """How far a short training ranks candidates as a longer one does, by Spearman's rank correlation."""

    short: float
    full: float
    """Fidelities."""
    pairs: int
    correlation: float | None
    """None for too few pairs, or where all are equal."""
    whole: str = TRAINING
    """What the fidelities are shares of."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the correlation; None where there is none, or three pairs only.

        Fisher's z, with the standard error for ranks of Bonett and Wright (doi 10.1007/BF02294183). A perfect order is
        taken to be half a swap of neighbours away from it, since few candidates do not prove that it is perfect.
        """
        if self.correlation is None or self.pairs <= ENOUGH_PAIRS:
            return None
        most = 1 - 6 / (self.pairs**3 - self.pairs)
        found = max(-most, min(most, self.correlation))
        away = NORMAL_95 * math.sqrt((1 + found**2 / 2) / (self.pairs - 3))
        return math.tanh(math.atanh(found) - away), math.tanh(math.atanh(found) + away)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "interval": self.interval}

    @property
    def doubtful(self) -> bool:
        """Whether short training ranks candidates otherwise than long training does."""
        return self.correlation is not None and self.correlation < TRUSTED

    def __str__(self) -> str:
        lengths = f"{self.short:.1%} and {self.full:.1%} of the {self.whole}"
        if self.correlation is None:
            few = f"too few candidates ({self.pairs}) had both"
            why = (
                few if self.pairs < ENOUGH_PAIRS else f"the {self.pairs} candidates that had both were all alike in one"
            )
            return f"The rank correlation between {lengths} is not known: {why}."
        interval = f" (95 % interval {self.interval[0]:.2f} to {self.interval[1]:.2f})" if self.interval else ""
        found = f"Rank correlation between {lengths}: {self.correlation:.2f}{interval}, of {self.pairs} candidates."
        longer = "train longer at first" if self.whole == TRAINING else "give more validation texts"
        warning = f" It is below {TRUSTED}: do not trust what was stopped early, and {longer}."
        return found + (warning if self.doubtful else "")


def agreements(records: Iterable[Record], fidelities: Sequence[float]) -> list[Agreement]:
    """How far each rung ranks as the last one does, among the trials that had both.

    Of parts of a shared training, among the controls alone, which were not chosen by their scores."""
    records = [each for each in records if not each.only_shared or is_control(each.draw)]
    whole = records[0].whole if records else TRAINING
    trials = [{each.fidelity: each.quality for each in record.rungs} for record in records]
    last = fidelities[-1]

    def pairs(short: float) -> list[tuple[float, float]]:
        return [(trial[short], trial[last]) for trial in trials if short in trial and last in trial]

    return [replace(agreement(short, last, pairs(short)), whole=whole) for short in fidelities[:-1]]


def agreement(short: float, full: float, pairs: Sequence[tuple[float, float]]) -> Agreement:
    """Of pairs of qualities, after the short and after the full training."""
    return Agreement(short, full, len(pairs), rank_correlation(pairs))


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's; None for too few pairs, or where all are equal."""
    if len(pairs) < ENOUGH_PAIRS:
        return None
    short, full = zip(*pairs, strict=True)
    if len(set(short)) == 1 or len(set(full)) == 1:
        return None
    # Imported here, since it takes a second.
    from scipy.stats import spearmanr

    return float(spearmanr(short, full).statistic)
