"""Intents and slots: a label for each text and a tag for each of its words, by one model in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eicompress.answers import IntentAndSlots
from eicompress.answers.entities import CONTINUED, NONE, f1
from eicompress.contracts import Array, Examples, Task
from eicompress.errors import DataError, nearest
from eicompress.tasks.tagged_words import (
    columns_of_words,
    has_tags,
    tagged_texts,
    tags_refusal,
    targets_of,
    words_refusal,
)
from eicompress.values import Json, label_refusal


@dataclass(frozen=True)
class IntentAndSlotsTask(Task):
    """An intent for each text and a tag for each word. The quality is the share of texts whose intent and slots are all
    right, the sentence accuracy of JointBERT (arXiv 1902.10909)."""

    tags: tuple[str, ...]
    intents: tuple[str, ...]

    name: ClassVar[str] = "intent_and_slots"
    quality: ClassVar[str] = "sentence_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("text", "tags", "label")
    example: ClassVar[Sequence[Json]] = (
        {"text": ["will", "it", "rain"], "tags": ["O", "O", "B-sky"], "label": "weather"},
        {"text": ["play", "a", "song"], "tags": ["O", "O", "B-thing"], "label": "music"},
        {"text": "stop the music", "tags": [{"start": 9, "end": 14, "label": "thing"}], "label": "music"},
    )

    @classmethod
    def columns_in(cls, row: Json, columns: Mapping[str, str]) -> dict[str, str]:
        named = {role: columns.get(role, role) for role in cls.columns}
        text, tags = columns_of_words(row, named["text"], named["tags"])
        return {"text": text, "tags": tags, "label": named["label"]}

    @classmethod
    def cell_refusal(cls, role: str, row: Json, columns: Mapping[str, str]) -> str:
        text, tags, label = (row.get(columns[each]) for each in cls.columns)
        if role == "text":
            return words_refusal(text)
        if role == "tags":
            return tags_refusal(text, columns["text"], tags)
        return label_refusal(label) if isinstance(label, str) and label.strip() else "must be text"

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        text, tags, label = (columns.get(role, role) for role in cls.columns)
        known, read = tagged_texts(splits, text, tags)
        task = cls(known, tuple(sorted({row[label] for row in splits["train"]})))
        if len(task.intents) < 2:
            raise DataError(f"`train` must have two intents or more in column `{label}`, but has {len(task.intents)}")
        examples = {}
        for name, rows in read.items():
            intents = task._numbers([row[label] for row in splits[name]], name)
            targets = task.answer.targets(targets_of(rows, known), intents)
            examples[name] = Examples(tuple(row.text for row in rows), targets)
        return task, examples

    def _numbers(self, labels: Sequence[str], split: str) -> Array:
        """(n,) Raises `DataError` for an intent that no training row has."""
        numbers = {intent: number for number, intent in enumerate(self.intents)}
        for at, label in enumerate(labels, start=1):
            if label not in numbers:
                raise DataError(
                    f"every intent must be known from the training rows, but row {at} of `{split}` has `{label}`: "
                    f"{nearest(label, self.intents)}"
                )
        return np.array([numbers[label] for label in labels])

    @property
    def answer(self) -> IntentAndSlots:
        return IntentAndSlots(self.tags, self.intents)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy of tags over words, and that of intents over texts; logits (B, W, outputs) and targets
        (B, W'), or of words alone (words, outputs) and (words,), each of which then answers the intent."""
        numbers = torch.where(targets <= CONTINUED, CONTINUED - targets, targets)
        tags = torch.where(targets == NONE, NONE, numbers % len(self.tags))
        of_words, of_texts = slots_and_intents(self.answer, logits)
        if logits.ndim == 3:
            width = min(logits.shape[1], targets.shape[1])
            of_words, tags, numbers = of_words[:, :width].flatten(0, 1), tags[:, :width].flatten(), numbers[:, 0]
        intents = numbers.div(len(self.tags), rounding_mode="floor")
        return F.cross_entropy(of_words, tags, ignore_index=NONE) + F.cross_entropy(
            of_texts, intents, ignore_index=NONE
        )

    def correct(self, logits: Array, targets: Array) -> Array:
        return self.answer.right(targets, logits).astype(np.float64)

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        answer = self.answer
        intents = answer.intent_logits(logits).argmax(axis=1) == answer.intents_of(targets)
        counts = answer.of_words.counts(answer.tags_of(targets), answer.tag_logits(logits))
        return {"intent_accuracy": float(intents.mean()), "slot_f1": f1(counts.sum(axis=0))}


def slots_and_intents(answer: IntentAndSlots, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, W, outputs) -> those of tags (B, W, tags), and those of intents (B, intents), the mean over the words
    that were read. Of words alone, (words, outputs), each answers the intent: (words, tags) and (words, intents)."""
    tags, intents = logits[..., : len(answer.tags)], logits[..., len(answer.tags) :]
    if logits.ndim == 2:
        return tags, intents
    read = logits.any(dim=-1, keepdim=True)
    return tags, (intents * read).sum(dim=1) / read.sum(dim=1).clamp_min(1)


def are_intents_and_tags(row: Json, columns: Mapping[str, str]) -> bool:
    """Whether a row has words with tags and, under the column of labels, a text; where it has both a text and tokens,
    its label may be meant alone."""
    named = columns.get("label", "label")
    both = "text" in row and "tokens" in row
    return named not in ("tags", "entities") and has_tags(row) and not both and isinstance(row.get(named), str)
