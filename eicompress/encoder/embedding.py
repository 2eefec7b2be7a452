"""Tables of the encoder: vectors of tokens, codebooks of their pieces, and vectors of hashed pairs of tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.encoder.config import BigramConfig, EncoderConfig
from eicompress.encoder.initial import draw_
from eicompress.encoder.linear import Linear
from eicompress.encoder.pooling import apply_to_pooled, mean_of_tokens
from eicompress.encoder.quantization import (
    _GOLDEN,
    Clipping,
    QuantSpec,
    fake_quantized,
    file_scales,
    quantized,
    row_scales,
)


class Embedding(nn.Module):
    """A table (rows, size), which may be stored in few bits with one scale a row."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, size))
        self.scales: nn.Parameter | None = None
        self.spec: QuantSpec | None = None
        self.sparse = False
        """Whether the gradient holds only the rows that were read."""
        draw_(self.weight, std=0.02)

    def set_quantization(self, spec: QuantSpec | None, clipping: Clipping = "mse") -> None:
        """Store the table as `spec` says, with scales (rows, 1) that are learned from here on."""
        self.spec = spec
        self.scales = None if spec is None else nn.Parameter(row_scales(self.weight, spec, clipping))

    def stored(self) -> tuple[Tensor, Tensor]:
        """The integers (rows, size) and half-precision scales (rows, 1) that a file holds."""
        assert self.spec is not None and self.scales is not None
        scales = file_scales(self.scales)
        return quantized(self.weight.detach(), scales, self.spec), scales

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) -> (..., size)"""
        rows = F.embedding(ids, self.weight, sparse=self.sparse)
        if self.spec is None or self.scales is None:
            return rows
        scales = F.embedding(ids, self.scales).reshape(-1, 1)
        return fake_quantized(rows.reshape(len(scales), -1), scales, self.spec).reshape(rows.shape)

    def select(self, *, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        """Keep only these rows, with their scales where the table is quantized, and columns."""
        weight = self.weight.detach()
        if rows is not None:
            weight = weight[rows]
            if self.scales is not None:
                self.scales = nn.Parameter(self.scales.detach()[rows].clone())
        weight = weight if columns is None else weight[:, columns]
        self.weight = nn.Parameter(weight.clone())


class CodebookEmbedding(nn.Module):
    """A table (rows, size) whose rows are put together from the entries of codebooks (product quantization).

    A row is a scale times ceil(size / piece) pieces; codes (rows, pieces) say which entry each piece is. Codes stay
    as they are; entries and scales are learned.
    """

    codes: Tensor

    def __init__(self, rows: int, size: int, piece: int, entries: int, books: int) -> None:
        super().__init__()
        self.size, self.entries, self.books = size, entries, books
        self.register_buffer("codes", torch.zeros(rows, -(-size // piece), dtype=torch.uint8))
        self.book = nn.Parameter(torch.zeros(books * entries, piece))
        self.scales = nn.Parameter(torch.ones(rows, 1))

    @property
    def first_entries(self) -> Tensor:
        """(pieces,): where each piece's codebook begins in `book`; all zero where they share one."""
        pieces = torch.arange(self.codes.shape[1], device=self.codes.device)
        return pieces * self.entries if self.books > 1 else pieces * 0

    @property
    def weight(self) -> Tensor:
        """(rows, size)"""
        whole: Tensor = self(torch.arange(len(self.codes), device=self.codes.device))
        return whole

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) -> (..., size)"""
        pieces = F.embedding(self.codes[ids].long() + self.first_entries, self.book)
        return pieces.flatten(-2)[..., : self.size] * F.embedding(ids, self.scales)

    def select(self, *, rows: Tensor) -> None:
        """Keep only these rows."""
        self.codes = self.codes[rows].clone()
        self.scales = nn.Parameter(self.scales.detach()[rows].clone())


class BigramEmbedding(nn.Module):
    """The mean of the vectors of a text's pairs of neighbouring tokens (fastText, arXiv 1607.01759).

    A pair is known by a hash of its tokens' numbers, and pairs with the same hash share a vector. Special tokens are
    tokens like any other, and the first token of a text is paired with token 0: each token then ends one pair.
    """

    def __init__(self, hidden: int, shape: BigramConfig) -> None:
        super().__init__()
        self.table = Embedding(shape.buckets, shape.width)
        self.output = Linear(shape.width, hidden, biased=False)

    @property
    def multiplier(self) -> int:
        """Of the earlier token in the hash: the golden section of the table spreads neighbouring numbers most evenly,
        however many rows there are (Fibonacci hashing)."""
        return round(_GOLDEN * len(self.table.weight))

    def buckets(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> the row of the pair that each token ends (B, T)."""
        return (F.pad(ids, (1, -1)) * self.multiplier + ids) % len(self.table.weight)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, T), mask (B, T) says which tokens are real -> (B, hidden)"""
        mean = mean_of_tokens(self.table(self.buckets(ids)), mask)
        projected: Tensor = apply_to_pooled(self.output, mean, None)
        return projected


def filled_bigrams(table: Tensor, output: Tensor) -> BigramEmbedding:
    """Vectors of pairs with this table (buckets, width) and matrix (hidden, width)."""
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        made = BigramEmbedding(len(output), BigramConfig(*table.shape))
    made.table.weight, made.output.weight = nn.Parameter(table.clone()), nn.Parameter(output.clone())
    return made


def with_neighbours(vectors: Tensor, mask: Tensor) -> Tensor:
    """Word vectors (B, T, size) -> those of the next token, of the token and of the one before it, (B, T, 3 x size);
    zeros where there is none, and for padding, so that a text is read as it is alone."""
    vectors = vectors * mask.unsqueeze(-1).to(vectors.dtype)
    after, before = F.pad(vectors[:, 1:], (0, 0, 0, 1)), F.pad(vectors[:, :-1], (0, 0, 1, 0))
    return torch.cat([after, vectors, before], dim=-1)


def new_projection(config: EncoderConfig) -> Linear | None:
    """The map from word vectors, or from three of them, to the hidden width, if there is one."""
    if config.projection is None:
        return None
    return Linear(config.embedding * (3 if config.projection == "trigrams" else 1), config.hidden)


def new_words(config: EncoderConfig) -> Embedding | CodebookEmbedding:
    """A word embedding of this shape, with weights that are drawn."""
    if config.codebook is None:
        return Embedding(config.vocabulary, config.embedding)
    shape = config.codebook
    return CodebookEmbedding(config.vocabulary, config.embedding, shape.size, shape.entries, shape.books)
