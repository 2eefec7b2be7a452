"""The mistakes of an artifact that answers questions, beside those of its baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eicompress.answers.calibration import calibration, calibration_chart
from eicompress.answers.kind import Floats, Mistakes, Table
from eicompress.values import Text

EXAMPLES = 25
KINDS = ("a part of the answer, or more than it", "another part of the context", "no answer", "an answer where is none")
"""Of mistakes."""
NOTHING = "(none)"


@dataclass(frozen=True)
class Answered:
    """One model on n questions."""

    answers: Sequence[str]
    """Empty for no answer."""
    f1: Floats
    """(n,)"""
    exact: Floats
    """(n,) 1 or 0"""
    confidence: Floats
    """(n,)"""


def mistakes_of(
    texts: Sequence[Text],
    wanted: Sequence[Sequence[str]],
    baseline: Answered,
    artifact: Answered,
    interval: float,
) -> Mistakes:
    """`wanted` are the references of each question, none where it has no answer; `interval` is that of F1."""
    counts = [_kinds(wanted, each) for each in (artifact, baseline)]
    kinds = tuple((name, *map(str, pair)) for name, *pair in zip(KINDS, *counts, strict=True) if any(pair))
    tables = (
        Table(
            "Answers that it lost",
            ("question", "answer", "artifact", "baseline"),
            _lost(texts, wanted, baseline, artifact),
            0,
        ),
        Table("Kinds of mistakes", ("mistake", "artifact", "baseline"), kinds, 2),
    )
    charts = (calibration(each.confidence, each.exact > 0) for each in (baseline, artifact))
    summary = (
        f"{len(texts)} validation questions. The artifact answers {int(artifact.exact.sum())} of them exactly, the "
        f"baseline {int(baseline.exact.sum())}. F1 is {artifact.f1.mean():.1%} for the artifact and "
        f"{baseline.f1.mean():.1%} for the baseline: {_signed(100 * (artifact.f1.mean() - baseline.f1.mean()))} ± "
        f"{100 * interval:.1f} points (95 % interval, paired)."
    )
    return Mistakes(
        summary,
        interval,
        False,
        tuple(each for each in tables if each.rows),
        (calibration_chart(*charts, of="questions"),),
    )


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "\u2212")


def _lost(
    texts: Sequence[Text], wanted: Sequence[Sequence[str]], baseline: Answered, artifact: Answered
) -> tuple[tuple[str, ...], ...]:
    """Where F1 fell by most, the surest answers first."""
    fell = artifact.f1 - baseline.f1
    order = np.lexsort((-artifact.confidence, fell))
    return tuple(
        (
            texts[row][0],
            " / ".join(dict.fromkeys(wanted[row])) or NOTHING,
            artifact.answers[row] or NOTHING,
            baseline.answers[row] or NOTHING,
        )
        for row in order[:EXAMPLES].tolist()
        if fell[row] < 0
    )


def _kinds(wanted: Sequence[Sequence[str]], model: Answered) -> list[int]:
    """How often each of the `KINDS` of mistakes occurs."""
    found = [0] * len(KINDS)
    for references, answer, f1, exact in zip(wanted, model.answers, model.f1, model.exact, strict=True):
        if not exact:
            found[3 if not references else 2 if not answer else 0 if f1 > 0 else 1] += 1
    return found
