"""What a search is for: what is optimised or traded, and which limits are hard."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eicompress.metrics import register_metrics
from eicompress.metrics.latency import LATENCY, of_exits
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.settings import LEAST_WITHIN_NOISE
from eicompress.values import Direction, Quantity, Record

REWARD = "reward"
REWARD_EXPONENT = -0.07
"""MnasNet's w (arXiv 1807.11626): twice the target latency must bring 5 % more quality to be worth it."""
REBUILDS, REBUILDS_OF_FRONT = 2, 4
UNMEASURED = 1.0
"""Constraint value of what could not be measured: as bad as twice the budget."""
SHOWN = (SIZE, LATENCY, QUALITY)
"""What every table shows, whatever a search is for."""


def built_in() -> dict[str, Quantity]:
    """The metrics that are there without any plug-in."""
    return {metric.name: metric.quantity() for metric in register_metrics()}


@dataclass(frozen=True)
class Objective:
    """One metric is optimised, or two are traded, within limits. `reward` is quality with a target for the latency.

    `smallest` and `fastest` trade quality and a metric, and hand out one candidate: the one with the least of that
    metric which is not certainly worse than the best.
    """

    name: str
    """A metric's name, `smallest`, `fastest`, `reward`, or `pareto`."""
    budgets: Mapping[str, float]
    """Limits by metric: upper bounds of what is minimised, lower ones of what is maximised."""
    metrics: tuple[str, ...] = (QUALITY,)
    """What is optimised, or traded."""
    known: Mapping[str, Quantity] = field(default_factory=built_in)
    """The metrics there are."""

    @property
    def hard(self) -> Mapping[str, float]:
        """The limits that every candidate must keep."""
        if self.name == REWARD:
            return {name: bound for name, bound in self.budgets.items() if name != LATENCY}
        return self.budgets

    @property
    def least(self) -> str:
        """The metric of which the least within noise of the best is handed out; empty where it is the best itself."""
        return LEAST_WITHIN_NOISE.get(self.name, "")

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every metric that a limit or the objective names, once."""
        return tuple(dict.fromkeys((*self.budgets, *self.metrics)))

    @property
    def extra(self) -> tuple[Quantity, ...]:
        """What a table shows of this search beside size, latency and quality."""
        return tuple(self.known[name] for name in self.wanted if name not in SHOWN)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Optuna's word for each number that `values` gives."""
        return tuple(self.known[name].direction for name in self.metrics)

    @property
    def rebuilds(self) -> int:
        """How many of the best are rebuilt at full fidelity, if there is time."""
        return REBUILDS if len(self.metrics) == 1 else REBUILDS_OF_FRONT

    def values(self, record: Record) -> tuple[float, ...]:
        """The objective's values of a trained candidate: one number, or one for each traded metric."""
        if self.name != REWARD:
            return tuple(self._value(record, name) for name in self.metrics)
        quality = record.value(QUALITY)
        if quality is None:
            return (-math.inf,)
        # MnasNet's soft reward, which takes quality off only beyond the target.
        excess = (record.value(LATENCY) or 0.0) / self.budgets[LATENCY]
        return (quality * math.pow(max(1.0, excess), REWARD_EXPONENT),)

    def gains(self, record: Record) -> tuple[float, ...]:
        """`values` with signs such that more is better."""
        pairs = zip(self.values(record), self.directions, strict=True)
        return tuple(value if direction == "maximize" else -value for value, direction in pairs)

    def worth(self, record: Record) -> tuple[float, float]:
        """By what two records of one recipe compare: quality, after what is optimised in its stead."""
        quality = record.value(QUALITY) or 0.0
        return (quality if QUALITY in self.metrics else self.gains(record)[0]), quality

    def excess(self, name: str, value: float) -> float:
        """At most zero where a value keeps its limit, and free of units: `value / bound - 1` of what is minimised."""
        bound = self.budgets[name]
        if bound <= 0:
            over = (value - bound) / (abs(bound) or 1.0)
            return over if self.known[name].direction == "minimize" else -over
        return value / bound - 1 if self.known[name].direction == "minimize" else 1 - value / bound

    def constraints(self, record: Record) -> dict[str, float]:
        """Of every hard limit a number that is at most zero where it is kept, and does not depend on units."""
        values = {name: record.value(name) for name in self.hard}
        return {name: UNMEASURED if value is None else self.excess(name, value) for name, value in values.items()}

    def broken(self, record: Record) -> dict[str, float]:
        """The constraints that what was measured breaks; a preview does not know all of them."""
        found = self.constraints(record)
        return {name: by for name, by in found.items() if by > 0 and record.value(name) is not None}

    def broken_for_good(self, record: Record) -> dict[str, float]:
        """Those of them that no longer training mends."""
        return {name: by for name, by in self.broken(record).items() if self.known[name].preview}

    def unmeasured(self, record: Record) -> dict[str, str]:
        """The metrics that the search goes by and that could not be measured, with the reasons."""
        return {name: why for name, why in record.unmeasured.items() if name in self.wanted}

    def fits(self, record: Record) -> bool:
        """True if everything that has a limit was measured and keeps it."""
        return all(value <= 0 for value in self.constraints(record).values())

    def missed(self, record: Record, name: str, by: float) -> str:
        """How a record breaks a limit, for people."""
        lower = self.known[name].direction == "maximize"
        of = of_exits(record) if name == LATENCY else ""
        return f"{name}{of} {by:.1%} {'below the least' if lower else 'over budget'}"

    def bound(self, name: str) -> str:
        """A limit beside a value: `budget 2`, `at least 0.9`."""
        lower = self.known[name].direction == "maximize"
        return f"{'at least' if lower else 'budget'} {self.budgets[name]:g}"

    def limit(self, name: str) -> str:
        """A limit for people: `macs_m at most 5 M`."""
        metric = self.known[name]
        most = "at most" if metric.direction == "minimize" else "at least"
        return f"{name} {most} {self.budgets[name]:g} {metric.unit}".strip()

    def compared(self, record: Record, limits: Iterable[str] | None = None) -> str:
        """What the record has of each limit, or of some: `size_mb 2.5 (budget 2)`."""
        values = {name: record.value(name) for name in (self.hard if limits is None else limits)}
        of = {LATENCY: of_exits(record)}
        known = [
            f"{name}{of.get(name, '')} {value:.4g} ({self.bound(name)})"
            for name, value in values.items()
            if value is not None
        ]
        return ", ".join([*known, *(f"{name} could not be measured" for name in self.unmeasured(record))])

    def _value(self, record: Record, name: str) -> float:
        value = record.value(name)
        worst = -math.inf if self.known[name].direction == "maximize" else math.inf
        return worst if value is None else value


def dominated_by(gains: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(n,) how many of the others are at least as good in everything and better in something; gains (n, metrics)."""
    no_worse = (gains[:, None, :] >= gains[None, :, :]).all(axis=2)
    better = (gains[:, None, :] > gains[None, :, :]).any(axis=2)
    counts: npt.NDArray[np.int64] = (no_worse & better).sum(axis=0)
    return counts
