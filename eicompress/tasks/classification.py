"""Classification of single texts and of pairs of texts: one label of several."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress.answers import Labels
from eicompress.answers.label import ACCURACY, MACRO_F1
from eicompress.contracts import Array, Examples, Task
from eicompress.errors import DataError, brief, shortened
from eicompress.values import Json, Text, label_refusal, readable


@dataclass(frozen=True)
class Classification(Task):
    """One label for a text."""

    label_names: tuple[str, ...]
    quality: str = ACCURACY

    name: ClassVar[str] = "classification"
    qualities: ClassVar[tuple[str, ...]] = (ACCURACY, MACRO_F1)
    columns: ClassVar[tuple[str, ...]] = ("text", "label")

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        named = {role: columns.get(role, role) for role in cls.columns}
        label_column = named["label"]
        for name, rows in splits.items():
            _check_distinct(rows, label_column, name)
        labels = tuple(sorted({str(row[label_column]) for row in splits["train"]}))
        if len(labels) < 2:
            raise DataError(
                f"`train` must have at least two labels in column `{label_column}`, but every row says "
                f"{shortened(labels[0])}: check the column, or give data with several labels"
            )
        numbers = {label: number for number, label in enumerate(labels)}
        train = [str(row[label_column]) for row in splits["train"]]
        examples = {
            name: Examples(
                tuple(cls._text(row, named) for row in rows),
                np.array(
                    [_number(row[label_column], numbers, name, at, train) for at, row in enumerate(rows)], np.int64
                ),
            )
            for name, rows in splits.items()
        }
        return cls(labels), examples

    @classmethod
    def _text(cls, row: Json, columns: Mapping[str, str]) -> Text:
        return readable(row[columns["text"]])

    @classmethod
    def refusal(cls, label: object) -> str:
        finite = not isinstance(label, float) or math.isfinite(label)
        return label_refusal(label) if isinstance(label, str | int | float) and finite else "must be a text or a number"

    @property
    def answer(self) -> Labels:
        return Labels(self.label_names, self.quality)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy; logits (B, labels), targets (B,) label numbers."""
        return F.cross_entropy(logits, targets)

    def correct(self, logits: Array, targets: Array) -> Array:
        right: Array = logits.argmax(axis=1) == targets
        return right.astype(np.float64)

    def score(self, logits: Array, targets: Array) -> float:
        return self.answer.score(targets, logits)

    def difference(self, ours: Array, theirs: Array, targets: Array) -> tuple[float, float] | None:
        return None if self.answer.averaged else self.answer.difference(targets, ours, theirs)

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        """The accuracy, where another quality is maximised."""
        return {} if self.answer.averaged else {ACCURACY: float(self.correct(logits, targets).mean())}


@dataclass(frozen=True)
class PairClassification(Classification):
    """One label for a pair of texts."""

    name: ClassVar[str] = "pair_classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "text_pair", "label")

    @classmethod
    def _text(cls, row: Json, columns: Mapping[str, str]) -> Text:
        return readable(row[columns["text"]]), readable(row[columns["text_pair"]])


def _check_distinct(rows: Sequence[Json], column: str, split: str) -> None:
    """Raise `DataError` where two labels look the same and are not: `1` and `"1"`, or `"music"` and `"music "`."""
    seen: dict[str, tuple[int, object]] = {}
    for at, row in enumerate(rows, start=1):
        label = row[column]
        # True and 1 are equal, and so are 1 and 1.0, which other tools write in its stead.
        for written in (label, int(label)) if isinstance(label, bool) else (label,):
            like = " ".join(str(written).split()).removesuffix(".0")
            first, known = seen.setdefault(like, (at, label))
            if type(known) is not type(label) or known != label:
                raise DataError(
                    f"labels of `{split}` must differ in more than type or spacing, but row {first} has {brief(known)} "
                    f"and row {at} has {brief(label)}: write both in one way"
                )


def _number(label: object, numbers: Mapping[str, int], split: str, row: int, train: Sequence[str]) -> int:
    """The number of a label; `train` has those of all training rows."""
    if str(label) not in numbers:
        alone = sum(count == 1 for count in Counter(train).values())
        if 2 * alone > len(train):
            raise DataError(
                f"a label must be that of several rows, but {alone} of the {len(numbers)} labels of `train` have one "
                f"row each, and `{split}` has others: name the right column with `--label`, or say `--task regression` "
                "where labels are numbers"
            )
        raise DataError(
            f"every label of `{split}` must occur in `train`, but row {row + 1} has {shortened(str(label))}: "
            "add training rows with it, or leave the row out"
        )
    return numbers[str(label)]
