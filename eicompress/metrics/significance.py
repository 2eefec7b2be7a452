"""Tests of significance for the difference of two models on the same examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

DRAWS = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A mean difference in quality, ours less theirs, with an interval that holds it with 95 % confidence."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> Literal["gain", "loss", "no gain"]:
        """The verdict of an interval: "gain", "loss", or "no gain" if it contains zero."""
        if self.low > 0:
            return "gain"
        return "loss" if self.high < 0 else "no gain"


def paired_difference(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], seed: int = 0) -> Difference:
    """The difference of two models' qualities, example by example; (n,), or (seeds, n) for several trainings each.

    A bootstrap over pairs: examples are drawn with replacement, and so are the seeds where there are several, row s of
    one side always with row s of the other (pigeonhole bootstrap, arXiv 0712.1111, on the careful side). One training
    each says nothing of other seeds, and the interval then knows of the examples alone.
    """
    if ours.shape != theirs.shape or not ours.size:
        raise ValueError(f"both sides must have the same examples, but have {ours.shape} and {theirs.shape}")
    apart = np.atleast_2d(ours.astype(np.float64) - theirs)
    seeds, examples = apart.shape
    generator = np.random.default_rng(seed)
    means = np.empty(DRAWS)
    for draw in range(DRAWS):
        weights = np.bincount(generator.integers(seeds, size=seeds), minlength=seeds)
        means[draw] = (weights @ apart[:, generator.integers(examples, size=examples)]).sum() / apart.size
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Difference(float(apart.mean()), float(low), float(high))


def score_difference(
    score: Callable[[npt.NDArray[Any], npt.NDArray[Any]], float],
    ours: npt.NDArray[Any],
    theirs: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    seed: int = 0,
) -> Difference:
    """The difference of a quality that is no mean over examples, such as a correlation; answers and targets (n, ...).

    A bootstrap over the examples: both sides are scored on the same ones, drawn with replacement.
    """
    if not len(ours) == len(theirs) == len(targets) > 0:
        raise ValueError(f"both sides must have the same examples, but have {len(ours)} and {len(theirs)}")
    generator = np.random.default_rng(seed)
    found = np.empty(DRAWS)
    for draw in range(DRAWS):
        rows = generator.integers(len(targets), size=len(targets))
        found[draw] = score(ours[rows], targets[rows]) - score(theirs[rows], targets[rows])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Difference(score(ours, targets) - score(theirs, targets), float(low), float(high))


def over_seeds(found: Sequence[Difference]) -> Difference:
    """The mean difference of several trainings, one for each seed, all scored on the same examples.

    To each side the interval is as wide as those of the seeds are on average, since the same examples do not tell more
    by being read again, and by what the seeds differ (the root of both squares' sum, on the careful side).
    """
    means, count = [each.mean for each in found], len(found)
    mean = float(np.mean(means))
    spread = 1.96 * np.std(means, ddof=1) / np.sqrt(count) if count > 1 else 0.0
    below = np.hypot(np.mean([each.mean - each.low for each in found]), spread)
    above = np.hypot(np.mean([each.high - each.mean for each in found]), spread)
    return Difference(mean, float(mean - below), float(mean + above))


def share_interval(share: float, examples: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval (1927) of a share of right answers among `examples`."""
    # Imported here, since it takes a second.
    from scipy.stats import binomtest

    found = binomtest(round(share * examples), examples).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def mcnemar(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> float:
    """The exact two-sided p-value of McNemar's test: that two models are right equally often on (n,) examples.

    Only the examples on which one of them alone is right speak; by chance they fall on either side like a coin.
    """
    # Imported here, since it takes a second.
    from scipy.stats import binomtest

    only_ours, only_theirs = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    if not only_ours + only_theirs:
        return 1.0
    return float(binomtest(only_ours, only_ours + only_theirs).pvalue)
