"""`embedding_factorization`: word vectors of few dimensions, projected to the hidden width (ALBERT's V x E, E x H)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from optuna.distributions import IntDistribution
from torch import Tensor, nn

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.errors import Inapplicable
from eicompress.training.token_counts import times_read
from eicompress.values import seed_of


@dataclass(frozen=True)
class EmbeddingFactorization(ModelStrategy):
    """Replace the word embedding by its best approximation of rank `size`, weighted by how often a token is read."""

    size: Annotated[int, IntDistribution(8, 1024)] = 128
    """Dimensions of a word vector. At the model's own width or above, the embedding is left as it is."""

    name: ClassVar[str] = "embedding_factorization"
    paper: ClassVar[str] = "ALBERT, arXiv 1909.11942; weighted low rank: GroupReduce, arXiv 1806.06950"
    example: ClassVar[Mapping[str, Any]] = {"size": 8}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        if model.projection is not None:
            raise Inapplicable(f"`{self.name}` acts on an embedding of full width, but this one is factorized")
        if model.config.codebook is not None:
            raise Inapplicable(
                f"`{self.name}` acts on an embedding without a codebook: put it before what gives it one"
            )
        if self.size >= model.config.hidden:
            return subject
        words = model.words.weight.detach()
        if context.preview:
            model.factorize_words(words[:, : self.size], words.new_ones(model.config.hidden, self.size))
            return subject
        weights = torch.from_numpy(times_read(subject.tokenizer, context).astype(np.float32)) + 1.0
        table, projection, mean, kept = factorize(words, weights, self.size, context.seed)
        model.factorize_words(table, projection)
        assert model.projection is not None
        model.projection.bias = nn.Parameter(mean)
        facts = {**subject.facts, self.name: {"variance_kept": kept}}
        return replace(subject, facts=facts)


def factorize(table: Tensor, weights: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """Table (V, H), weights (V,) -> narrow table (V, size), projection (H, size), mean (H,), variance kept.

    The product is the weighted least-squares approximation of the centred table. The narrow dimensions are turned
    by a random rotation: each then has about the same spread, which few bits with one scale a row need.
    """
    share = weights / weights.sum()
    mean = share @ table
    centred = table - mean
    values, vectors = torch.linalg.eigh(centred.T @ (centred * share[:, None]))
    directions = vectors[:, -size:]
    noise = torch.randn(size, size, generator=torch.Generator().manual_seed(seed_of(seed, "rotation")))
    rotation, _ = torch.linalg.qr(noise)
    projection = directions @ rotation
    kept = float(values[-size:].sum() / values.sum().clamp_min(1e-30))
    return centred @ projection, projection.contiguous(), mean, kept
