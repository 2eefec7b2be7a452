"""`embedding_codebook`: word vectors put together from the entries of codebooks (product quantization).

A vector of E dimensions is cut into pieces of d. Each is replaced by the nearest of 256 entries, so that a word takes
E / d bytes and a scale: a bit a weight with d = 8. The file holds codes and books, and gathers both.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution
from torch import Tensor
from torch.nn import functional as F

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.errors import Inapplicable
from eicompress.training.k_means import k_means
from eicompress.training.token_counts import times_read
from eicompress.values import seed_of

ENTRIES = 256
"""Entries of a book: the values of a byte."""


@dataclass(frozen=True)
class EmbeddingCodebook(ModelStrategy):
    """Replace the word table (V, E) by codes (V, E / piece), a scale a word, and books of 256 entries (256, piece)."""

    piece: Annotated[Literal[2, 4, 8, 16], CategoricalDistribution((2, 4, 8, 16))] = 4
    """Dimensions that one byte stands for."""
    books: Annotated[Literal["shared", "each"], CategoricalDistribution(("shared", "each"))] = "shared"
    """One book for all pieces, or one for each of the E / piece places."""

    name: ClassVar[str] = "embedding_codebook"
    paper: ClassVar[str] = "Product quantization, 10.1109/TPAMI.2010.57; fastText.zip, arXiv 1612.03651"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        if model.config.codebook is not None:
            raise Inapplicable(f"`{self.name}` acts on stored word vectors, but these have a codebook already")
        table = model.words.weight.detach().cpu()
        scales = table.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-6)
        pieces = _pieces(table / scales, self.piece)
        places = pieces.shape[1]
        books = 1 if self.books == "shared" else places
        if context.preview:
            generator = np.random.default_rng(context.seed)
            codes = torch.from_numpy(generator.integers(0, ENTRIES, (len(table), places), np.uint8))
            book = torch.from_numpy(generator.standard_normal((books * ENTRIES, self.piece), np.float32))
        else:
            weights = _weights(subject, context) * scales.flatten().square()
            codes, book = learned(pieces, weights, books, seed_of(context.seed, self.name))
        model.use_codebook(codes, book, scales, books)
        stored = model.words.weight.detach().cpu()
        error = float((stored - table).square().sum() / (table - table.mean(dim=0)).square().sum().clamp_min(1e-30))
        facts = {"bits_a_weight": round(8 * places / table.shape[1], 3)}
        if not context.preview:
            facts["variance_kept"] = round(1 - error, 4)
        return replace(subject, facts={**subject.facts, self.name: facts})


def _pieces(table: Tensor, piece: int) -> Tensor:
    """(V, E) -> (V, places, piece), with zeros at the end where E is no multiple."""
    return F.pad(table, (0, -table.shape[1] % piece)).reshape(len(table), -1, piece)


def _weights(subject: Candidate, context: Context) -> Tensor:
    """(V,): the square root of how often a token is read, so that rare ones are not forgotten."""
    counts = times_read(subject.tokenizer, context).astype(np.float32)
    return torch.from_numpy(np.sqrt(counts + 1.0))


def learned(pieces: Tensor, weights: Tensor, books: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pieces (V, places, d), weights (V,) -> codes (V, places) uint8, and books (books x 256, d)."""
    rows, places, size = pieces.shape
    if books == 1:
        codes, book = k_means(pieces.reshape(-1, size), weights.repeat_interleave(places), ENTRIES, seed)
        return codes.reshape(rows, places).to(torch.uint8), book
    each = [k_means(pieces[:, place], weights, ENTRIES, seed + place) for place in range(places)]
    return torch.stack([codes for codes, _ in each], dim=1).to(torch.uint8), torch.cat([book for _, book in each])
