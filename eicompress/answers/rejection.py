"""Texts that belong to no label: at which confidence they are rejected, and how well."""

import numpy as np

from eicompress.answers.calibration import Flags
from eicompress.answers.kind import Floats

KEPT = 0.95
"""Share of the right answers that is kept where no text that belongs to no label is known."""
DIGITS = 4
"""Of a threshold, as a `config.json` has it."""
NEVER = 0.0001
"""The threshold where none was chosen: with as many digits as others, so that to choose one adds no byte to a file."""


def threshold(confidence: Floats, right: Flags, outside: Floats | None) -> float:
    """The confidence from which an answer is given, from that of answers (n,) and whether they are right.

    With the confidence of texts that belong to no label, `outside` (m,), it is the one with the highest mean of two
    shares: texts that are answered right, and texts outside that are rejected. Without, it keeps 95 % of the right
    answers.
    """
    if outside is None:
        lowest = float(np.quantile(confidence[right], 1 - KEPT, method="lower")) if right.any() else 0.0
        return float(_shortened(np.array([lowest]))[0])
    tried = np.unique(_shortened(np.concatenate([[0.0], confidence, outside])))
    kept = 1 - np.searchsorted(np.sort(confidence[right]), tried) / max(1, int(right.sum()))
    rejected = np.searchsorted(np.sort(outside), tried) / len(outside)
    return float(tried[np.argmax(kept * right.mean() + rejected)])


def auroc(inside: Floats, outside: Floats) -> float:
    """The share of pairs of a text inside and one outside in which the one inside has the higher confidence; equal ones
    count half."""
    ordered = np.sort(outside)
    below, not_above = (np.searchsorted(ordered, inside, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(outside))


def _shortened(values: Floats) -> Floats:
    """Not above what they were, so that a threshold does not reject its own text."""
    found: Floats = np.floor(values.astype(np.float64) * 10**DIGITS) / 10**DIGITS
    return found
