"""Several tasks on one encoder: each row belongs to one of them, and each has labels of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress.answers import MultiTask, Part
from eicompress.contracts import Array, Examples, Task, Teacher
from eicompress.errors import DataError
from eicompress.tasks.classification import Classification, PairClassification
from eicompress.values import Json, Text

MEAN_SHARE, MEAN_ACCURACY = "mean_share", "mean_accuracy"
"""Qualities."""


@dataclass(frozen=True)
class MultiTaskClassification(Task):
    """One label for a text, or a pair of texts, of the task that it belongs to. The quality is the mean over the tasks
    of the accuracy, as a share of that of the task's teacher; or of the accuracy itself, as GLUE's score (arXiv
    1804.07461)."""

    parts: tuple[Part, ...]
    quality: str = MEAN_SHARE

    name: ClassVar[str] = "multi_task"
    qualities: ClassVar[tuple[str, ...]] = (MEAN_SHARE, MEAN_ACCURACY)
    columns: ClassVar[tuple[str, ...]] = ("task", "text", "label")
    may_have: ClassVar[tuple[str, ...]] = ("text_pair",)
    example: ClassVar[Sequence[Json]] = (
        {"task": "matches", "text": "will it rain", "text_pair": "rain today", "label": "yes"},
        {"task": "topic", "text": "will it rain", "label": "weather"},
        {"task": "matches", "text": "play a song", "text_pair": "the sun", "label": "no"},
        {"task": "topic", "text": "play a song", "label": "music"},
    )

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        task, pair = columns.get("task", "task"), columns.get("text_pair", "text_pair")
        parts, start = [], 0
        texts: dict[str, list[Text]] = {split: [""] * len(rows) for split, rows in splits.items()}
        targets = {split: np.zeros(len(rows), np.int64) for split, rows in splits.items()}
        for name in sorted({str(row[task]) for row in splits["train"]}):
            places = {split: [at for at, row in enumerate(rows) if row[task] == name] for split, rows in splits.items()}
            own = {split: [splits[split][at] for at in each] for split, each in places.items()}
            pairs = own["train"][0].get(pair) is not None
            _check_form(name, own, pair, pairs)
            try:
                read, examples = (PairClassification if pairs else Classification).read(own, columns)
            except DataError as error:
                raise DataError(f"task `{name}`: {error}") from error
            parts.append(Part(name, read.answer, pairs))
            for split, each in examples.items():
                targets[split][places[split]] = start + each.targets
                for at, text in zip(places[split], each.texts, strict=True):
                    texts[split][at] = text
            start += read.answer.outputs
        _check_known(splits, task, {each.name for each in parts})
        return cls(tuple(parts)), {split: Examples(tuple(texts[split]), targets[split]) for split in splits}

    @classmethod
    def refusal(cls, label: object) -> str:
        return Classification.refusal(label)

    @property
    def answer(self) -> MultiTask:
        return MultiTask(self.parts)

    @property
    def pairs(self) -> bool:
        return any(each.pairs for each in self.parts)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy over the labels of a text's own task: the mean over the batch. Logits (B, outputs), targets
        (B,) numbers of outputs."""
        answer, found = self.answer, [logits.new_zeros(())]
        for own in answer.slices:
            rows = (targets >= own.start) & (targets < own.stop)
            found.append(F.cross_entropy(logits[rows, own], targets[rows] - own.start, reduction="sum"))
        return torch.stack(found).sum() / len(targets)

    def judged(self, examples: Examples, teacher: Teacher) -> Examples:
        if self.quality != MEAN_SHARE:
            return examples
        answer, logits = self.answer, np.asarray(teacher.outputs(examples.texts).logits, np.float32)
        wrong = ~answer.right(examples.targets, logits)
        return replace(examples, targets=examples.targets % answer.outputs + answer.outputs * wrong)

    def without_teacher(self) -> Self:
        return replace(self, quality=MEAN_ACCURACY)

    def correct(self, logits: Array, targets: Array) -> Array:
        """Weighted so that the mean is the quality; a right answer of a task with few texts may be more than one."""
        found: Array = self.answer.right(targets, logits) * self.answer.weights(targets)
        return found

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        """The accuracy of each task, and their mean where another quality is maximised."""
        answer = self.answer
        right, tasks = answer.right(targets, logits), answer.tasks_of(targets)
        found = {
            f"{part.name}_accuracy": float(right[tasks == at].mean())
            for at, part in enumerate(self.parts)
            if (tasks == at).any()
        }
        return {MEAN_ACCURACY: float(np.mean([*found.values()])), **found} if self.quality == MEAN_SHARE else found


def _check_form(name: str, splits: Mapping[str, Sequence[Json]], column: str, pairs: bool) -> None:
    """Raise `DataError` unless all inputs of a task are pairs of texts, or none is."""
    for split, rows in splits.items():
        for at, row in enumerate(rows, start=1):
            if (row.get(column) is not None) != pairs:
                must, has = ("must", "has none") if pairs else ("must not", "has one")
                raise DataError(
                    f"task `{name}`: every row {must} have a second text, `{column}`, but row {at} of `{split}` {has}: "
                    "mend the row, or give it to another task"
                )


def _check_known(splits: Mapping[str, Sequence[Json]], column: str, known: set[str]) -> None:
    """Raise `DataError` for a task that has no training rows."""
    for split, rows in splits.items():
        for at, row in enumerate(rows, start=1):
            if row[column] not in known:
                raise DataError(
                    f"every task of `{split}` must have rows in `train`, but row {at} has `{row[column]}`: add "
                    "training rows of it, or leave the row out"
                )
