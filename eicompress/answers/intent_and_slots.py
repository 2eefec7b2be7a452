"""A label for a text, its intent, and a tag for each word, its slots, by one pass: after JointBERT (arXiv 1902.10909).

Each word answers with a row of tags and a row of intents. The intent of a text is that of the mean row of its words,
as a classifier of their mean state has it. Targets (n, W) have the tag and the intent of each word in one number, tag +
tags x intent, in the form of `eicompress.answers.tag`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from eicompress.answers.calibration import Flags
from eicompress.answers.entities import CONTINUED, NONE
from eicompress.answers.kind import Answer, Array, Floats, Mistakes, Prediction, id2label
from eicompress.answers.label import Labels
from eicompress.answers.label_mistakes import paired
from eicompress.answers.tag import Entity, Tags
from eicompress.errors import DataError, nearest
from eicompress.values import Json, Text

INTENTS = "intents"
"""The entry of a config with how many of the outputs, the last ones, are intents."""


@dataclass(frozen=True)
class IntentAndSlotsPrediction(Prediction):
    """The intent of one text, with its probability, and its slots in their order."""

    label: str
    confidence: float
    entities: tuple[Entity, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        slots = ", ".join(f"{each.label} {each.start}-{each.end} {each.text}" for each in self.entities)
        return self.label, f"{self.confidence:.3f}", slots or "-"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "entities": [vars(each) for each in self.entities]}


@dataclass(frozen=True)
class IntentAndSlots(Answer):
    """One of these intents for a text, and one of these tags for each of its words; the first tag is `O`."""

    tags: tuple[str, ...]
    intents: tuple[str, ...]

    kind: ClassVar[str] = "intent_and_slots"
    pipeline: ClassVar[str] = "token-classification"
    architecture: ClassVar[str] = Tags.architecture
    simplest: ClassVar[str] = "majority intent and most frequent tag of a word"
    simplest_note: ClassVar[str] = "one answer for every text, one for every word"
    linear: ClassVar[str] = "softmax regression"
    head: ClassVar[str] = "classifier of texts and words"
    model: ClassVar[str] = "tagger with intents"
    limit: ClassVar[str] = (
        "It answers one of the intents above to every text, and finds slots of the types above alone; each word "
        "belongs to one of them at most."
    )
    browser: ClassVar[str] = (
        "`AutoTokenizer` and `AutoModelForTokenClassification`: a word's slot is the largest tag of its first token, "
        "the\nintent the largest of the last `intents` columns, the mean over the words"
    )
    surest: ClassVar[bool] = False
    quality: ClassVar[str] = "sentence_accuracy"
    quality_is_share: ClassVar[bool] = True

    @property
    def averaged(self) -> bool:
        return True

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.tags, *self.intents)

    @property
    def word_outputs(self) -> int:
        return self.outputs

    @cached_property
    def of_words(self) -> Tags:
        """The answer for each word alone."""
        return Tags(self.tags)

    @cached_property
    def of_text(self) -> Labels:
        """The answer for the whole text alone."""
        return Labels(self.intents)

    def tag_logits(self, logits: Floats) -> Floats:
        """(n, W, outputs) -> (n, W, tags)"""
        return logits[..., : len(self.tags)]

    def intent_logits(self, logits: Floats) -> Floats:
        """(n, W, outputs) -> (n, intents): the mean over the words that were read."""
        read = logits.any(axis=-1, keepdims=True)
        found: Floats = (logits[..., len(self.tags) :] * read).sum(axis=1) / np.maximum(read.sum(axis=1), 1)
        return found

    def tags_of(self, targets: Array) -> Array:
        """(n, W) targets of words alone."""
        numbers = np.where(targets <= CONTINUED, CONTINUED - targets, targets) % len(self.tags)
        return np.where(targets == NONE, NONE, np.where(targets <= CONTINUED, CONTINUED - numbers, numbers))

    def intents_of(self, targets: Array) -> Array:
        """(n,) the number of each text's intent. Its first word always counts."""
        found: Array = targets[:, 0] // len(self.tags)
        return found

    def targets(self, tags: Array, intents: Array) -> Array:
        """(n, W) targets of words and (n,) numbers of intents -> (n, W) of both."""
        more = len(self.tags) * intents[:, None]
        return np.where(tags == NONE, NONE, np.where(tags <= CONTINUED, tags - more, tags + more))

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "tags": list(self.tags), "intents": list(self.intents)}

    def config(self) -> dict[str, Any]:
        return {"id2label": id2label(self.names), INTENTS: len(self.intents), "pipeline_tag": self.pipeline}

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[IntentAndSlotsPrediction]:
        slots = self.of_words.decode(self.tag_logits(logits), texts)
        intents = self.of_text.decode(self.intent_logits(logits), texts)
        return [
            IntentAndSlotsPrediction(str(intent.label), intent.confidence, found.entities)
            for intent, found in zip(intents, slots, strict=True)
        ]

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        if not isinstance(known, IntentAndSlots):
            return None
        tags, intents = self.of_words.outputs_of(known.of_words), self.of_text.outputs_of(known.of_text)
        if tags is None or intents is None:
            return None
        return (*tags, *(len(known.tags) + each for each in intents))

    def mismatch(self, who: str, known: Answer | None) -> str:
        if not isinstance(known, IntentAndSlots):
            return (
                f"{who[:1].upper()}{who[1:]} must answer both intents and slots, but does not: train one with "
                "`eicompress teach`"
            )
        if self.of_words.outputs_of(known.of_words) is None:
            return self.of_words.mismatch(who, known.of_words)
        return self.of_text.mismatch(who, known.of_text)

    @property
    def described(self) -> str:
        return (
            f"## Intents\n\n{', '.join(f'`{each}`' for each in self.intents)}.\n\n"
            f"## Slots\n\n{', '.join(f'`{each}`' for each in self.of_words.types)}.\n\n"
            f"The file's `logits` (batch, tokens, {self.outputs}) are {len(self.tags)} tags and {len(self.intents)} "
            "intents for each token.\nThe first token of a word answers for it; punctuation is a word of its own. The "
            "intent of a text is the\nlargest of the mean over its words."
        )

    def holds(self, targets: Array) -> bool:
        return self.of_words.holds(targets)

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        tags = self.of_words.simplest_logits(known, self.tags_of(targets), texts)
        intents = self.of_text.simplest_logits(known, self.intents_of(targets), texts)
        read = tags.any(axis=-1, keepdims=True)
        return np.concatenate([tags, intents[:, None] * read], axis=-1)

    def agrees(self, expected: Floats, got: Floats) -> Flags:
        words = self.of_words.agrees(self.tag_logits(expected), self.tag_logits(got))
        return np.concatenate([words, self.of_text.agrees(self.intent_logits(expected), self.intent_logits(got))])

    def readable_rows(self, rows: Sequence[Json], columns: Mapping[str, str], origin: str) -> Sequence[Json]:
        column = columns["label"]
        for at, row in enumerate(rows, start=1):
            if str(row[column]) not in self.intents:
                raise DataError(
                    f"every intent must be one of the artifact's, but row {at} of `{origin}` has "
                    f"`{row[column]}`: {nearest(str(row[column]), self.intents)}"
                )
        words = self.of_words.readable_rows(rows, {"text": columns["text"], "label": columns["tags"]}, origin)
        return [
            *({**row, column: self.intents[0]} for row in words),
            *({**words[0], column: intent} for intent in self.intents),
        ]

    def right(self, targets: Array, logits: Floats) -> Flags:
        """(n,) whether the intent of a text and all of its slots are right."""
        right, answered, there = self.of_words.counts(self.tags_of(targets), self.tag_logits(logits)).T
        intents = self.intent_logits(logits).argmax(axis=1) == self.intents_of(targets)
        found: Flags = intents & (right == answered) & (right == there)
        return found

    def score(self, targets: Array, logits: Floats) -> float:
        """The share of texts that are wholly right."""
        return float(self.right(targets, logits).mean())

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        return paired(self.right(targets, ours), self.right(targets, theirs))

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        apart, half = self.difference(targets, artifact, baseline)
        signed = f"{100 * apart:+.1f}".replace("-", "\u2212")
        slots = self.of_words.mistakes(texts, self.tags_of(targets), *map(self.tag_logits, (baseline, artifact)))
        intents = self.of_text.mistakes(texts, self.intents_of(targets), *map(self.intent_logits, (baseline, artifact)))
        summary = (
            f"Of {len(targets)} validation texts the artifact reads {self.right(targets, artifact).mean():.1%} wholly "
            f"right, intent and slots, the baseline {self.right(targets, baseline).mean():.1%}: {signed} ± "
            f"{100 * half:.1f} points (95 % interval, paired). Intents: {intents.summary} Slots: {slots.summary}"
        )
        return Mistakes(summary, half, True, (*intents.tables, *slots.tables), intents.charts, intents.matrix)
