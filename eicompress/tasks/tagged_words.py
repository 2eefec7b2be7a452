"""Rows whose words are tagged: `tokens` with `tags`, of the schemes BIO or IO, or a `text` with its `entities`, each
with `start`, `end` and `label`, in characters.

Tokens are read with a space between two of them. A token that is several words, such as an address on the web, is
tagged by its first one; the others are learned with the tag that goes on, and not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eicompress.answers.entities import BEGINS, CONTINUED, INSIDE, NONE, OUTSIDE, type_of
from eicompress.answers.words import Span, words_of
from eicompress.contracts import Array
from eicompress.errors import DataError, nearest
from eicompress.values import Json, label_refusal, readable


@dataclass(frozen=True)
class TaggedText:
    """A text, and of each of its words the tag, and whether it counts."""

    text: str
    tags: tuple[tuple[str, bool], ...]


def tagged_texts(
    splits: Mapping[str, Sequence[Json]], text: str, tags: str
) -> tuple[tuple[str, ...], dict[str, list[TaggedText]]]:
    """All tags of the training rows, `O` first, and the rows of every split, from columns `text` and `tags`.

    Raises `DataError` for rows without entities, a tag that no training row has, and an entity without its beginning.
    """
    read = {name: [_read(row[text], row[tags]) for row in rows] for name, rows in splits.items()}
    there = {tag for row in read["train"] for tag, _ in row.tags}
    begins = {tag for tag in there if tag.startswith(BEGINS)}
    if there <= {OUTSIDE}:
        raise DataError(f"`train` must have entities in column `{tags}`, but has none: check the column")
    # What begins with one word may go on with another one, also where no training row shows it.
    known = (OUTSIDE, *sorted((there | {INSIDE + type_of(tag) for tag in begins}) - {OUTSIDE}))
    for name, rows in read.items():
        for at, row in enumerate(rows, start=1):
            _check(row, known, bool(begins), f"row {at} of `{name}`")
    return known, read


def targets_of(rows: Sequence[TaggedText], known: Sequence[str]) -> Array:
    """(n, W) the number of each word's tag, as `eicompress.answers.tag` has them."""
    numbers = {tag: number for number, tag in enumerate(known)}
    targets = np.full((len(rows), max(len(row.tags) for row in rows)), NONE, np.int64)
    for place, row in enumerate(rows):
        for at, (tag, counts) in enumerate(row.tags):
            targets[place, at] = numbers[tag] if counts else CONTINUED - numbers[tag]
    return targets


def columns_of_words(row: Json, text: str, tags: str) -> tuple[str, str]:
    """Which columns have a row's words and tags: those that are named, else `tokens` with `tags`, or `text` with
    `entities`, as the row has them."""
    if tags in ("label", "tags"):
        tags = next((each for each in ("tags", "entities") if each in row), tags)
    if text == "text" and tags != "entities" and "tokens" in row:
        text = "tokens"
    return text, tags


def tags_refusal(text: object, column: str, tags: object) -> str:
    """The rule that a cell with tags or entities breaks, of the words in `column`; empty if it breaks none."""
    if words_refusal(text):
        return ""
    if isinstance(text, str):
        return _entities_refusal(text, tags)
    return _tags_refusal(len(text) if isinstance(text, list) else 0, column, tags)


def are_entities(value: object) -> bool:
    """Whether a cell can only be meant as entities: a list of what has a beginning and an end."""
    return isinstance(value, list) and any(
        isinstance(each, Mapping) and {"start", "end"} <= each.keys() for each in value
    )


def has_tags(row: Json) -> bool:
    """Whether a row has tokens with tags, or entities."""
    return (isinstance(row.get("tokens"), list) and "tags" in row) or isinstance(row.get("entities"), list)


def _read(text: str | Sequence[str], label: Any) -> TaggedText:
    return _of_entities(readable(text), label) if isinstance(text, str) else _of_tokens(text, label)


def _of_tokens(tokens: Sequence[str], tags: Sequence[str]) -> TaggedText:
    found: list[tuple[str, bool]] = []
    read = [readable(token) for token in tokens]
    for token, tag in zip(read, tags, strict=True):
        goes_on = INSIDE + type_of(tag) if type_of(tag) else OUTSIDE
        found += [(tag if first else goes_on, first) for first in (True, *[False] * (len(words_of(token)) - 1))]
    return TaggedText(" ".join(read), tuple(found))


def _of_entities(text: str, entities: Sequence[Json]) -> TaggedText:
    tags: list[str] = []
    before: Json | None = None
    for start, end in words_of(text):
        inside = next((each for each in entities if each["start"] < end and start < each["end"]), None)
        tags.append(OUTSIDE if inside is None else f"{INSIDE if inside is before else BEGINS}{inside['label']}")
        before = inside
    return TaggedText(text, tuple((tag, True) for tag in tags))


def _check(row: TaggedText, known: Sequence[str], begun: bool, where: str) -> None:
    """Raise `DataError` for a tag that no training row has, and for an entity without its beginning."""
    for tag, _ in row.tags:
        if tag not in known:
            raise DataError(
                f"every tag must be known from the training rows, but {where} has `{tag}`: {nearest(tag, known)}"
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


def words_refusal(text: object) -> str:
    """The rule that a cell with a text or with tokens breaks; empty if it breaks none."""
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
    if broken := next(filter(None, map(label_refusal, tags)), ""):
        return f"must have tags of which each {broken}"
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
        if broken := label_refusal(label):
            return f"must have entities whose `label` {broken}"
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
