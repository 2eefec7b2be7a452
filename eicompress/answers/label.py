"""One label of several: the largest logit, with the softmax's probability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np

from eicompress.answers.calibration import Flags
from eicompress.answers.f1 import Whole, half_width, macro_f1
from eicompress.answers.kind import (
    TIE,
    Answer,
    Array,
    Floats,
    Mistakes,
    Prediction,
    Table,
    id2label,
    joined,
)
from eicompress.answers.label_mistakes import confidence_of, confusion, counted, paired, per_label
from eicompress.answers.rejection import NEVER, auroc, threshold
from eicompress.errors import DataError, ModelError, nearest
from eicompress.values import Json, Text

ACCURACY, MACRO_F1 = "accuracy", "macro_f1"
"""Qualities."""
EXAMPLES = 15


@dataclass(frozen=True)
class LabelPrediction(Prediction):
    """The best label of one text, with the probability that the model gives it; None where the text is rejected."""

    label: str | None
    confidence: float

    @property
    def columns(self) -> tuple[str, ...]:
        return "-" if self.label is None else self.label, f"{self.confidence:.3f}"


@dataclass(frozen=True)
class Labels(Answer):
    """One of these labels for a text."""

    labels: tuple[str, ...]
    quality: str = ACCURACY
    """By which models are compared."""
    reject_below: float = NEVER
    """The confidence below which a text is taken to belong to no label, if it is asked for."""

    kind: ClassVar[str] = "label"
    pipeline: ClassVar[str] = "text-classification"
    simplest: ClassVar[str] = "majority class"
    linear: ClassVar[str] = "softmax regression"
    head: ClassVar[str] = "classifier"
    model: ClassVar[str] = "classifier"
    limit: ClassVar[str] = (
        "It answers one of the labels above to every text, also to texts that are about none of them; "
        "`predict --reject` answers none where it is not sure enough (`reject_below` in `config.json`)."
    )
    browser: ClassVar[str] = '`pipeline("text-classification", ..., { dtype: "fp32" })`'
    surest: ClassVar[bool] = True
    ranks: ClassVar[bool] = True
    tuned_on_validation: ClassVar[bool] = True
    may_reject: ClassVar[bool] = True
    quality_is_share: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels

    @property
    def averaged(self) -> bool:
        return self.quality == ACCURACY

    def to_json(self) -> dict[str, Any]:
        chosen = {"quality": self.quality, "reject_below": self.reject_below}
        return {"kind": self.kind, "labels": list(self.labels), **chosen}

    def config(self) -> dict[str, Any]:
        return {"id2label": id2label(self.labels), "reject_below": self.reject_below}

    def tuned(self, logits: Floats, targets: Array, outside: Floats | None) -> "Labels":
        if not self.holds(targets):
            return self
        right = logits.argmax(axis=1) == targets
        others = None if outside is None else confidence_of(outside)
        return replace(self, reject_below=threshold(confidence_of(logits), right, others))

    def like(self, artifact: Answer) -> "Labels":
        return replace(self, reject_below=artifact.reject_below) if isinstance(artifact, Labels) else self

    def rejected(self, found: Prediction) -> Prediction:
        if self.reject_below <= NEVER:
            raise ModelError(
                f"`config.json` must have a threshold above {NEVER}, `reject_below`, if texts are to be rejected, but "
                "has none: build the artifact with eicompress, which chooses one on the validation rows"
            )
        sure = isinstance(found, LabelPrediction) and found.confidence >= self.reject_below
        return found if sure else replace(cast(LabelPrediction, found), label=None)

    def of_outside(self, logits: Floats, targets: Array, outside: Floats) -> Mapping[str, float]:
        if not self.holds(targets):
            return {}
        sure, others = confidence_of(logits), confidence_of(outside)
        right = (logits.argmax(axis=1) == targets) & (sure >= self.reject_below)
        return {
            "auroc": auroc(sure, others),
            "in_scope_accuracy": float(right.mean()),
            "out_of_scope_recall": float((others < self.reject_below).mean()),
        }

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

    def score(self, targets: Array, logits: Floats) -> float:
        """The quality of logits (n, labels)."""
        answers = logits.argmax(axis=1)
        return float((answers == targets).mean()) if self.averaged else self._macro_f1(targets, answers)

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        first, second = ours.argmax(axis=1), theirs.argmax(axis=1)
        if self.averaged:
            return paired(first == targets, second == targets)

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
        interval = found.interval
        if not self.averaged:
            apart, interval = self.difference(targets, artifact, baseline)
            signed = f"{100 * apart:+.1f}".replace("-", "\u2212")
            ours, theirs = (self.score(targets, each) for each in (artifact, baseline))
            summary += (
                f" Macro F1 is {ours:.1%} for the artifact and {theirs:.1%} for the baseline: {signed} ± "
                f"{100 * interval:.1f} points (95 % interval, paired)."
            )
        kept = tuple(each for each in tables if each.rows)
        matrix = confusion(self.labels, targets, found.answers)
        return Mistakes(summary, interval, self.averaged, kept, (found.chart,), matrix)
