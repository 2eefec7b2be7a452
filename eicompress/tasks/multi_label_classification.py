"""Multi-label classification: any number of labels for a text or a pair of texts, none among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress.answers import LabelSet
from eicompress.answers.label_set import MACRO_F1, MICRO_F1
from eicompress.contracts import Array, Examples, Task
from eicompress.errors import DataError, nearest, shortened
from eicompress.values import Json, Text, label_refusal, readable


@dataclass(frozen=True)
class MultiLabelClassification(Task):
    """A list of labels for a text, or for a pair of texts where the data has the column `text_pair`.

    The quality is the F1 over all pairs of a text and a label together (micro), or the mean F1 of the labels (macro).
    """

    label_names: tuple[str, ...]
    quality: str = MICRO_F1
    of_pairs: bool = False

    name: ClassVar[str] = "multi_label_classification"
    qualities: ClassVar[tuple[str, ...]] = (MICRO_F1, MACRO_F1)
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    may_have: ClassVar[tuple[str, ...]] = ("text_pair",)
    example: ClassVar[Sequence[Json]] = (
        {"text": "play a song", "label": ["music"]},
        {"text": "will it rain", "label": ["weather"]},
        {"text": "play a song today if the sun will stop", "label": ["music", "weather"]},
        {"text": "stop it", "label": []},
    )

    @classmethod
    def columns_in(cls, row: Json, columns: Mapping[str, str]) -> dict[str, str]:
        """As named; else `label`, or `labels` where the row has that alone."""
        named = super().columns_in(row, columns)
        alone = named["label"] == "label" and "label" not in row and "labels" in row
        return {**named, "label": "labels"} if alone else named

    @classmethod
    def refusal(cls, label: object) -> str:
        if not isinstance(label, list):
            return "must be a list of labels, which may be empty"
        known = all(isinstance(each, str | int) and not isinstance(each, bool) and str(each).strip() for each in label)
        if not known:
            return "must have labels that are texts or whole numbers"
        broken = next(filter(None, map(label_refusal, label)), "")
        return f"must have labels of which each {broken}" if broken else ""

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        text, label = (columns.get(role, role) for role in cls.columns)
        second = columns.get("text_pair")
        labels = tuple(sorted({str(each) for row in splits["train"] for each in row[label]}))
        if not labels:
            raise DataError(f"`train` must have labels in column `{label}`, but every list is empty: check the column")
        places = {name: place for place, name in enumerate(labels)}
        examples = {}
        for name, rows in splits.items():
            targets = np.zeros((len(rows), len(labels)), np.int64)
            for at, row in enumerate(rows):
                targets[at, [_place(str(each), places, name, at + 1) for each in row[label]]] = 1
            examples[name] = Examples(tuple(_text(row, text, second) for row in rows), targets)
        return cls(labels, of_pairs=second is not None), examples

    @property
    def answer(self) -> LabelSet:
        return LabelSet(self.label_names, self.quality)

    @property
    def pairs(self) -> bool:
        return self.of_pairs

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each label's own probability, the sum over labels and the mean over texts, from (B, labels).

        All labels have the same weight, and so have texts with and without a label: a student learns its teacher's
        probabilities, and the threshold makes up for labels that are rare.
        """
        lost = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
        return lost.sum(dim=1).mean()

    def correct(self, logits: Array, targets: Array) -> Array:
        """F1 of each text; 1 where it has no labels and none are answered."""
        answered, there = logits >= 0, targets > 0
        both = answered.sum(axis=1) + there.sum(axis=1)
        found: Array = np.where(both > 0, 2 * (answered & there).sum(axis=1) / np.maximum(both, 1), 1.0)
        return found

    def score(self, logits: Array, targets: Array) -> float:
        return self.answer.score(targets, logits)

    def difference(self, ours: Array, theirs: Array, targets: Array) -> tuple[float, float]:
        return self.answer.difference(targets, ours, theirs)

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        """The other F1, and the share of texts whose labels are all right."""
        other = MICRO_F1 if self.quality == MACRO_F1 else MACRO_F1
        whole = ((logits >= 0) == (targets > 0)).all(axis=1).mean()
        return {other: replace(self.answer, quality=other).score(targets, logits), "exact_match": float(whole)}


def are_lists(labels: Sequence[object]) -> bool:
    """Whether labels are meant as lists of them: most are lists."""
    return 2 * sum(isinstance(each, list) for each in labels) > len(labels)


def _place(label: str, places: Mapping[str, int], split: str, row: int) -> int:
    if label not in places:
        raise DataError(
            f"every label of `{split}` must occur in `train`, but row {row} has {shortened(label)}: "
            f"{nearest(label, places)}"
        )
    return places[label]


def _text(row: Json, first: str, second: str | None) -> Text:
    text = readable(row[first])
    return text if second is None else (text, readable(row[second]))
