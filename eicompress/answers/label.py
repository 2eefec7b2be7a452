"""One label of several: the largest logit, with the softmax's probability."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eicompress.answers.calibration import Flags, calibration, calibration_chart
from eicompress.answers.f1 import Whole, half_width, macro_f1
from eicompress.answers.kind import (
    TIE,
    Answer,
    Array,
    Chart,
    Floats,
    Matrix,
    Mistakes,
    Prediction,
    Table,
    id2label,
    joined,
)
from eicompress.errors import DataError, nearest
from eicompress.values import Json, Text

ACCURACY, MACRO_F1 = "accuracy", "macro_f1"
"""Qualities."""
EXAMPLES = 15
PAIRS = 10
"""Rows of the tables of labels."""
MATRIX = 12
"""Labels of the confusion matrix at most; the others are one row and one column."""


@dataclass(frozen=True)
class LabelPrediction(Prediction):
    """The best label of one text, with the probability that the model gives it."""

    label: str
    confidence: float

    @property
    def columns(self) -> tuple[str, ...]:
        return self.label, f"{self.confidence:.3f}"


@dataclass(frozen=True)
class Labels(Answer):
    """One of these labels for a text."""

    labels: tuple[str, ...]
    quality: str = ACCURACY
    """By which models are compared."""

    kind: ClassVar[str] = "label"
    pipeline: ClassVar[str] = "text-classification"
    simplest: ClassVar[str] = "majority class"
    linear: ClassVar[str] = "softmax regression"
    head: ClassVar[str] = "classifier"
    model: ClassVar[str] = "classifier"
    limit: ClassVar[str] = (
        "It answers one of the labels above to every text, also to texts that are about none of them."
    )
    browser: ClassVar[str] = '`pipeline("text-classification", ..., { dtype: "fp32" })`'
    surest: ClassVar[bool] = True
    quality_is_share: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels), "quality": self.quality}

    def config(self) -> dict[str, Any]:
        return {"id2label": id2label(self.labels)}

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[LabelPrediction]:
        best = logits.argmax(axis=1)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence = odds.max(axis=1) / odds.sum(axis=1)
        return [LabelPrediction(self.labels[b], float(c)) for b, c in zip(best, confidence, strict=True)]

    def choices(self, logits: Floats, texts: Sequence[Text], count: int) -> list[tuple[LabelPrediction, ...]]:
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = odds / odds.sum(axis=1, keepdims=True)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :count]
        return [
            tuple(LabelPrediction(self.labels[each], float(row[each])) for each in places)
            for places, row in zip(order, shares, strict=True)
        ]

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        if not isinstance(known, Labels) or not set(self.labels) <= set(known.labels):
            return None
        return tuple(known.labels.index(label) for label in self.labels)

    def mismatch(self, who: str, known: Answer | None) -> str:
        named = known.labels if isinstance(known, Labels) else ()
        missing = [label for label in self.labels if label not in named]
        if not missing:
            return f"The labels of {who} must be the data's and no others, but it has {len(named)}."
        return (
            f"The labels of {who} must be the data's, by name in `id2label`, but {len(missing)} of "
            f"{len(self.labels)} are not there, such as `{missing[0]}`: {nearest(missing[0], named)}"
        )

    @property
    def described(self) -> str:
        return "## Labels\n\n" + ", ".join(f"`{label}`" for label in self.labels)

    def holds(self, targets: Array) -> bool:
        return targets.ndim == 1 and bool(np.issubdtype(targets.dtype, np.integer))

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        counts = np.bincount(targets, minlength=self.outputs).astype(np.float32)
        return np.tile(counts, (len(texts), 1))

    def agrees(self, expected: Floats, got: Floats) -> Flags:
        chosen = expected[np.arange(len(expected)), got.argmax(axis=1)]
        found: Flags = chosen >= expected.max(axis=1) - TIE * expected.std()
        return found

    def readable_rows(self, rows: Sequence[Json], columns: Mapping[str, str], origin: str) -> Sequence[Json]:
        column = columns["label"]
        for at, row in enumerate(rows, start=1):
            if str(row[column]) not in self.labels:
                raise DataError(
                    f"every label must be one of the artifact's, but row {at} of `{origin}` has "
                    f"`{row[column]}`: {nearest(str(row[column]), self.labels)}"
                )
        # A task numbers the labels of its training rows: here, one row for each label that the artifact knows.
        return [{**rows[0], column: label} for label in self.labels]

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        first, second = ours.argmax(axis=1), theirs.argmax(axis=1)
        if self.quality == ACCURACY:
            return _paired(first == targets, second == targets)

        def apart(rows: Whole) -> float:
            return self._macro_f1(targets[rows], first[rows]) - self._macro_f1(targets[rows], second[rows])

        return apart(np.arange(len(targets))), half_width(apart, len(targets))

    def _macro_f1(self, targets: Whole, answers: Whole) -> float:
        return macro_f1(targets, answers, self.outputs)

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        found = counted(self.labels, targets, baseline, artifact)
        lines = [(row, self.labels[targets[row]], self.labels[found.answers[row]]) for row in found.lost[:EXAMPLES]]
        examples = tuple(
            (joined(texts[row]), label, answer, f"{found.confidence[row]:.0%}") for row, label, answer in lines
        )
        tables = (
            Table("Texts that it lost, the surest first", ("text", "label", "answer", "sure"), examples, 1),
            Table("Most confused", ("label", "answered with", "artifact", "baseline"), found.confused, 2),
            Table(
                f"Precision and recall, {min(EXAMPLES, self.outputs)} of {self.outputs} labels, the lowest F1 first",
                ("label", "texts", "precision", "recall", "F1", "baseline F1"),
                per_label(self.labels, targets, found.answers, baseline.argmax(axis=1))[:EXAMPLES],
                5,
            ),
            Table("Labels that lost most", ("label", "texts", "artifact right", "baseline right"), found.weakest, 3),
        )
        signed = f"{100 * found.difference:+.1f}".replace("-", "\u2212")
        summary = (
            f"Artifact and baseline give the same answer to {found.agreement:.1%} of {len(targets)} validation texts. "
            f"The artifact loses {len(found.lost)} that the baseline reads right, and gains {found.gained}: "
            f"{signed} ± {100 * found.interval:.1f} points (95 % interval, paired)."
        )
        interval, averaged = found.interval, self.quality == ACCURACY
        if not averaged:
            apart, interval = self.difference(targets, artifact, baseline)
            signed = f"{100 * apart:+.1f}".replace("-", "\u2212")
            ours, theirs = (self._macro_f1(targets, each.argmax(axis=1)) for each in (artifact, baseline))
            summary += (
                f" Macro F1 is {ours:.1%} for the artifact and {theirs:.1%} for the baseline: {signed} ± "
                f"{100 * interval:.1f} points (95 % interval, paired)."
            )
        kept = tuple(each for each in tables if each.rows)
        matrix = confusion(self.labels, targets, found.answers)
        return Mistakes(summary, interval, averaged, kept, found.chart, matrix)


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


def _paired(ours: Flags, theirs: Flags) -> tuple[float, float]:
    """The difference of two shares of right answers (n,), and half the width of its 95 % interval."""
    apart = ours.astype(np.float64) - theirs
    return float(apart.mean()), 1.96 * float(apart.std() / np.sqrt(len(apart)))


def counted(labels: Sequence[str], targets: Whole, baseline: Floats, artifact: Floats) -> Counted:
    """Both sets of logits (n, labels) against the targets (n,)."""
    before, after = baseline.argmax(axis=1), artifact.argmax(axis=1)
    sure_before, sure_after = _confidence(baseline), _confidence(artifact)
    right_before, right_after = before == targets, after == targets
    lost, gained = right_before & ~right_after, right_after & ~right_before
    difference, interval = _paired(right_after, right_before)
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


def _confidence(logits: Floats) -> Floats:
    """The softmax of each row's largest logit."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    confidence: Floats = 1.0 / np.exp(shifted).sum(axis=1)
    return confidence
