"""Several tasks on one encoder: each row belongs to one of them, and each reads, learns and scores its own rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import ClassVar, Self

import numpy as np
import torch

from eicompress.answers import Answer, IntentAndSlots, LabelSet, MultiTask, Number, OneTask, Part
from eicompress.answers.entities import CONTINUED, NONE
from eicompress.answers.multi_task import OWN, TASK, TAUGHT
from eicompress.answers.task_part import OwnRows
from eicompress.contracts import Array, Examples, Task, Teacher
from eicompress.errors import DataError
from eicompress.tasks.choice import task_of
from eicompress.tasks.classification import Classification
from eicompress.values import Json

MEAN_SHARE, MEAN_QUALITY = "mean_share", "mean_quality"
"""Qualities."""


@dataclass(frozen=True)
class SeveralTasks(Task):
    """The answer of the task that a text, or a pair of texts, belongs to. The quality is the mean over the tasks of
    their own qualities, each as a share of that of the task's teacher; or of the qualities themselves, as GLUE's score
    (arXiv 1804.07461)."""

    tasks: tuple[tuple[str, Task], ...]
    """With their names, in the order of their outputs."""
    quality: str = MEAN_SHARE
    weights: tuple[float, ...] = ()
    """What the loss of each task is multiplied by; all alike where there are none."""

    name: ClassVar[str] = "multi_task"
    qualities: ClassVar[tuple[str, ...]] = (MEAN_SHARE, MEAN_QUALITY)
    columns: ClassVar[tuple[str, ...]] = ("task", "text", "label")
    may_have: ClassVar[tuple[str, ...]] = ("text_pair",)
    example: ClassVar[Sequence[Json]] = (
        {"task": "matches", "text": "will it rain", "text_pair": "rain today", "label": "yes"},
        {"task": "topic", "text": "will it rain", "label": "weather"},
        {"task": "tags", "text": "will it rain", "label": ["question", "sky"]},
        {"task": "urgency", "text": "will it rain", "label": 0.25},
        {"task": "things", "text": "will it rain", "label": [{"start": 8, "end": 12, "label": "sky"}]},
        {
            "task": "command",
            "text": "will it rain",
            "entities": [{"start": 8, "end": 12, "label": "sky"}],
            "label": "weather",
        },
        {"task": "matches", "text": "play a song", "text_pair": "the sun", "label": "no"},
        {"task": "topic", "text": "play a song", "label": "music"},
        {"task": "tags", "text": "play a song", "label": []},
        {"task": "urgency", "text": "play a song", "label": 0.75},
        {"task": "things", "text": "play a song", "label": [{"start": 7, "end": 11, "label": "thing"}]},
        {
            "task": "command",
            "text": "play a song",
            "entities": [{"start": 7, "end": 11, "label": "thing"}],
            "label": "music",
        },
    )

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        """Each task is found from its own rows, as that of a data set of its own."""
        column = columns.get("task", "task")
        _check_known(splits, column)
        read = {}
        for name in sorted({str(row[column]) for row in splits["train"]}):
            own = {
                split: [
                    {key: value for key, value in row.items() if value is not None}
                    for row in rows
                    if str(row[column]) == name
                ]
                for split, rows in splits.items()
            }
            first = own["train"][0]
            named = {role: of_role for role, of_role in columns.items() if role != "text_pair" or of_role in first}
            try:
                kind, _ = task_of(own["train"], named)
                found = kind.columns_in(first, named)
                _check_rows(own, kind, found, columns.get("text_pair", "text_pair"))
                read[name] = kind.read(own, found)
            except DataError as error:
                raise DataError(f"task `{name}`: {error}") from error
        return cls.joined(read)

    @classmethod
    def joined(cls, read: Mapping[str, tuple[Task, Mapping[str, Examples]]]) -> tuple[Self, dict[str, Examples]]:
        """Tasks that were each read on its own, by their names, as one; and the examples of all, in an order in which
        the first ones have each task's share. Raises `DataError`."""
        for name, (task, _) in read.items():
            if not isinstance(task.answer, OneTask):
                raise DataError(
                    "each of several tasks must answer a label, a set of labels, a number or the words of a text, but "
                    f"`{name}` is of the task `{task.name}`: search for it on its own"
                )
        ordered = sorted(read.items(), key=lambda each: (each[1][0].answer.per_word, each[0]))
        splits = ordered[0][1][1]
        weights = _weights([each for _, each in ordered]) if "train" in splits else ()
        joined = cls(tuple((name, task) for name, (task, _) in ordered), weights=weights)
        return joined, {split: joined._examples([each[split] for _, (_, each) in ordered]) for split in splits}

    def _examples(self, found: Sequence[Examples]) -> Examples:
        """The examples of all tasks, from those of each."""
        widest = max(each.targets[0].size if len(each) else 1 for each in found)
        tables = []
        for at, (part, each) in enumerate(zip(self.answer.parts, found, strict=True)):
            table = np.zeros((len(each), OWN + widest))
            table[:, TASK], table[:, TAUGHT] = at, 1.0
            own = table[:, OWN:]
            if part.answer.per_word:
                own[:], own = NONE, own[:, : each.targets.shape[1]]
            own[:, part.columns] = each.targets
            tables.append(table)
        texts, targets = [text for each in found for text in each.texts], np.concatenate(tables)
        order = in_turns([len(each) for each in found])
        return Examples(tuple(texts[row] for row in order), targets[order])

    @classmethod
    def refusal(cls, label: object) -> str:
        return "" if isinstance(label, list) else Classification.refusal(label)

    @cached_property
    def answer(self) -> MultiTask:
        parts = []
        for (name, task), weight in zip(self.tasks, self.weights or repeat(1.0), strict=False):
            answer = task.answer
            assert isinstance(answer, OneTask)  # `joined` has refused others
            parts.append(Part(name, answer, task.pairs, weight))
        return MultiTask(tuple(parts))

    @property
    def of_whole_texts(self) -> Self:
        """Those of the tasks that answer whole texts, which are the first ones; their rows stay as they are."""
        count = sum(not task.answer.per_word for _, task in self.tasks)
        return replace(self, tasks=self.tasks[:count], weights=self.weights[:count])

    @property
    def pairs(self) -> bool:
        return any(task.pairs for _, task in self.tasks)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Each task's own loss of its own rows, times its weight and their share of the batch. Logits (B, outputs) or
        (B, 1 + W, outputs), targets as in `eicompress.answers.multi_task`."""
        answer, found = self.answer, [logits.new_zeros(())]
        for at, ((_, task), part, place) in enumerate(zip(self.tasks, answer.parts, answer.places, strict=True)):
            rows = targets[:, TASK] == at
            if rows.any():
                wanted = targets[rows, OWN:][:, part.columns]
                own = place.of(logits)[rows]
                lost = task.loss(own, wanted.to(logits.dtype) if part.is_number else wanted.long())
                found.append(part.weight * rows.float().mean() * lost)
        return torch.stack(found).sum()

    def judged(self, examples: Examples, teacher: Teacher, validation: Examples) -> Examples:
        """With the quality of each task's teacher on these rows; it counts as that of one right text at least."""
        if self.quality != MEAN_SHARE:
            return examples
        known, logits = (np.asarray(teacher.outputs(each.texts).logits, np.float32) for each in (validation, examples))
        tuned, targets = self.answer.tuned(known, validation.targets, None), examples.targets.copy()
        decided = tuned.decided(logits)
        for each in tuned.divided(targets):
            quality = each.part.answer.score(each.targets, each.of(decided))
            targets[each.rows, TAUGHT] = max(quality, 1 / len(each.rows))
        return replace(examples, targets=targets)

    def without_teacher(self) -> Self:
        return replace(self, quality=MEAN_QUALITY)

    def correct(self, logits: Array, targets: Array) -> Array:
        """As each text's own task has it."""
        found = np.zeros(len(targets))
        for task, each in self.divided(targets):
            found[each.rows] = task.correct(each.of(logits), each.targets)
        return found

    def score(self, logits: Array, targets: Array) -> float:
        return self.answer.score(targets, logits)

    def difference(self, ours: Array, theirs: Array, targets: Array) -> tuple[float, float]:
        return self.answer.difference(targets, ours, theirs)

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        """The qualities of each task, and the mean of those that are maximised where another one is."""
        found, qualities = dict[str, float](), list[float]()
        for task, each in self.divided(targets):
            own, name = each.of(logits), each.part.name
            qualities.append(task.score(own, each.targets))
            others = task.beside(own, each.targets)
            found |= {f"{name}_{task.quality}": qualities[-1]} | {f"{name}_{of}": each for of, each in others.items()}
        return {MEAN_QUALITY: float(np.mean(qualities)), **found} if self.quality == MEAN_SHARE else found

    def is_share(self, quality: str) -> bool:
        """Of a quality of one of the tasks, which begins with its name, as this task has it."""
        named = [(name, task) for name, task in self.tasks if quality.startswith(f"{name}_")]
        if quality in (MEAN_SHARE, MEAN_QUALITY) or not named:
            return True
        name, task = max(named, key=lambda each: len(each[0]))
        return task.is_share(quality.removeprefix(f"{name}_"))

    def divided(self, targets: Array) -> Iterator[tuple[Task, OwnRows]]:
        """Each task that has rows among these, with them."""
        tasks = dict(self.tasks)
        return ((tasks[each.part.name], each) for each in self.answer.divided(targets))


def _weights(read: Sequence[tuple[Task, Mapping[str, Examples]]]) -> tuple[float, ...]:
    """What the loss of each task is multiplied by, so that the losses of all are as large before anything is learned
    of the texts, and their sum is as large as without weights.

    Muppet (arXiv 2101.11038) divides by the logarithm of the number of labels, the loss of an answer that takes all
    labels for equally likely; here it is the loss of the best answer that knows no text.
    """
    known = [(constant_loss(task, examples["train"].targets), len(examples["train"])) for task, examples in read]
    mean = sum(loss * rows for loss, rows in known) / sum(rows for _, rows in known)
    return tuple(mean / loss if loss > 0 else 1.0 for loss, _ in known)


def constant_loss(task: Task, targets: Array) -> float:
    """The loss on rows of a task of one answer to all: the shares of the labels, or the mean number."""
    logits = _constant_logits(task.answer, targets)
    words = targets.shape[1:] if task.answer.per_word else ()
    given = torch.from_numpy(logits.astype(np.float32)).expand(len(targets), *words, len(logits))
    return float(task.loss(given, torch.from_numpy(targets)))


def _constant_logits(answer: Answer, targets: Array) -> Array:
    """(outputs,) of the best answer to all texts, or words."""
    if isinstance(answer, IntentAndSlots):
        tags, intents = answer.tags_of(targets), answer.intents_of(targets)
        both = (answer.of_words, tags), (answer.of_text, intents)
        return np.concatenate([_constant_logits(one, own) for one, own in both])
    if isinstance(answer, Number):
        return np.array([targets.mean()])
    if isinstance(answer, LabelSet):
        shares = (targets.sum(axis=0) + 0.5) / (len(targets) + 1)
        of_labels: Array = np.log(shares / (1 - shares))
        return of_labels
    labels = targets[targets != NONE]
    labels = np.where(labels <= CONTINUED, CONTINUED - labels, labels)
    found: Array = np.log((np.bincount(labels, minlength=answer.outputs) + 0.5) / len(labels))
    return found


def in_turns(counts: Sequence[int]) -> list[int]:
    """The places of rows of several tasks, which lie one task after the other, in an order in which the first ones have
    each task's share, as the whole has."""
    turns = np.concatenate([(np.arange(count) + 0.5) / count for count in counts if count] or [np.zeros(0)])
    order: list[int] = np.argsort(turns, kind="stable").tolist()
    return order


def _check_known(splits: Mapping[str, Sequence[Json]], column: str) -> None:
    """Raise `DataError` for a task that has no training rows."""
    known = {str(row[column]) for row in splits["train"]}
    for split, rows in splits.items():
        for at, row in enumerate(rows, start=1):
            if str(row[column]) not in known:
                raise DataError(
                    f"every task of `{split}` must have rows in `train`, but row {at} has `{row[column]}`: add "
                    "training rows of it, or leave the row out"
                )


def _check_rows(
    splits: Mapping[str, Sequence[Json]], kind: type[Task], columns: Mapping[str, str], second: str
) -> None:
    """Raise `DataError` unless all rows of a task are pairs of texts, or none is, with labels of its kind."""
    pairs = "text_pair" in columns
    for split, rows in splits.items():
        for at, row in enumerate(rows, start=1):
            if (second in row) != pairs:
                must, has = ("must", "has none") if pairs else ("must not", "has one")
                raise DataError(
                    f"every row {must} have a second text, `{second}`, but row {at} of `{split}` {has}: mend the row, "
                    "or give it to another task"
                )
            if why := kind.refusal(row.get(columns["label"])):
                raise DataError(f"row {at} of `{split}`, column `{columns['label']}` {why}: mend the row")
