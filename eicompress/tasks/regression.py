"""Regression: a number for a text or a pair of texts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress.answers import Number
from eicompress.answers.number import correlation
from eicompress.contracts import Array, Examples, Task
from eicompress.errors import DataError
from eicompress.values import Json, Text, readable


@dataclass(frozen=True)
class Regression(Task):
    """A number for a text, or for a pair of texts where the data has the column `text_pair`.

    Targets are in deviations from the mean of `train`. The quality is Pearson's correlation with the data's numbers,
    which no scale changes; what runs against them, or does not vary, has none.
    """

    number: Number
    of_pairs: bool = False

    name: ClassVar[str] = "regression"
    quality: ClassVar[str] = Number.quality
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    may_have: ClassVar[tuple[str, ...]] = ("text_pair",)

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        text, label = (columns.get(role, role) for role in cls.columns)
        second = columns.get("text_pair")
        numbers = {
            name: np.array([number_in(row[label], label, name, at) for at, row in enumerate(rows, start=1)])
            for name, rows in splits.items()
        }
        train = numbers["train"]
        if train.min() == train.max():
            raise DataError(
                f"`train` must have different numbers in column `{label}`, but every row says `{train[0]:g}`: check "
                "the column"
            )
        with np.errstate(all="ignore"):
            answer = Number(float(train.mean()), float(train.std()))
            targets = {
                name: ((each - answer.mean) / answer.deviation).astype(np.float32) for name, each in numbers.items()
            }
        wrong = next((name for name, each in targets.items() if not np.isfinite([*each, answer.deviation]).all()), None)
        if wrong is not None:
            most = numbers[wrong][np.abs(numbers[wrong]).argmax()]
            raise DataError(
                f"the numbers in column `{label}` must be of one order of size, so that mean and deviation are "
                f"numbers too, but `{wrong}` has {most:g}: mend the row or take it out, or divide all of them"
            )
        examples = {
            name: Examples(tuple(_text(row, text, second) for row in rows), targets[name])
            for name, rows in splits.items()
        }
        return cls(answer, second is not None), examples

    @classmethod
    def refusal(cls, label: object) -> str:
        return "" if _as_number(label) is not None else "must be a finite number"

    @property
    def answer(self) -> Number:
        return self.number

    @property
    def pairs(self) -> bool:
        return self.of_pairs

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared error; logits (B, 1), targets (B,) in deviations from the mean."""
        return F.mse_loss(logits[:, 0], targets)

    def correct(self, logits: Array, targets: Array) -> Array:
        """1 for the number itself, and 0 for one that is a deviation or more away."""
        near: Array = 1.0 - np.minimum(1.0, np.abs(logits[:, 0].astype(np.float64) - targets))
        return near

    def score(self, logits: Array, targets: Array) -> float:
        return self.answer.score(targets, logits)

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        """Spearman's correlation, of ranks, from -1 to 1."""
        from scipy.stats import rankdata  # late, since it takes a while and processes that predict need none

        return {"spearman": correlation(rankdata(logits[:, 0]), rankdata(targets))}


def are_numbers(labels: Iterable[object]) -> bool:
    """Whether labels can only be meant as numbers: all of them are, and most have a fraction."""
    numbers = [_as_number(each) for each in labels]
    return None not in numbers and sum(each != int(each) for each in numbers if each is not None) > len(numbers) / 2


def number_in(value: object, column: str, split: str, row: int) -> float:
    number = _as_number(value)
    if number is None:
        raise DataError(
            f"every row must have a finite number in column `{column}`, but row {row} of `{split}` has `{value}`: "
            "mend the row or take it out"
        )
    return number


def _as_number(value: object) -> float | None:
    """A finite number, also where it is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | np.number):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(row: Json, first: str, second: str | None) -> Text:
    text = readable(row[first])
    return text if second is None else (text, readable(row[second]))
