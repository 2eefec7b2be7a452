"""`my_task`: one label of several, scored so that a rare label counts as much as a frequent one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress import Answer, DataError, Examples, Labels, Task, hookimpl
from eicompress.contracts import Array
from eicompress.values import Json

EICOMPRESS_INTERFACE = 1


@dataclass(frozen=True)
class MyTask(Task):
    """One label for a text; the quality is the mean recall of the labels (balanced accuracy)."""

    label_names: tuple[str, ...]

    name: ClassVar[str] = "my_task"
    quality: ClassVar[str] = "balanced_accuracy"
    averaged: ClassVar[bool] = False  # the quality is no mean over the texts
    columns: ClassVar[tuple[str, ...]] = ("text", "label")

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        text, label = (columns.get(role, role) for role in cls.columns)
        labels = tuple(sorted({str(row[label]) for row in splits["train"]}))
        found = {}
        for split, rows in splits.items():
            unknown = {str(row[label]) for row in rows} - set(labels)
            if unknown:
                raise DataError(f"every label of `{split}` must occur in `train`, but `{min(unknown)}` does not")
            targets = np.array([labels.index(str(row[label])) for row in rows], np.int64)
            found[split] = Examples(tuple(str(row[text]) for row in rows), targets)
        return cls(labels), found

    @property
    def answer(self) -> Answer:
        return Labels(self.label_names)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, targets)

    def correct(self, logits: Array, targets: Array) -> Array:
        right: Array = (logits.argmax(axis=1) == targets).astype(np.float64)
        return right

    def score(self, logits: Array, targets: Array) -> float:
        right = self.correct(logits, targets)
        return float(np.mean([right[targets == label].mean() for label in np.unique(targets)]))


@hookimpl
def register_tasks() -> list[type[Task]]:
    return [MyTask]
