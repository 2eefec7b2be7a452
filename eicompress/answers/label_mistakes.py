"""The mistakes of an artifact that answers one label, beside those of its baseline."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eicompress.answers.calibration import Flags, calibration, calibration_chart
from eicompress.answers.f1 import Whole
from eicompress.answers.kind import Chart, Floats, Matrix

PAIRS = 10
"""Rows of the tables of labels."""
MATRIX = 12
"""Labels of the confusion matrix at most; the others are one row and one column."""


def per_label(labels: Sequence[str], targets: Whole, answers: Whole, baseline: Whole) -> tuple[tuple[str, ...], ...]:
    """Label, texts, precision, recall, F1 and the baseline's F1, the lowest F1 first; `-` where nothing is divided."""
    ours, theirs = (_scores(targets, each, len(labels)) for each in (answers, baseline))
    order = sorted(range(len(labels)), key=lambda at: (np.nan_to_num(ours[2][at], nan=2.0), labels[at]))
    texts = np.bincount(targets, minlength=len(labels))
    return tuple(
        (labels[at], str(texts[at]), *(percent(each[at]) for each in ours), percent(theirs[2][at])) for at in order
    )


def percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.1%}"


def _scores(targets: Whole, answers: Whole, count: int) -> tuple[Floats, Floats, Floats]:
    """(labels,) precision, recall and F1; NaN where there is nothing to divide by."""
    right = np.bincount(targets[targets == answers], minlength=count)
    there, answered = np.bincount(targets, minlength=count), np.bincount(answers, minlength=count)
    with np.errstate(invalid="ignore"):
        return right / answered, right / there, 2 * right / (there + answered)


def confusion(labels: Sequence[str], targets: Whole, answers: Whole) -> Matrix:
    """All labels, or those most often confused, with the others as one row and one column."""
    whole = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(whole, (targets, answers), 1)
    note = "Rows are labels of the data, columns the artifact's answers; the numbers are validation texts."
    if len(labels) <= MATRIX:
        return Matrix(note, tuple(labels), tuple(map(tuple, whole.tolist())))
    wrong = whole - np.diag(np.diag(whole))
    chosen = np.sort(np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:MATRIX])
    group = np.full(len(labels), MATRIX)
    group[chosen] = np.arange(MATRIX)
    counts = np.zeros((MATRIX + 1, MATRIX + 1), np.int64)
    np.add.at(counts, (group[targets], group[answers]), 1)
    others = f"{len(labels) - MATRIX} others"
    note += f" The {MATRIX} of {len(labels)} labels with most confusions; texts of the others are counted together."
    return Matrix(note, (*(labels[at] for at in chosen), others), tuple(map(tuple, counts.tolist())))


@dataclass(frozen=True)
class Counted:
    """Artifact and baseline on the same texts, counted."""

    answers: Whole
    """(n,) the artifact's."""
    confidence: Floats
    lost: Whole
    """Rows that the baseline reads right and the artifact does not, the surest first."""
    gained: int
    """The other way round."""
    agreement: float
    difference: float
    """Share of texts that the artifact reads right, less the baseline's."""
    interval: float
    """Half the width of the difference's 95 % interval: the two are paired, so only texts that differ count."""
    confused: tuple[tuple[str, str, str, str], ...]
    """How often texts of one label are answered with another: label, answer, by the artifact, by the baseline."""
    weakest: tuple[tuple[str, str, str, str], ...]
    """Labels that lost the largest share of their texts, the worst first: label, texts, and how many are read right."""
    chart: Chart


def paired(ours: Flags, theirs: Flags) -> tuple[float, float]:
    """The difference of two shares of right answers (n,), and half the width of its 95 % interval."""
    apart = ours.astype(np.float64) - theirs
    return float(apart.mean()), 1.96 * float(apart.std() / np.sqrt(len(apart)))


def counted(labels: Sequence[str], targets: Whole, baseline: Floats, artifact: Floats) -> Counted:
    """Both sets of logits (n, labels) against the targets (n,)."""
    before, after = baseline.argmax(axis=1), artifact.argmax(axis=1)
    sure_before, sure_after = confidence_of(baseline), confidence_of(artifact)
    right_before, right_after = before == targets, after == targets
    lost, gained = right_before & ~right_after, right_after & ~right_before
    difference, interval = paired(right_after, right_before)
    # The surest mistakes first: those are the ones that a threshold on the confidence would not catch.
    worst = sorted(np.flatnonzero(lost), key=lambda row: -sure_after[row])
    return Counted(
        answers=after,
        confidence=sure_after,
        lost=np.array(worst, np.int64),
        gained=int(gained.sum()),
        agreement=float((before == after).mean()),
        difference=difference,
        interval=interval,
        confused=_confused(labels, targets, before, after),
        weakest=_weakest(labels, targets, right_before, right_after),
        chart=calibration_chart(calibration(sure_before, right_before), calibration(sure_after, right_after)),
    )


def _confused(
    labels: Sequence[str], targets: Whole, before: Whole, after: Whole
) -> tuple[tuple[str, str, str, str], ...]:
    counts = [
        Counter((int(label), int(answer)) for label, answer in zip(targets, answers, strict=True) if label != answer)
        for answers in (after, before)
    ]
    most = sorted(counts[0].items(), key=lambda each: (-each[1], each[0]))[:PAIRS]
    return tuple(
        (labels[label], labels[answer], str(count), str(counts[1][label, answer])) for (label, answer), count in most
    )


def _weakest(
    labels: Sequence[str], targets: Whole, before: Flags, after: Flags
) -> tuple[tuple[str, str, str, str], ...]:
    counts = (np.bincount(targets[kept], minlength=len(labels)) for kept in (targets >= 0, after, before))
    found = [
        ((int(artifact) - int(baseline)) / int(texts), label, int(texts), int(artifact), int(baseline))
        for label, texts, artifact, baseline in zip(labels, *counts, strict=True)
        if artifact < baseline
    ]
    return tuple((label, *map(str, numbers)) for _, label, *numbers in sorted(found)[:PAIRS])


def confidence_of(logits: Floats) -> Floats:
    """The softmax of each row's largest logit."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    confidence: Floats = 1.0 / np.exp(shifted).sum(axis=1)
    return confidence
