"""Token classification: a tag for each word, such as the entities that a text names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress.answers import Tags
from eicompress.answers.entities import CONTINUED, NONE
from eicompress.contracts import Array, Examples, Task
from eicompress.tasks.tagged_words import (
    are_entities,
    columns_of_words,
    has_tags,
    tagged_texts,
    tags_refusal,
    targets_of,
    words_refusal,
)
from eicompress.values import Json


@dataclass(frozen=True)
class TokenClassification(Task):
    """A tag for each word. The quality is the F1 of whole entities, with their types, as seqeval counts it strictly."""

    tags: tuple[str, ...]

    name: ClassVar[str] = "token_classification"
    quality: ClassVar[str] = "entity_f1"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    example: ClassVar[Sequence[Json]] = (
        {"text": ["will", "it", "rain", "in", "the", "north"], "label": ["O", "O", "O", "O", "B-place", "I-place"]},
        {"text": ["play", "a", "song"], "label": ["O", "O", "B-thing"]},
        {"text": "stop the music", "label": [{"start": 9, "end": 14, "label": "thing"}]},
    )

    @classmethod
    def columns_in(cls, row: Json, columns: Mapping[str, str]) -> dict[str, str]:
        named = {role: columns.get(role, role) for role in cls.columns}
        return dict(zip(cls.columns, columns_of_words(row, named["text"], named["label"]), strict=True))

    @classmethod
    def cell_refusal(cls, role: str, row: Json, columns: Mapping[str, str]) -> str:
        text, label = (row.get(columns[each]) for each in cls.columns)
        return words_refusal(text) if role == "text" else tags_refusal(text, columns["text"], label)

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        text, label = (columns.get(role, role) for role in cls.columns)
        tags, read = tagged_texts(splits, text, label)
        examples = {
            name: Examples(tuple(row.text for row in rows), targets_of(rows, tags)) for name, rows in read.items()
        }
        return cls(tags), examples

    @property
    def answer(self) -> Tags:
        return Tags(self.tags)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, the mean over words; logits (B, W, tags) or (words, tags), targets (B, W') or (words,)."""
        width = min(logits.shape[-2], targets.shape[-1])
        wanted = targets[..., :width].reshape(-1)
        wanted = torch.where(wanted <= CONTINUED, CONTINUED - wanted, wanted)
        return F.cross_entropy(logits[..., :width, :].reshape(-1, logits.shape[-1]), wanted, ignore_index=NONE)

    def correct(self, logits: Array, targets: Array) -> Array:
        """F1 of each text; 1 where there are no entities and none are answered."""
        right, answered, there = self.answer.counts(targets, logits).T
        both = answered + there
        found: Array = np.where(both > 0, 2 * right / np.maximum(both, 1), 1.0)
        return found

    def score(self, logits: Array, targets: Array) -> float:
        return self.answer.score(targets, logits)

    def difference(self, ours: Array, theirs: Array, targets: Array) -> tuple[float, float]:
        return self.answer.difference(targets, ours, theirs)


def is_meant(rows: Sequence[Json], columns: Mapping[str, str]) -> bool:
    """Whether the rows' columns can only be meant as tags of words."""
    row, named = rows[0], columns.get("label", "label")
    if any(are_entities(each.get(named)) for each in rows):
        return True
    if named != "label" or {"text", "label"} <= row.keys():
        return named in ("tags", "entities") and isinstance(row.get(named), list)
    return has_tags(row)
