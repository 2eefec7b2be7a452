"""Classification of single texts and of pairs of texts: one label of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress.answers import Labels
from eicompress.contracts import Array, Examples, Task
from eicompress.errors import DataError
from eicompress.values import Json, Text, readable


@dataclass(frozen=True)
class Classification(Task):
    """One label for a text."""

    label_names: tuple[str, ...]

    name: ClassVar[str] = "classification"
    quality: ClassVar[str] = "accuracy"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        named = {role: columns.get(role, role) for role in cls.columns}
        label_column = named["label"]
        labels = tuple(sorted({str(row[label_column]) for row in splits["train"]}))
        if len(labels) < 2:
            raise DataError(
                f"`train` must have at least two labels in column `{label_column}`, but every row says "
                f"`{labels[0]}`: check the column, or give data with several labels"
            )
        numbers = {label: number for number, label in enumerate(labels)}
        examples = {
            name: Examples(
                tuple(cls._text(row, named) for row in rows),
                np.array([_number(row[label_column], numbers, name, at) for at, row in enumerate(rows)], np.int64),
            )
            for name, rows in splits.items()
        }
        return cls(labels), examples

    @classmethod
    def _text(cls, row: Json, columns: Mapping[str, str]) -> Text:
        return readable(str(row[columns["text"]]))

    @property
    def answer(self) -> Labels:
        return Labels(self.label_names)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy; logits (B, labels), targets (B,) label numbers."""
        return F.cross_entropy(logits, targets)

    def correct(self, logits: Array, targets: Array) -> Array:
        right: Array = logits.argmax(axis=1) == targets
        return right.astype(np.float64)


@dataclass(frozen=True)
class PairClassification(Classification):
    """One label for a pair of texts."""

    name: ClassVar[str] = "pair_classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "text_pair", "label")

    @classmethod
    def _text(cls, row: Json, columns: Mapping[str, str]) -> Text:
        return readable(str(row[columns["text"]])), readable(str(row[columns["text_pair"]]))


def _number(label: object, numbers: Mapping[str, int], split: str, row: int) -> int:
    if str(label) not in numbers:
        raise DataError(
            f"every label of `{split}` must occur in `train`, but row {row + 1} has `{label}`: "
            "add training rows with it, or leave the row out"
        )
    return numbers[str(label)]
