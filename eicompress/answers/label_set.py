"""A set of labels for a text, none among them: each label is answered on its own, by the logistic of its logit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from eicompress.answers.calibration import Flags
from eicompress.answers.f1 import Whole, half_width, macro, micro
from eicompress.answers.kind import TIE, Answer, Array, Floats, Mistakes, Prediction, id2label
from eicompress.answers.label_set_mistakes import mistakes_of
from eicompress.errors import DataError, nearest
from eicompress.values import Json, Text

MICRO_F1, MACRO_F1 = "micro_f1", "macro_f1"
"""Qualities."""
PROBLEM = "multi_label_classification"
"""What `transformers` calls it, as `problem_type` of a config."""
EVEN = 0.4999
"""The threshold of a model for which none was chosen: about half, with as many digits as others, so that to choose one
adds no byte to a file."""
TRIED = 200
"""Thresholds that are compared, at most."""
FLAT = 0.1
"""Where a model's logits deviate by less, agreement is judged as if they did."""


@dataclass(frozen=True)
class LabelSetPrediction(Prediction):
    """The labels of one text, the likeliest first, with their probabilities; none where none reaches the threshold."""

    labels: tuple[str, ...]
    confidences: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        found = zip(self.labels, self.confidences, strict=True)
        return (", ".join(f"{label} {confidence:.3f}" for label, confidence in found) or "-",)


@dataclass(frozen=True)
class LabelChoice(Prediction):
    """One label of a text with its probability, and whether it reaches the threshold, so that it is answered."""

    label: str
    confidence: float
    answered: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return self.label, f"{self.confidence:.3f}", "answered" if self.answered else "-"


@dataclass(frozen=True)
class LabelSet(Answer):
    """Any of these labels for a text."""

    labels: tuple[str, ...]
    quality: str = MICRO_F1
    """By which thresholds are chosen and models compared."""
    threshold: float = EVEN
    """The probability from which a label is answered."""

    kind: ClassVar[str] = "set of labels"
    pipeline: ClassVar[str] = "text-classification"
    simplest: ClassVar[str] = "most frequent labels"
    linear: ClassVar[str] = "logistic regression, each label against the rest"
    head: ClassVar[str] = "multi-label classifier"
    model: ClassVar[str] = "multi-label classifier"
    limit: ClassVar[str] = (
        "One threshold (`threshold` in `config.json`) decides for all labels; it was chosen where texts have labels as "
        "often as in the data."
    )
    browser: ClassVar[str] = (
        '`pipeline("text-classification", ..., { dtype: "fp32" })`, called with `{ top_k: null }`: labels from\n'
        "`threshold` of `config.json` up are answered"
    )
    surest: ClassVar[bool] = False
    ranks: ClassVar[bool] = True
    quality_is_share: ClassVar[bool] = True
    tuned_on_validation: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels

    def to_json(self) -> dict[str, Any]:
        chosen = {"quality": self.quality, "threshold": self.threshold}
        return {"kind": self.kind, "labels": list(self.labels), **chosen}

    def config(self) -> dict[str, Any]:
        chosen = {"problem_type": PROBLEM, "threshold": self.threshold, "pipeline_tag": self.pipeline}
        return {"id2label": id2label(self.labels), **chosen}

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[LabelSetPrediction]:
        found = []
        for ranked in self.choices(logits, texts, self.outputs):
            answered = [each for each in ranked if each.answered]
            labels, confidences = (each.label for each in answered), (each.confidence for each in answered)
            found.append(LabelSetPrediction(tuple(labels), tuple(confidences)))
        return found

    def choices(self, logits: Floats, texts: Sequence[Text], count: int) -> list[tuple[LabelChoice, ...]]:
        shares = _logistic(logits)
        order = np.argsort(-shares, axis=1, kind="stable")[:, :count]
        return [
            tuple(LabelChoice(self.labels[at], float(row[at]), bool(row[at] >= self.threshold)) for at in places)
            for places, row in zip(order, shares, strict=True)
        ]

    def decided(self, logits: Floats) -> Floats:
        """What is not below zero is answered."""
        found: Floats = logits - np.float32(np.log(self.threshold / (1 - self.threshold)))
        return found

    def tuned(self, logits: Floats, targets: Array, outside: Floats | None) -> "LabelSet":
        """With the threshold of the best quality, which lies just below the probability of a label that is there."""
        shares, there = _logistic(logits), targets > 0
        known = np.unique(np.floor(shares[there] * 10_000) / 10_000)
        tried = known[np.unique(np.linspace(0, len(known) - 1, min(TRIED, len(known))).astype(np.int64))]
        inside = [float(each) for each in tried if 0 < each < 1]
        best = max(inside, key=lambda each: self._f1(_counts(there, shares >= each).sum(axis=0)), default=EVEN)
        return replace(self, threshold=best)

    def like(self, artifact: Answer) -> "LabelSet":
        return replace(self, threshold=artifact.threshold) if isinstance(artifact, LabelSet) else self

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        if not isinstance(known, LabelSet) or not set(self.labels) <= set(known.labels):
            return None
        return tuple(known.labels.index(label) for label in self.labels)

    def mismatch(self, who: str, known: Answer | None) -> str:
        if not isinstance(known, LabelSet):
            came = "answers nothing that is named" if known is None else f"is {known.a_model}"
            return (
                f"{who[:1].upper()}{who[1:]} must answer each label on its own (`problem_type` in its config must be "
                f"`{PROBLEM}`), but {came}. Fine-tune it on the data."
            )
        missing = [label for label in self.labels if label not in known.labels]
        if not missing:
            return f"The labels of {who} must be the data's and no others, but it has {known.outputs}."
        return (
            f"The labels of {who} must be the data's, by name in `id2label`, but {len(missing)} of "
            f"{len(self.labels)} are not there, such as `{missing[0]}`: {nearest(missing[0], known.labels)}"
        )

    @property
    def described(self) -> str:
        labels = ", ".join(f"`{label}`" for label in self.labels)
        return (
            f"## Labels\n\n{labels}.\n\nA text has any number of them. The logistic function of the file's `logits` is "
            f"the probability of each; one is answered from {self.threshold:g} up."
        )

    def holds(self, targets: Array) -> bool:
        return targets.ndim == 2 and targets.shape[1] == self.outputs and bool(np.isin(targets, (0, 1)).all())

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        """The same labels for every text: as many of the most frequent ones as have the highest micro F1."""
        frequent = np.sort(targets.sum(axis=0))[::-1]
        reached = 2 * np.cumsum(frequent) / (len(targets) * np.arange(1, self.outputs + 1) + frequent.sum())
        order = np.argsort(-targets.sum(axis=0), kind="stable")[: int(np.argmax(reached)) + 1]
        logits = np.full(self.outputs, -1.0, np.float32)
        logits[order] = 1.0
        return np.tile(logits, (len(texts), 1))

    def agrees(self, expected: Floats, got: Floats) -> Flags:
        found: Flags = (np.abs(got - expected) <= TIE * max(FLAT, float(expected.std()))).ravel()
        return found

    def readable_rows(self, rows: Sequence[Json], columns: Mapping[str, str], origin: str) -> Sequence[Json]:
        column = columns["label"]
        for at, row in enumerate(rows, start=1):
            for label in map(str, row[column]):
                if label not in self.labels:
                    raise DataError(
                        f"every label must be one of the artifact's, but row {at} of `{origin}` has `{label}`: "
                        f"{nearest(label, self.labels)}"
                    )
        return [{**rows[0], column: list(self.labels)}]

    def score(self, targets: Array, logits: Floats) -> float:
        """The quality of logits (n, labels) with the threshold at zero."""
        return self._f1(_counts(targets > 0, logits >= 0).sum(axis=0))

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        counts = [_counts(targets > 0, each >= 0) for each in (ours, theirs)]
        if self.quality == MICRO_F1:
            counts = [each.sum(axis=1, keepdims=True) for each in counts]
        both = np.stack(counts, axis=1)  # (n, 2, labels, 3)
        flat = both.reshape(len(both), -1).astype(np.float32)

        def apart(rows: Whole) -> float:
            # A product, since to copy the rows that were drawn takes ten times as long; whole numbers stay exact.
            drawn = np.bincount(rows, minlength=len(flat)).astype(np.float32) @ flat
            first, second = drawn.astype(np.int64).reshape(both.shape[1:])
            return self._f1(first) - self._f1(second)

        return apart(np.arange(len(targets))), half_width(apart, len(targets))

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        qualities = [self.score(targets, each) for each in (artifact, baseline)]
        interval = self.difference(targets, artifact, baseline)[1]
        said = (
            f"{self.quality.replace('_f1', '').capitalize()} F1 is {qualities[0]:.1%} for the artifact and "
            f"{qualities[1]:.1%} for the baseline: {100 * (qualities[0] - qualities[1]):+.1f} ± {100 * interval:.1f} "
            "points (95 % interval, paired)."
        ).replace(": -", ": \u2212")
        return mistakes_of(self.labels, texts, targets > 0, baseline >= 0, artifact >= 0, said, interval)

    def _f1(self, counts: Whole) -> float:
        return macro(counts) if self.quality == MACRO_F1 else micro(counts)


def _logistic(logits: Floats) -> Floats:
    shares: Floats = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return shares


def _counts(there: Flags, answered: Flags) -> Whole:
    """(n, labels, 3): of each text, which labels are right, answered and there."""
    return np.stack([there & answered, answered, there], axis=2).astype(np.int64)
