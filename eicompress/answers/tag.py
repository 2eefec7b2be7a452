"""A tag for each word of a text: `O`, or `B-` and `I-` with the type of an entity that begins or goes on there.

Targets (n, W) are numbers of tags, and `NONE` behind the last word. A word that only continues a token of the data is
learned, but not counted: its target is `CONTINUED` less the number.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from eicompress.answers.calibration import Calibration, Flags, calibration, calibration_chart
from eicompress.answers.entities import BEGINS, CONTINUED, INSIDE, NONE, Spans, f1, interval_of, type_of
from eicompress.answers.entity_mistakes import Found, summary_of
from eicompress.answers.f1 import Whole
from eicompress.answers.kind import TIE, Answer, Array, Floats, Mistakes, Prediction, id2label
from eicompress.answers.words import fitted, words_of
from eicompress.errors import nearest
from eicompress.values import Json, Text, readable

BOUNDS, BESIDE = 20, 0.01
"""Places at which the tag of a word changes that an adjustment tries, and how far before and behind them."""


@dataclass(frozen=True)
class Entity:
    """A part of a text, from character `start` to the one before `end`, with its type."""

    label: str
    start: int
    end: int
    text: str
    confidence: float
    """The mean of what its words' tags are given."""


@dataclass(frozen=True)
class TagPrediction(Prediction):
    """The entities of one text, in their order."""

    entities: tuple[Entity, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (", ".join(f"{each.label} {each.start}-{each.end} {each.text}" for each in self.entities) or "-",)

    def to_json(self) -> dict[str, Any]:
        return {"entities": [vars(each) for each in self.entities]}


@dataclass(frozen=True)
class Tags(Answer):
    """One of these tags for each word; the first is `O`."""

    tags: tuple[str, ...]

    kind: ClassVar[str] = "tag"
    pipeline: ClassVar[str] = "token-classification"
    architecture: ClassVar[str] = "TokenClassification"
    simplest: ClassVar[str] = "most frequent tag of a word"
    simplest_note: ClassVar[str] = "one answer for every word"
    linear: ClassVar[str] = "softmax regression"
    head: ClassVar[str] = "token classifier"
    model: ClassVar[str] = "tagger"
    limit: ClassVar[str] = "It finds entities of the types above alone, and each word belongs to one of them at most."
    browser: ClassVar[str] = (
        '`pipeline("token-classification", ..., { dtype: "fp32" })`, which answers each token: that of a\nword is its '
        "first token's"
    )
    surest: ClassVar[bool] = False
    quality: ClassVar[str] = "entity_f1"
    quality_is_share: ClassVar[bool] = True
    adjusts: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        return self.tags

    @property
    def word_outputs(self) -> int:
        return len(self.tags)

    @property
    def types(self) -> tuple[str, ...]:
        """The types of entities."""
        return tuple(sorted({type_of(tag) for tag in self.tags} - {""}))

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "tags": list(self.tags)}

    def config(self) -> dict[str, Any]:
        return {"id2label": id2label(self.tags), "pipeline_tag": self.pipeline}

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[TagPrediction]:
        spans = self.spans(logits.argmax(axis=-1))
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        confidence = odds.max(axis=-1) / odds.sum(axis=-1)
        found: list[list[Entity]] = [[] for _ in texts]
        read = [readable(str(text)) for text in texts]
        words = [words_of(text) for text in read]
        for row, start, end, kind in zip(*(each.tolist() for each in spans), strict=True):
            first, last = words[row][start][0], words[row][end - 1][1]
            sure = float(confidence[row, start:end].mean())
            found[row].append(Entity(self.types[kind], first, last, read[row][first:last], sure))
        return [TagPrediction(tuple(each)) for each in found]

    def spans(self, tags: Whole) -> Spans:
        """The entities of tags (n, W), in the order of the texts.

        One begins with `B-`, and goes on as long as `I-` of its type follows: the strict reading of seqeval. Where no
        tag begins with `B-`, one is a run of words of a type.
        """
        types, begins = self._numbers
        kinds, width = types[tags], tags.shape[1]
        before = np.concatenate([np.full((len(tags), 1), -1), kinds[:, :-1]], axis=1)
        begun = begins[tags] if begins.any() else (kinds >= 0) & (kinds != before)
        ends_before = ~((kinds >= 0) & (kinds == before) & ~begun)
        places = np.where(ends_before, np.arange(width), width)
        next_end = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
        behind = np.concatenate([next_end[:, 1:], np.full((len(tags), 1), width)], axis=1)
        rows, starts = np.nonzero(begun)
        return Spans(rows, starts, behind[rows, starts], kinds[rows, starts])

    @cached_property
    def _numbers(self) -> tuple[Whole, Flags]:
        """(tags,) the number of each tag's type, -1 for `O`, and whether an entity begins with it."""
        places = {name: number for number, name in enumerate(self.types)}
        types = np.array([places.get(type_of(tag), -1) for tag in self.tags])
        return types, np.array([tag.startswith(BEGINS) for tag in self.tags])

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        if not isinstance(known, Tags) or not set(self.tags) <= set(known.tags):
            return None
        return tuple(known.tags.index(tag) for tag in self.tags)

    def mismatch(self, who: str, known: Answer | None) -> str:
        named = known.tags if isinstance(known, Tags) else ()
        missing = [tag for tag in self.tags if tag not in named]
        if not missing:
            return f"The tags of {who} must be the data's and no others, but it has {len(named)}."
        return (
            f"{who[:1].upper()}{who[1:]} must tag words with the data's tags, by name in `id2label`, but "
            f"{len(missing)} of {len(self.tags)} are not there, such as `{missing[0]}`: {nearest(missing[0], named)}"
        )

    @property
    def described(self) -> str:
        types = ", ".join(f"`{each}`" for each in self.types)
        return (
            f"## Entities\n\n{types}.\n\nThe file's `logits` (batch, tokens, {self.outputs}) are a row of tags for "
            "each token.\nThe first token of a word answers for it; punctuation is a word of its own."
        )

    def holds(self, targets: Array) -> bool:
        return targets.ndim == 2 and bool(np.issubdtype(targets.dtype, np.integer))

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        """The most frequent tag that each word, in lower case, has in the texts that are known; else `O`."""
        counts: dict[str, Counter[int]] = defaultdict(Counter)
        for text, row in zip(known, targets, strict=True):
            for word, tag in zip(_spelled(text), row.tolist(), strict=False):
                counts[word][tag if tag >= 0 else CONTINUED - tag] += 1
        best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        spelled = [_spelled(text) for text in texts]
        logits = np.zeros((len(texts), max(map(len, spelled), default=0), self.outputs), np.float32)
        for row, words in enumerate(spelled):
            logits[row, np.arange(len(words)), [best.get(word, 0) for word in words]] = 1.0
        return logits

    def agrees(self, expected: Floats, got: Floats) -> Flags:
        words = expected.any(axis=-1)
        theirs, chosen = expected[words], got[words].argmax(axis=-1)
        found: Flags = theirs[np.arange(len(theirs)), chosen] >= theirs.max(axis=-1) - TIE * theirs.std()
        return found

    def readable_rows(self, rows: Sequence[Json], columns: Mapping[str, str], origin: str) -> Sequence[Json]:
        named = [[tag] for tag in self.tags if not tag.startswith(INSIDE) or BEGINS + type_of(tag) not in self.tags]
        inside = [
            [BEGINS + each, INSIDE + each] for each in self.types if {BEGINS + each, INSIDE + each} <= {*self.tags}
        ]
        return [{columns["text"]: ["a"] * len(tags), columns["label"]: tags} for tags in (*named, *inside)]

    def adjustment(self, logits: Floats, targets: Array) -> Floats:
        """What is to be added to the logit of `O`, which is too high for the best F1 where entities are rare."""
        logits = fitted(logits, targets.shape[1]).astype(np.float32)
        best, other = logits[..., 1:].max(axis=-1), logits[..., 1:].argmax(axis=-1) + 1
        ahead = np.where(logits.any(axis=-1), logits[..., 0] - best, np.inf)
        wrong = ((targets > 0) & (ahead > 0) & np.isfinite(ahead)) | ((targets == 0) & (ahead < 0))

        def quality(less: float) -> float:
            return f1(self._counts(targets, np.where(ahead > less, 0, other)).sum(axis=0))

        found = np.zeros(self.outputs, np.float32)
        if wrong.any():
            bounds = np.quantile(ahead[wrong], np.linspace(0, 1, BOUNDS))
            found[0] = -max([0.0, *(bounds + BESIDE).tolist(), *(bounds - BESIDE).tolist()], key=quality)
        return found

    def counts(self, targets: Array, logits: Floats) -> Whole:
        """(n, 3): the entities of each text that are right, those that are answered, and those that are there."""
        return self._counts(targets, logits.argmax(axis=-1))

    def _counts(self, targets: Array, answers: Array) -> Whole:
        wanted, answered = self._counted(targets, answers)
        keys = [each.keys(targets.shape[1], len(self.types)) for each in (wanted, answered)]
        right = wanted.rows[np.isin(keys[0], keys[1], assume_unique=True)]
        counts = [np.bincount(rows, minlength=len(targets)) for rows in (right, answered.rows, wanted.rows)]
        return np.stack(counts, axis=1)

    def counted(self, targets: Array, logits: Floats) -> tuple[Spans, Spans]:
        """The entities of the data and of the model, over the words that count alone."""
        return self._counted(targets, logits.argmax(axis=-1))

    def _counted(self, targets: Array, answers: Array) -> tuple[Spans, Spans]:
        """The same of answered tags (n, W)."""
        order = np.argsort(targets < 0, axis=1, kind="stable")
        counts = np.take_along_axis(targets, order, axis=1) >= 0
        answers = fitted(answers, targets.shape[1])
        wanted, answered = (np.where(counts, np.take_along_axis(tags, order, axis=1), 0) for tags in (targets, answers))
        return self.spans(wanted), self.spans(answered)

    def score(self, targets: Array, logits: Floats) -> float:
        """F1 of whole entities."""
        return f1(self.counts(targets, logits).sum(axis=0))

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        first, second = self.counts(targets, ours), self.counts(targets, theirs)
        return f1(first.sum(axis=0)) - f1(second.sum(axis=0)), interval_of(first, second)

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        before, after = self.counts(targets, baseline), self.counts(targets, artifact)
        interval = interval_of(after, before)
        wanted, ours = self.counted(targets, artifact)
        read, theirs = [readable(str(text)) for text in texts], self.counted(targets, baseline)[1]
        found = Found(read, targets, self.types, wanted, ours, theirs)
        chart = calibration_chart(*(_calibration(targets, each) for each in (baseline, artifact)), of="words")
        return Mistakes(summary_of(before, after, interval), interval, False, found.tables(), (chart,))


def _calibration(targets: Array, logits: Floats) -> Calibration:
    """Over all words."""
    read = targets != NONE
    numbers = np.where(targets <= CONTINUED, CONTINUED - targets, targets)[read]
    of_words = fitted(logits, targets.shape[1])[read].astype(np.float64)
    odds = np.exp(of_words - of_words.max(axis=1, keepdims=True))
    return calibration(odds.max(axis=1) / odds.sum(axis=1), of_words.argmax(axis=1) == numbers)


def _spelled(text: Text) -> list[str]:
    """The words of a text in lower case."""
    return [str(text)[start:end].lower() for start, end in words_of(str(text))]
