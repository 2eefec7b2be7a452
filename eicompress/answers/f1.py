"""F1 of labels, and the interval of a quality that is no mean over texts."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Whole: TypeAlias = npt.NDArray[np.int64]
DRAWS = 1000
"""Of the bootstrap."""


def macro_f1(targets: Whole, answers: Whole, labels: int) -> float:
    """The mean F1 over the labels that occur in targets (n,) or in answers (n,), as scikit-learn has it."""
    counted = (targets[targets == answers], answers, targets)
    return macro(np.stack([np.bincount(each, minlength=labels) for each in counted], axis=1))


def micro(counts: Whole) -> float:
    """F1 of all labels together, from what is right, answered and there (labels, 3); 0 where there is nothing."""
    right, answered, there = (int(each) for each in counts.sum(axis=0))
    return 2 * right / (answered + there) if answered + there else 0.0


def macro(counts: Whole) -> float:
    """The mean F1 of the labels that occur or are answered, from the same (labels, 3); 0 where there are none."""
    either = counts[:, 1] + counts[:, 2]
    occurs = either > 0
    return float((2 * counts[occurs, 0] / either[occurs]).mean()) if occurs.any() else 0.0


def half_width(difference: Callable[[npt.NDArray[Any]], float], texts: int) -> float:
    """Half the width of a difference's 95 % interval, by a bootstrap: `difference` is given the rows of the texts that
    were drawn."""
    generator = np.random.default_rng(0)
    found = [difference(generator.integers(texts, size=texts)) for _ in range(DRAWS)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(high - low) / 2
