"""Whether a model is right as often as it is sure."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from eicompress.answers.kind import Chart, Curve, Floats

Flags: TypeAlias = npt.NDArray[np.bool_]
BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers of about the same confidence: how sure on average, how often right, how many."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy. `error` is the expected calibration error: their mean distance."""

    bins: tuple[Bin, ...]
    error: float


def calibration(confidence: Floats, right: Flags) -> Calibration:
    """Answers in bins of equal width of confidence; empty bins are left out."""
    at = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = tuple(
        Bin(float(confidence[at == number].mean()), float(right[at == number].mean()), int((at == number).sum()))
        for number in range(BINS)
        if (at == number).any()
    )
    whole = sum(each.count for each in bins)
    return Calibration(bins, sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / max(1, whole))


def calibration_chart(baseline: Calibration, artifact: Calibration, *, of: str = "texts") -> Chart:
    """Confidence against accuracy: on the diagonal, answers that are 80 % sure are right 80 times in 100."""

    def curve(name: str, found: Calibration) -> Curve:
        return Curve(
            name,
            tuple(100 * each.confidence for each in found.bins),
            tuple(100 * each.accuracy for each in found.bins),
            tuple(str(each.count) for each in found.bins),
        )

    return Chart(
        name="calibration",
        title="Calibration",
        note=f"Confidence is off by {100 * artifact.error:.1f} points on average, the baseline's by "
        f"{100 * baseline.error:.1f} (expected calibration error).",
        x_title="confidence, %",
        y_title="right, %",
        ideal="calibrated",
        diagonal=(0, 100),
        joined=True,
        hover="%{x:.0f} % sure, %{y:.0f} % right, %{customdata} " + of,
        baseline=curve("baseline", baseline),
        artifact=curve("artifact", artifact),
    )
