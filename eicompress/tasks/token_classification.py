"""Token classification: a tag for each word, such as the entities that a text names.

Rows have `tokens` and `tags`, of the schemes BIO or IO, or a `text` and its `entities`, each with `start`, `end` and
`label`, in characters. Tokens are read with a space between two of them. A token that is several words, such as an
address on the web, is tagged by its first one; the others are learned with the tag that goes on, and not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress.answers import Tags
from eicompress.answers.entities import BEGINS, CONTINUED, INSIDE, NONE, OUTSIDE, f1, type_of
from eicompress.answers.words import Span, words_of
from eicompress.contracts import Array, Examples, Task
from eicompress.errors import DataError, nearest
from eicompress.values import Json, readable


@dataclass(frozen=True)
class TokenClassification(Task):
    """A tag for each word. The quality is the F1 of whole entities, with their types, as seqeval counts it strictly."""

    tags: tuple[str, ...]

    name: ClassVar[str] = "token_classification"
    quality: ClassVar[str] = "entity_f1"
    averaged: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    example: ClassVar[Sequence[Json]] = (
        {"text": ["will", "it", "rain", "in", "the", "north"], "label": ["O", "O", "O", "O", "B-place", "I-place"]},
        {"text": ["play", "a", "song"], "label": ["O", "O", "B-thing"]},
        {"text": "stop the music", "label": [{"start": 9, "end": 14, "label": "thing"}]},
    )

    @classmethod
    def columns_in(cls, row: Json, columns: Mapping[str, str]) -> dict[str, str]:
        """As named; else `tokens` with `tags`, or `text` with `entities`, as the row has them."""
        named = {role: columns.get(role, role) for role in cls.columns}
        if named["label"] == "label":
            named["label"] = next((each for each in ("tags", "entities") if each in row), "label")
        if named["text"] == "text" and named["label"] != "entities" and "tokens" in row:
            named["text"] = "tokens"
        return named

    @classmethod
    def cell_refusal(cls, role: str, row: Json, columns: Mapping[str, str]) -> str:
        text, label = (row.get(columns[each]) for each in cls.columns)
        if role == "text":
            return _tokens_refusal(text)
        if _tokens_refusal(text):
            return ""
        if isinstance(text, str):
            return _entities_refusal(text, label)
        return _tags_refusal(len(text or ()), columns["text"], label)

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        text, label = (columns.get(role, role) for role in cls.columns)
        read = {name: [_read(row[text], row[label]) for row in rows] for name, rows in splits.items()}
        there = {tag for row in read["train"] for tag, _ in row.tags}
        begins = {tag for tag in there if tag.startswith(BEGINS)}
        if there <= {OUTSIDE}:
            raise DataError(f"`train` must have entities in column `{label}`, but has none: check the column")
        # What begins with one word may go on with another one, also where no training row shows it.
        tags = (OUTSIDE, *sorted((there | {INSIDE + type_of(tag) for tag in begins}) - {OUTSIDE}))
        numbers = {tag: number for number, tag in enumerate(tags)}
        for name, rows in read.items():
            for at, row in enumerate(rows, start=1):
                _check(row, numbers, bool(begins), f"row {at} of `{name}`")
        return cls(tags), {name: _examples(rows, numbers) for name, rows in read.items()}

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
        return f1(self.answer.counts(targets, logits).sum(axis=0))

    def difference(self, ours: Array, theirs: Array, targets: Array) -> tuple[float, float]:
        return self.answer.difference(targets, ours, theirs)


def is_meant(row: Json, columns: Mapping[str, str]) -> bool:
    """Whether a row's columns can only be meant as tags of words."""
    named = columns.get("label", "label")
    if named != "label" or {"text", "label"} <= row.keys():
        return named in ("tags", "entities") and isinstance(row.get(named), list)
    return (isinstance(row.get("tokens"), list) and "tags" in row) or isinstance(row.get("entities"), list)


@dataclass(frozen=True)
class _Row:
    """A text, and of each of its words the tag, and whether it counts."""

    text: str
    tags: tuple[tuple[str, bool], ...]


def _read(text: str | Sequence[str], label: Any) -> _Row:
    return _of_entities(readable(text), label) if isinstance(text, str) else _of_tokens(text, label)


def _of_tokens(tokens: Sequence[str], tags: Sequence[str]) -> _Row:
    found: list[tuple[str, bool]] = []
    read = [readable(token) for token in tokens]
    for token, tag in zip(read, tags, strict=True):
        goes_on = INSIDE + type_of(tag) if type_of(tag) else OUTSIDE
        found += [(tag if first else goes_on, first) for first in (True, *[False] * (len(words_of(token)) - 1))]
    return _Row(" ".join(read), tuple(found))


def _of_entities(text: str, entities: Sequence[Json]) -> _Row:
    tags: list[str] = []
    before: Json | None = None
    for start, end in words_of(text):
        inside = next((each for each in entities if each["start"] < end and start < each["end"]), None)
        tags.append(OUTSIDE if inside is None else f"{INSIDE if inside is before else BEGINS}{inside['label']}")
        before = inside
    return _Row(text, tuple((tag, True) for tag in tags))


def _examples(rows: Sequence[_Row], numbers: Mapping[str, int]) -> Examples:
    targets = np.full((len(rows), max(len(row.tags) for row in rows)), NONE, np.int64)
    for place, row in enumerate(rows):
        for at, (tag, counts) in enumerate(row.tags):
            targets[place, at] = numbers[tag] if counts else CONTINUED - numbers[tag]
    return Examples(tuple(row.text for row in rows), targets)


def _check(row: _Row, numbers: Mapping[str, int], begun: bool, where: str) -> None:
    """Raise `DataError` for a tag that no training row has, and for an entity without its beginning."""
    for tag, _ in row.tags:
        if tag not in numbers:
            raise DataError(
                f"every tag must be known from the training rows, but {where} has `{tag}`: "
                f"{nearest(tag, list(numbers))}"
            )
    lone = _without_beginning([tag for tag, counts in row.tags if counts]) if begun else ""
    if lone:
        raise DataError(
            f"an entity must begin with `{BEGINS}{type_of(lone)}`, as others in the data do, but one in {where} begins "
            f"with `{lone}`: mend the row or take it out"
        )


def _without_beginning(tags: Sequence[str]) -> str:
    """The first `I-` that goes on with nothing; empty if there is none."""
    for before, tag in zip((OUTSIDE, *tags), tags, strict=False):
        if tag.startswith(INSIDE) and type_of(before) != type_of(tag):
            return tag
    return ""


def _tokens_refusal(text: object) -> str:
    if isinstance(text, str):
        return ""
    if not isinstance(text, list) or not all(isinstance(token, str) for token in text):
        return "must be text or a list of tokens"
    return "" if text and all(words_of(token) for token in text) else "must have tokens with a character each"


def _tags_refusal(tokens: int, column: str, tags: object) -> str:
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return "must be a list of tags"
    if len(tags) != tokens:
        return f"must have a tag for each of the {tokens} in `{column}`, not {len(tags)}"
    if not all(tag == OUTSIDE or type_of(tag) for tag in tags):
        return "must have tags that are `O` or begin with `B-` or `I-` and the type of an entity"
    begun = any(tag.startswith(BEGINS) for tag in tags)
    lone = _without_beginning(tags) if begun else ""
    return f"must have `{BEGINS}{type_of(lone)}` before `{lone}`" if lone else ""


def _entities_refusal(text: str, entities: object) -> str:
    if not isinstance(entities, list) or not all(isinstance(each, Mapping) for each in entities):
        return "must be a list of entities, each with `start`, `end` and `label`"
    words, spans = words_of(text), list[Span]()
    for each in entities:
        start, end, label = (each.get(name) for name in ("start", "end", "label"))
        if not (_is_place(start) and _is_place(end) and isinstance(label, str) and label):
            return "must have entities with whole numbers as `start` and `end` and a text as `label`"
        if not 0 <= start < end <= len(text):
            return f"must have entities inside of the text, which has {len(text)} characters, not {start} to {end}"
        if not any(start <= first < end for first, _ in words) or any(
            first < place < last for first, last in words for place in (start, end)
        ):
            return f"must have entities of whole words, not {start} to {end}, {text[start:end]!r}"
        if any(first < end and start < last for first, last in spans):
            return f"must have entities that do not overlap, but another one has a part of {start} to {end}"
        spans.append((start, end))
    return ""


def _is_place(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
