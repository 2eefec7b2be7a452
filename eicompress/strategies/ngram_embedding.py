"""`ngram_embedding`: vectors of pairs of neighbouring tokens, added to the state that the head reads.

A student of one layer or none knows little of the order of words. A hash takes each pair to a row of a small table; the
mean of these rows is projected to the hidden width and added to the pooled state, as fastText does with word pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from optuna.distributions import IntDistribution

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.errors import Inapplicable
from eicompress.values import seed_of

DEVIATION = 0.1
"""Of the table's numbers. The matrix begins with zeros, so they only say how fast it learns."""


@dataclass(frozen=True)
class NgramEmbedding(ModelStrategy):
    """Add a table of pairs of tokens (buckets, width) and a matrix (hidden, width); a later training fills them.

    The matrix begins with zeros, so that the logits stay what they are.
    """

    buckets: Annotated[int, IntDistribution(1, 100_000, log=True)] = 2048
    """Rows of the table. Pairs that fall into the same row share it; with 1, which would tell no pair from another,
    the model is left as it is."""
    width: Annotated[int, IntDistribution(4, 512, log=True)] = 32
    """Dimensions of a row."""

    name: ClassVar[str] = "ngram_embedding"
    paper: ClassVar[str] = "fastText, arXiv 1607.01759"
    example: ClassVar[Mapping[str, Any]] = {"buckets": 64, "width": 8}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        if model.bigrams is not None:
            raise Inapplicable(f"`{self.name}` acts on an encoder without vectors of pairs, but this one has some")
        if model.config.per_word:
            raise Inapplicable(
                f"`{self.name}` adds to the pooled state of a text, but this encoder answers each word: leave it out"
            )
        if self.buckets > 1:
            chance = torch.Generator().manual_seed(seed_of(context.seed, self.name))
            table = DEVIATION * torch.randn(self.buckets, self.width, generator=chance)
            model.add_bigrams(table, torch.zeros(model.config.hidden, self.width))
        return subject
