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
    right = np.bincount(targets[targets == answers], minlength=labels)
    either = np.bincount(targets, minlength=labels) + np.bincount(answers, minlength=labels)
    occurs = either > 0
    return float((2 * right[occurs] / either[occurs]).mean())


def half_width(difference: Callable[[npt.NDArray[Any]], float], texts: int) -> float:
    """Half the width of a difference's 95 % interval, by a bootstrap: `difference` is given the rows of the texts that
    were drawn."""
    generator = np.random.default_rng(0)
    found = [difference(generator.integers(texts, size=texts)) for _ in range(DRAWS)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(high - low) / 2
