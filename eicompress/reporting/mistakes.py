"""What an artifact gets wrong, from the logits and texts that the records name: for tasks of one label a text."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eicompress.values import Record, Text

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Whole: TypeAlias = npt.NDArray[np.int64]

EXAMPLES = 15
PAIRS = 10
"""Rows of the tables of labels."""
BINS = 10


@dataclass(frozen=True)
class Mistake:
    """A text that the baseline reads right and the artifact does not."""

    text: Text
    label: str
    answer: str
    confidence: float


@dataclass(frozen=True)
class Confused:
    """How often texts of one label are answered with another."""

    label: str
    answer: str
    artifact: int
    baseline: int


@dataclass(frozen=True)
class OfLabel:
    """How many texts of one label there are, and how many of them are read right."""

    label: str
    texts: int
    artifact: int
    baseline: int


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


@dataclass(frozen=True)
class Mistakes:
    """Artifact and baseline on the same validation texts."""

    texts: int
    agreement: float
    lost: int
    """Texts that the baseline reads right and the artifact does not."""
    gained: int
    """The other way round."""
    difference: float
    """Share of texts that the artifact reads right, less the baseline's."""
    interval: float
    """Half the width of the difference's 95 % interval: the two are paired, so only texts that differ count."""
    examples: tuple[Mistake, ...]
    confused: tuple[Confused, ...]
    weakest: tuple[OfLabel, ...]
    """Labels that lost the largest share of their texts, the worst first; those that lost none are left out."""
    artifact: Calibration
    baseline: Calibration


def mistakes(baseline: Record, best: Record, folder: Path) -> Mistakes | None:
    """None where logits or texts are not recorded, no longer there, or not of one label a text."""
    files = [
        _found(record.files.get(name, ""), folder)
        for record, name in (
            (baseline, "validation_examples"),
            (baseline, "validation_logits"),
            (best, "validation_logits"),
        )
    ]
    if any(file is None for file in files):
        return None
    examples, before, after = (file for file in files if file is not None)
    read = json.loads(examples.read_text(encoding="utf-8"))
    teacher, student = np.load(before, allow_pickle=False), np.load(after, allow_pickle=False)
    labels, targets = tuple(read["labels"]), np.array(read["targets"])
    if not _one_label_a_text(targets, teacher, student, labels):
        return None
    texts = tuple(tuple(each) if isinstance(each, list) else each for each in read["texts"])
    return compared(texts, labels, targets, teacher, student)


def compared(
    texts: tuple[Text, ...], labels: tuple[str, ...], targets: Whole, baseline: Floats, artifact: Floats
) -> Mistakes:
    """Both sets of logits (n, labels) against the targets (n,)."""
    before, after = baseline.argmax(axis=1), artifact.argmax(axis=1)
    sure_before, sure_after = _confidence(baseline), _confidence(artifact)
    right_before, right_after = before == targets, after == targets
    lost, gained = right_before & ~right_after, right_after & ~right_before
    # The surest mistakes first: those are the ones that a threshold on the confidence would not catch.
    worst = sorted(np.flatnonzero(lost), key=lambda row: -sure_after[row])[:EXAMPLES]
    whole = len(targets)
    difference = float(gained.sum() - lost.sum()) / whole
    spread = float(gained.sum() + lost.sum()) / whole - difference**2
    return Mistakes(
        texts=whole,
        agreement=float((before == after).mean()),
        lost=int(lost.sum()),
        gained=int(gained.sum()),
        difference=difference,
        interval=1.96 * float(np.sqrt(max(0.0, spread) / whole)),
        examples=tuple(
            Mistake(texts[row], labels[targets[row]], labels[after[row]], float(sure_after[row])) for row in worst
        ),
        confused=_confused(labels, targets, before, after),
        weakest=_weakest(labels, targets, right_before, right_after),
        artifact=calibration(sure_after, right_after),
        baseline=calibration(sure_before, right_before),
    )


def calibration(confidence: Floats, right: npt.NDArray[np.bool_]) -> Calibration:
    """Answers in bins of equal width of confidence; empty bins are left out."""
    at = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = tuple(
        Bin(float(confidence[at == number].mean()), float(right[at == number].mean()), int((at == number).sum()))
        for number in range(BINS)
        if (at == number).any()
    )
    whole = sum(each.count for each in bins)
    return Calibration(bins, sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / max(1, whole))


def _confused(labels: tuple[str, ...], targets: Whole, before: Whole, after: Whole) -> tuple[Confused, ...]:
    counts = [
        Counter((int(label), int(answer)) for label, answer in zip(targets, answers, strict=True) if label != answer)
        for answers in (after, before)
    ]
    return tuple(
        Confused(labels[label], labels[answer], count, counts[1][label, answer])
        for (label, answer), count in sorted(counts[0].items(), key=lambda each: (-each[1], each[0]))[:PAIRS]
    )


def _weakest(
    labels: tuple[str, ...], targets: Whole, before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]
) -> tuple[OfLabel, ...]:
    counts = (np.bincount(targets[kept], minlength=len(labels)) for kept in (targets >= 0, after, before))
    found = [
        OfLabel(label, int(texts), int(artifact), int(baseline))
        for label, texts, artifact, baseline in zip(labels, *counts, strict=True)
        if artifact < baseline
    ]
    return tuple(sorted(found, key=lambda each: ((each.artifact - each.baseline) / each.texts, each.label))[:PAIRS])


def _confidence(logits: Floats) -> Floats:
    """The softmax of each row's largest logit."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    confidence: Floats = 1.0 / np.exp(shifted).sum(axis=1)
    return confidence


def _one_label_a_text(targets: npt.NDArray[Any], teacher: Floats, student: Floats, labels: tuple[str, ...]) -> bool:
    numbered = targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer)
    return bool(numbered and teacher.shape == student.shape == (len(targets), len(labels)))


def _found(name: str, folder: Path) -> Path | None:
    """The file where the record says it is, or in the study's folder, which may have been moved since."""
    path = Path(name)
    return next((each for each in (path, folder / "files" / path.name) if name and each.is_file()), None)
