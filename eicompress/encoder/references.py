"""References: training texts of which a model stores what its teacher computed (RefBERT, arXiv 2106.08898)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.encoder.config import EncoderConfig, ReferenceConfig
from eicompress.encoder.embedding import CodebookEmbedding, Embedding
from eicompress.encoder.linear import Linear
from eicompress.encoder.pooling import mean_of_tokens
from eicompress.errors import Inapplicable

SAME = 0.8
"""Share of the tokens that a text has in common with a reference from which on it is taken to be the same text."""
SHARPNESS, THRESHOLD = 8.0, 0.5
"""Of the gate, before they are trained."""
UNLIKE = -1.0
"""The similarity of a text that no reference may answer: the lowest cosine."""


class References(nn.Module):
    """The stored vectors of the reference that is most similar to a text, times a gate that closes where none is.

    Similarity is the cosine of the mean word vectors of both, less the mean of all references. Word vectors are the
    encoder's own, as they are at the moment, so a reference is found by its tokens and takes no vector for that.
    The gate is sigmoid(sharpness x (similarity - threshold)), both learned: without a good reference all vectors are
    zeros.
    """

    ids: Tensor
    """(count, tokens) int64, with padding after the last token."""

    def __init__(self, hidden: int, shape: ReferenceConfig, padding_id: int) -> None:
        super().__init__()
        self.shape, self.padding_id = shape, padding_id
        self.register_buffer("ids", torch.zeros(shape.count, shape.tokens, dtype=torch.int64))
        self.table = Embedding(shape.count, shape.vectors * shape.width)
        self.output = Linear(shape.width, hidden)
        self.sharpness = nn.Parameter(torch.tensor([SHARPNESS]))
        self.threshold = nn.Parameter(torch.tensor([THRESHOLD]))
        self.learning = False
        """Whether the model is in a training: a text then gets no reference that is the same text, since its answer
        would be given away."""

    def forward(
        self, words: Embedding | CodebookEmbedding, ids: Tensor, states: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The first layer's states (B, T, hidden) of tokens (B, T), of which `mask` (B, T) says which are real -> the
        same with the reference's after them, (B, T + vectors, hidden), and their mask."""
        more = self.vectors(words, ids, mask)
        return torch.cat([states, more], dim=1), F.pad(mask, (0, self.shape.vectors), value=1)

    def vectors(self, words: Embedding | CodebookEmbedding, ids: Tensor, mask: Tensor) -> Tensor:
        """Tokens and mask (B, T) -> what is read of the reference, (B, vectors, hidden)."""
        similarity, number = self.nearest(words, ids, mask)
        stored = self.table(number).unflatten(-1, (self.shape.vectors, self.shape.width))
        states: Tensor = self.output(stored, torch.ones(stored.shape[:2], dtype=torch.int64, device=ids.device))
        gate = (self.sharpness * (similarity - self.threshold)).sigmoid()
        return gate[:, None, None] * states

    def nearest(self, words: Embedding | CodebookEmbedding, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `vectors` -> the similarity and the number of the most similar reference, (B,) each."""
        real = self.real
        with torch.no_grad():  # gradients go through the reference that is found
            tokens, places = torch.unique(self.ids, return_inverse=True)
            index = _sums(places, words(tokens), real / real.sum(dim=1, keepdim=True).clamp_min(1))
            middle = index.mean(dim=0)
        own = mean_of_tokens(words(ids), mask) - middle
        with torch.no_grad():
            found = F.normalize(own, dim=-1) @ F.normalize(index - middle, dim=-1).T
            if self.learning:
                found = found.masked_fill(self.same(ids, mask), -torch.inf)
            best, number = found.max(dim=1)
        there = mean_of_tokens(words(self.ids[number]), real[number]) - middle
        similarity = F.cosine_similarity(own, there, dim=-1)
        return similarity.masked_fill(best == -torch.inf, UNLIKE), number

    @property
    def real(self) -> Tensor:
        """(count, tokens) bool: which are no padding."""
        return self.ids != self.padding_id

    def same(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Tokens and mask (B, T) -> which references are the text itself or nearly so, (B, count) bool."""
        numbers = 1 + max(int(ids.max()), int(self.ids.max()))
        inside = torch.zeros(len(ids), numbers, device=ids.device).scatter_(1, ids, mask.float())
        common = _sums(self.ids, inside.T.contiguous(), self.real.float()).T
        length = mask.sum(dim=1, keepdim=True).clamp_max(self.shape.tokens)
        return common >= SAME * torch.maximum(length, self.real.sum(dim=1))


def _sums(places: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """Rows of a table (rows, size) at places (n, tokens), times weights (n, tokens) -> their sums (n, size)."""
    summed: Tensor = F.embedding_bag(places, table, per_sample_weights=weights, mode="sum")
    return summed


def new_references(config: EncoderConfig) -> References | None:
    """References of this shape with vectors that are drawn, if there are any."""
    return References(config.hidden, config.references, config.padding_id) if config.references else None


def filled_references(
    shape: ReferenceConfig, ids: Tensor, table: Tensor, output: tuple[Tensor, Tensor], padding_id: int
) -> References:
    """References with these tokens (count, tokens), vectors (count, vectors x width), and weight (hidden, width) and
    bias (hidden,) of the projection."""
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        made = References(len(output[1]), shape, padding_id)
    made.ids.copy_(ids)
    made.table.weight = nn.Parameter(table.clone())
    made.output.weight, made.output.bias = (nn.Parameter(each.clone()) for each in output)
    return made


def check_without_references(config: EncoderConfig, strategy: str) -> None:
    """Raises `Inapplicable` where the first layer reads references, which this strategy does not know."""
    if config.references is not None:
        raise Inapplicable(
            f"`{strategy}` acts on layers that read a text alone, but the first one reads references too: leave "
            "one of the two steps out"
        )
