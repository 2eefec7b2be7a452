"""What a search is for: what is maximised or traded, and which budgets are hard."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from eicompress.values import Record

Direction: TypeAlias = Literal["minimize", "maximize"]

REWARD_EXPONENT = -0.07
"""MnasNet's w (arXiv 1807.11626): twice the target latency must bring 5 % more quality to be worth it."""
REBUILDS, REBUILDS_OF_FRONT = 2, 4
UNMEASURED = 1.0
"""Constraint value of what could not be measured: as bad as twice the budget."""


@dataclass(frozen=True)
class Objective:
    """`quality` and `reward` maximise one number, `pareto` trades two metrics; either within the budgets."""

    name: str
    budgets: Mapping[str, float]
    """Upper bounds by metric."""
    min_quality: float | None = None
    metrics: tuple[str, ...] = ("quality",)
    """What is traded; of quality as much as possible, of all others as little."""

    @property
    def hard(self) -> Mapping[str, float]:
        """The upper bounds that no candidate may exceed."""
        if self.name == "reward":
            return {name: bound for name, bound in self.budgets.items() if name != "latency_ms"}
        return self.budgets

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Optuna's word for each number that `values` gives."""
        return tuple("maximize" if name == "quality" else "minimize" for name in self.metrics)

    @property
    def rebuilds(self) -> int:
        """How many of the best are rebuilt at full fidelity, if there is time."""
        return REBUILDS if len(self.metrics) == 1 else REBUILDS_OF_FRONT

    def values(self, record: Record) -> tuple[float, ...]:
        """What the sampler is told of a trained candidate: one number, or one for each traded metric."""
        if self.name == "pareto":
            return tuple(self._value(record, name) for name in self.metrics)
        quality = record.value("quality")
        if quality is None or self.name == "quality":
            return (-math.inf if quality is None else quality,)
        # MnasNet's soft reward, which takes quality off only beyond the target.
        excess = (record.value("latency_ms") or 0.0) / self.budgets["latency_ms"]
        return (quality * math.pow(max(1.0, excess), REWARD_EXPONENT),)

    def gains(self, record: Record) -> tuple[float, ...]:
        """`values` with signs such that more is better."""
        pairs = zip(self.values(record), self.directions, strict=True)
        return tuple(value if direction == "maximize" else -value for value, direction in pairs)

    def constraints(self, record: Record) -> dict[str, float]:
        """Of every budget a number that is at most zero where it is kept, and does not depend on units.

        `value / budget - 1`, and `1 - quality / min_quality`.
        """
        found = {name: self._excess(record.value(name), bound) for name, bound in self.hard.items()}
        if self.min_quality is not None:
            quality = record.value("quality")
            found["quality"] = UNMEASURED if quality is None else 1 - quality / self.min_quality
        return found

    def broken(self, record: Record) -> dict[str, float]:
        """The constraints that what was measured breaks; in a preview, quality is not known."""
        found = self.constraints(record)
        return {name: by for name, by in found.items() if by > 0 and record.value(name) is not None}

    def fits(self, record: Record) -> bool:
        """True if everything that has a budget was measured and keeps it."""
        return all(value <= 0 for value in self.constraints(record).values())

    def compared(self, record: Record) -> str:
        """What the record has of each budget: `size_mb 2.5 (budget 2)`."""
        bounds = {name: f"budget {bound:g}" for name, bound in self.hard.items()}
        if self.min_quality is not None:
            bounds["quality"] = f"at least {self.min_quality:g}"
        known = {name: record.value(name) for name in bounds}
        return ", ".join(f"{name} {value:.4g} ({bounds[name]})" for name, value in known.items() if value is not None)

    def _value(self, record: Record, name: str) -> float:
        value = record.value(name)
        return value if value is not None else -math.inf if name == "quality" else math.inf

    def _excess(self, value: float | None, bound: float) -> float:
        return UNMEASURED if value is None else value / bound - 1


def dominated_by(gains: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(n,) how many of the others are at least as good in everything and better in something; gains (n, metrics)."""
    no_worse = (gains[:, None, :] >= gains[None, :, :]).all(axis=2)
    better = (gains[:, None, :] > gains[None, :, :]).any(axis=2)
    counts: npt.NDArray[np.int64] = (no_worse & better).sum(axis=0)
    return counts
