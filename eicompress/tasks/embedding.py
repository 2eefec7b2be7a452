"""Embeddings: a vector for a text, so that texts of like meaning have a large cosine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from eicompress.answers import Vector
from eicompress.answers.number import correlation
from eicompress.answers.vector import halves, pairs_of, ranks
from eicompress.contracts import Array, Examples, Task, Teacher
from eicompress.errors import DataError
from eicompress.tasks.regression import Regression, number_in
from eicompress.values import Json, readable

HALVINGS = 3
"""How often vectors are cut in half to see what is left of the quality."""
FEWEST = 3
"""Pairs in a batch from which a correlation says something."""


@dataclass(frozen=True)
class Embedding(Task):
    """A vector of length one for each text. The model that is compressed is its own teacher.

    Rows are pairs of texts, with a score or without one, or single texts, which are then paired by chance. Where there
    is no score, the cosine of the teacher's vectors is the truth, on validation and test. Each text of a pair is an
    example. The quality is Spearman's correlation of cosines and scores; below zero it counts as 0.
    """

    vector: Vector = field(default_factory=Vector)

    name: ClassVar[str] = "embedding"
    quality: ClassVar[str] = "spearman"
    columns: ClassVar[tuple[str, ...]] = ("text",)
    may_have: ClassVar[tuple[str, ...]] = ("text_pair", "label")
    example: ClassVar[Sequence[Json]] = tuple(
        {"text": one, "text_pair": other, "label": score}
        for one, other, score in (
            ("play the song", "play a song today", 0.9),
            ("play the song", "will it rain", 0.1),
            ("what is the weather", "is the sun today", 0.7),
            ("stop the music", "weather today", 0.2),
        )
    )

    @classmethod
    def columns_in(cls, row: Json, columns: Mapping[str, str]) -> dict[str, str]:
        """A score is of a pair; a label beside a single text is not read, unless it is a number or is named."""
        names = {role: columns.get(role, role) for role in (*cls.columns, *cls.may_have)}
        label = row.get(names["label"])
        number = isinstance(label, int | float) and not isinstance(label, bool)
        scored = number or names["label"] != "label" or names["text_pair"] in row
        roles = ["text", *(["text_pair"] if scored or "text_pair" in columns else [])]
        if names["label"] != "label" or (scored and names["label"] in row):
            roles.append("label")
        return {role: names[role] for role in roles}

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        return cls(), {name: _examples(name, rows, columns) for name, rows in splits.items()}

    @classmethod
    def refusal(cls, label: object) -> str:
        return Regression.refusal(label)

    @property
    def answer(self) -> Vector:
        return self.vector

    @property
    def pairs(self) -> bool:
        return False

    def sized(self, width: int) -> Self:
        return replace(self, vector=Vector(width))

    def judged(self, examples: Examples, teacher: Teacher, validation: Examples) -> Examples:
        unknown = np.isnan(examples.targets[:, 1])
        if not unknown.any():
            return examples
        targets = np.array(examples.targets)
        pairs = pairs_of(np.where(unknown[:, None], np.nan_to_num(targets), np.nan))
        cosines = pairs.cosines(np.asarray(teacher.outputs(examples.texts).logits, np.float32))
        targets[pairs.first, 1] = targets[pairs.second, 1] = cosines
        return replace(examples, targets=np.nan_to_num(targets))  # a text without a partner does not count

    def unmeasurable(self, examples: Examples) -> str:
        if len(pairs_of(examples.targets).scores):
            return ""
        return (
            "must have a score for each pair of texts to measure an artifact, which no teacher stands beside, but has "
            "none. Give pairs with a number (`text`, `text_pair`, `label`)."
        )

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """One less Pearson's correlation of cosines and scores, over the pairs that have both texts in the batch; zero
        for less than three. Vectors (B, width), targets (B, 2)."""
        pairs = pairs_of(targets.detach().cpu().numpy())
        if len(pairs.scores) < FEWEST:
            return 0.0 * logits.sum()
        one, other = (logits[torch.from_numpy(rows).to(logits.device)] for rows in (pairs.first, pairs.second))
        cosines = F.cosine_similarity(one, other, dim=1)
        scores = torch.from_numpy(pairs.scores).to(cosines)
        return 1 - F.cosine_similarity(cosines - cosines.mean(), scores - scores.mean(), dim=0)

    def correct(self, logits: Array, targets: Array) -> Array:
        """For both texts of a pair, one less the share of all places by which its cosine is away from its score's
        place; 0 for a text without a pair."""
        pairs, found = pairs_of(targets), np.zeros(len(targets))
        if len(pairs.scores):
            off = np.abs(ranks(pairs.cosines(logits)) - ranks(pairs.scores))
            found[pairs.first] = found[pairs.second] = 1 - off
        return found

    def score(self, logits: Array, targets: Array) -> float:
        """Spearman's correlation."""
        pairs = pairs_of(targets)
        return max(0.0, correlation(ranks(pairs.cosines(logits)), ranks(pairs.scores))) if len(pairs.scores) else 0.0

    def difference(self, ours: Array, theirs: Array, targets: Array) -> tuple[float, float] | None:
        return self.answer.difference(targets, ours, theirs)

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        """Pearson's correlation, from -1 to 1; and Spearman's of the first half of a vector of this task, of its first
        quarter and its first eighth, as `spearman_192`."""
        pairs = pairs_of(targets)
        if not len(pairs.scores):
            return {}
        cuts = halves(self.vector.width, HALVINGS) if logits.shape[1] == self.vector.width else ()
        cut = {f"{self.quality}_{each}": self.score(logits[:, :each], targets) for each in cuts}
        return {"pearson": correlation(pairs.cosines(logits), pairs.scores), **cut}


def are_texts_alone(row: Json, columns: Mapping[str, str]) -> bool:
    """Whether a row has nothing but a text, or two of them."""
    text, pair = columns.get("text", "text"), columns.get("text_pair", "text_pair")
    return columns.get("label", "label") == "label" and text in row and set(row) <= {text, pair}


def _examples(split: str, rows: Sequence[Json], columns: Mapping[str, str]) -> Examples:
    first, second, score = (columns.get(role) for role in ("text", "text_pair", "label"))
    assert first is not None
    if second is None:
        texts = tuple(readable(row[first]) for row in rows)
        # Paired by chance, the same way each time: neighbours in a file are often of one kind.
        places = np.empty(len(texts), np.int64)
        places[np.random.default_rng(len(texts)).permutation(len(texts))] = np.arange(len(texts)) // 2
        scores = np.full(len(texts), np.nan)
        return Examples(texts, np.stack([places, scores], axis=1).astype(np.float32))
    texts = tuple(readable(row[each]) for row in rows for each in (first, second))
    numbers = [
        np.nan if score is None else number_in(row[score], score, split, at) for at, row in enumerate(rows, start=1)
    ]
    if score is not None and split != "train" and len(set(numbers)) == 1 and len(numbers) > 1:
        raise DataError(
            f"`{split}` must have different scores in column `{score}`, but every row says `{numbers[0]:g}`: check the "
            "column"
        )
    targets = np.stack([np.repeat(np.arange(len(rows)), 2), np.repeat(numbers, 2)], axis=1)
    return Examples(texts, targets.astype(np.float32))
