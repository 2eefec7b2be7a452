"""`augmentation`: more text for the distillation steps after it, made from the task's text and labelled by the
teacher.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.contracts import Array, Candidate, Context, ModelStrategy
from eicompress.encoder.vocabulary import whole_words
from eicompress.training.augmentation import distorted, nearest_words, renamed, words_of
from eicompress.training.losses import answer_losses
from eicompress.training.teacher import answers_of
from eicompress.values import Text, seed_of

MOST_COPIES = 100
"""Of one text."""


@dataclass(frozen=True)
class Augmentation(ModelStrategy):
    """Grow copies of the task's texts, and take text of the user's own, for the candidate's later trainings.

    A copy has words replaced by those whose vectors the baseline holds near, or is distorted as `distillation` does.
    TinyBERT asks a masked language model for words that fit in place, where the word is one token; here word vectors
    are asked for all words, as it does for the others. A copy has no label: the teacher says what it is. Facts:
    `texts`, how many of them are `unlabelled` text, and where some were chosen `of` how many, and the divergence of
    teacher and student, in nats, of those `kept` and of `all`.
    """

    copies: Annotated[int, IntDistribution(0, MOST_COPIES)] = 6
    """Of each training text."""
    least_texts: Annotated[int, IntDistribution(0, 1_000_000)] = 0
    """More copies are made, up to 100 of each training text, until copies and training texts together reach this
    number."""
    neighbours: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.5
    """Share of the copies that have words replaced by near ones; the others are distorted."""
    replaced: Annotated[float, FloatDistribution(0.05, 1.0)] = 0.4
    """Share of the words that are replaced in such a copy."""
    nearest: Annotated[int, IntDistribution(1, 100)] = 15
    """Number of similar words from which the replacement of a word is drawn."""
    words: Annotated[Literal["corpus", "vocabulary"], CategoricalDistribution(("corpus", "vocabulary"))] = "corpus"
    """Where replacements come from: words of the training text, or all words that are one token of the baseline and
    have no other letters.
    """
    generations: Annotated[int, IntDistribution(1, 10)] = 1
    """Number of generations; from the second on, copies are made of the copies before."""
    unlabelled: Annotated[int, IntDistribution(0, 10_000_000)] = 0
    """Sentences of the unlabelled text, at most; none where none was named, or where the task reads pairs of texts."""
    pool: Annotated[float, FloatDistribution(1.0, 20.0)] = 1.0
    """How many times the texts to make, of which those are kept on which teacher and student disagree most. Above 1 it
    needs a candidate that was distilled before."""

    name: ClassVar[str] = "augmentation"
    paper: ClassVar[str] = "after the augmentation of TinyBERT, arXiv 1909.10351"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        if context.preview:
            return subject
        grown, own = self._grown(context)
        facts: dict[str, float] = {"texts": len(grown), "unlabelled": own}
        if self.pool > 1 and grown:
            grown, chosen = _most_disputed(grown, round(len(grown) / self.pool), subject, context)
            facts |= chosen
        return replace(subject, texts=(*subject.texts, *grown), facts={**subject.facts, self.name: facts})

    def _grown(self, context: Context) -> tuple[list[Text], int]:
        """All copies, one generation after the other, then the unlabelled sentences, without duplicates; and the
        number of these sentences."""
        train = context.train.texts
        generator = np.random.default_rng(seed_of(context.seed, "augmentation"))
        wanted = min(MOST_COPIES, math.ceil(self.least_texts / len(train)) - 1)
        count = round(max(self.copies, wanted) * self.pool)
        by_neighbours = round(count * self.neighbours)
        nearest = self._nearest(context) if by_neighbours else {}
        parents: Sequence[Text] = train
        grown: list[Text] = []
        for number in range(count):
            if number and number * self.generations // count > (number - 1) * self.generations // count:
                parents = grown[-len(train) :]
            near = (number + 1) * by_neighbours // count > number * by_neighbours // count
            grown += renamed(parents, nearest, self.replaced, generator) if near else distorted(parents, generator)
        known = {*train}
        copies = [text for text in dict.fromkeys(grown) if text not in known]
        if context.task.pairs and not context.task.answer.mixed:
            return copies, 0
        known.update(copies)
        sentences = dict.fromkeys(islice(context.unlabelled, round(self.unlabelled * self.pool)))
        own = [text for text in sentences if text not in known]
        return [*copies, *own], len(own)

    def _nearest(self, context: Context) -> dict[str, list[str]]:
        model, tokenizer = context.baseline.encoder, context.baseline.tokenizer
        words = words_of(context.train.texts)
        candidates = words
        if self.words == "vocabulary":
            letters = set("".join(words))
            candidates = [word for word in whole_words(tokenizer) if set(word.lower()) <= letters]
        with torch.no_grad():
            table = model.words(torch.arange(model.config.vocabulary))
        return nearest_words(tokenizer, table, words, candidates, self.nearest)


def _most_disputed(
    texts: list[Text], count: int, subject: Candidate, context: Context
) -> tuple[list[Text], dict[str, float]]:
    """The texts on which student and teacher are farthest apart, in their old order, and what to tell of the choice."""
    teacher_logits, student_logits = (
        torch.from_numpy(np.asarray(logits, np.float32))
        for logits in (context.teacher.outputs(texts).logits, answers_of(subject, texts, context.compute_device)[0])
    )
    divergence: Array = answer_losses(context.task.answer, student_logits, teacher_logits).numpy()
    kept = np.sort(np.argsort(-divergence, kind="stable")[:count])
    means = {"kept": float(divergence[kept].mean()), "all": float(divergence.mean())}
    return [texts[row] for row in kept], {"texts": len(kept), "of": len(texts), **means}
