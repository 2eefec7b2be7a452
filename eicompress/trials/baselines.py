"""Simple baselines that make no artifact, so that a reader sees whether a transformer earns its bytes.

The answer that never changes (the majority class, or the mean of the numbers), and softmax or ridge regression on the
mean of the teacher's token embeddings, which is what is left of a transformer without its layers (model2vec's kind of
model). Learned from the training rows, measured on the validation rows. The third simple baseline, tf-idf, is an
artifact of its own: see `tfidf`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from eicompress.contracts import Array, Examples, Task
from eicompress.training.regression import divided, trained, tuned
from eicompress.values import MEGABYTE, Text, seed_of

STATIC, TFIDF = "static embeddings", "tf-idf"
"""Simple baselines, by the names that are shown; what an answer that never changes is called, its kind knows."""
ROWS = 20_000
"""Training rows that a regression reads, drawn with the seed where there are more."""
STRENGTHS = (0.01, 0.1, 1.0)
"""Of the regression on standardized means; one is chosen on held-out training rows."""


@dataclass(frozen=True)
class Static:
    """A table of token embeddings (tokens, size), and the tokenizer that numbers its rows."""

    tokenizer: Tokenizer
    table: torch.Tensor

    def vectors(self, texts: Sequence[Text]) -> torch.Tensor:
        """Mean embeddings (n, size); of a pair both, their distance and their product, (n, 4 x size)."""
        if all(isinstance(text, str) for text in texts):
            return self._means(texts)
        first, second = (self._means([text[side] for text in texts]) for side in (0, 1))
        return torch.cat([first, second, (first - second).abs(), first * second], dim=1)

    def read(self, texts: Sequence[Text]) -> set[str]:
        """The tokens that occur in the texts."""
        return {token for each in self.tokenizer.encode_batch(list(texts)) for token in each.tokens}

    def _means(self, texts: Sequence[Text]) -> torch.Tensor:
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        zero = torch.zeros(self.table.shape[1])
        return torch.stack([self.table[each.ids].mean(dim=0) if each.ids else zero for each in encodings])


@dataclass(frozen=True)
class Reached:
    """What a simple baseline says of the validation rows, and the bytes it would take."""

    logits: Array
    """(n, outputs)"""
    size_mb: float
    note: str


def bounded(train: Examples, seed: int) -> Examples:
    """At most as many rows as a regression reads, drawn with the seed."""
    if len(train) <= ROWS:
        return train
    return train.take(np.random.default_rng(seed_of(seed, "yardsticks")).permutation(len(train))[:ROWS].tolist())


def static_regression(task: Task, train: Examples, texts: Sequence[Text], static: Static, seed: int) -> Reached:
    """A linear model of the mean embeddings of each text; at one byte a weight, since nothing is written."""
    vectors, measured = static.vectors(train.texts), static.vectors(texts)
    mean, spread = vectors.mean(dim=0), vectors.std(dim=0).clamp(min=1e-6)
    scaled = ((vectors - mean) / spread).numpy()
    chosen = tuned(task, scaled, train.targets, divided(train.targets, seed), STRENGTHS)
    model = trained(task.answer, scaled, train.targets, chosen.strength)
    tokens = static.read(train.texts)
    weights = len(tokens) * static.table.shape[1] + task.answer.outputs * (vectors.shape[1] + 1)
    return Reached(
        logits=model.logits(((measured - mean) / spread).numpy()),
        size_mb=(weights + sum(len(each.encode()) for each in tokens)) / MEGABYTE,
        note=f"the mean of the teacher's embeddings of {len(tokens):,} tokens; a size estimated at one byte a weight",
    )
