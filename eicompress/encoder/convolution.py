"""Span-based dynamic convolution, which stands beside the heads of a layer's attention (ConvBERT, arXiv 2008.02496)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.encoder.config import ConvolutionConfig
from eicompress.encoder.initial import draw_
from eicompress.encoder.linear import Linear


class DynamicConvolution(nn.Module):
    """Heads that take a weighted mean of the values of the tokens around each token.

    The weights of a token follow from its query, which is that of the attention, and from a depthwise convolution of
    the states around it. What lies beyond the text, padding as well, has values of zero: it takes its share of the
    weights and adds nothing.
    """

    def __init__(self, hidden: int, queries: int, head_size: int, shape: ConvolutionConfig) -> None:
        """`queries` is the width of the attention's queries."""
        super().__init__()
        self.heads, self.kernel = shape.heads, shape.kernel
        self.depthwise = nn.Parameter(torch.empty(hidden, 1, shape.kernel))
        self.spans = Linear(hidden, queries)
        self.kernels = Linear(queries, shape.heads * shape.kernel)
        self.values = Linear(hidden, shape.heads * head_size)
        draw_(self.depthwise, std=0.02)

    @property
    def reach(self) -> int:
        """How far the tokens that it reads are away, to either side."""
        return self.kernel // 2

    @property
    def shape(self) -> ConvolutionConfig:
        return ConvolutionConfig(self.heads, self.kernel)

    def forward(self, states: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, hidden) and the queries (B, Q, width) of the first Q tokens -> (B, Q, heads x head_size)."""
        near = queries.shape[1] + self.reach
        mask = mask[:, :near]
        read = states[:, :near] * mask[..., None]
        values = self.values(read, mask) * mask[..., None]
        return self.mixed(values, self.weights(read, queries, mask))

    def weights(self, read: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, hidden), zero beyond the text, and queries (B, Q, width) -> (B, Q, heads, kernel): of each
        token around, from the farthest before to the farthest after; the sum is one."""
        scores: Tensor = self.kernels(self.features(read, queries, mask), mask[:, : queries.shape[1]])
        return scores.reshape(*scores.shape[:2], self.heads, self.kernel).softmax(dim=-1)

    def features(self, read: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """As `weights` -> (B, Q, width): what the weights are a linear map of, before their softmax."""
        count = queries.shape[1]
        around = self._padded(read, count).transpose(1, 2)
        spans = F.conv1d(around, self.depthwise, groups=len(self.depthwise)).transpose(1, 2)
        features: Tensor = self.spans(spans, mask[:, :count]) * queries
        return features

    def mixed(self, vectors: Tensor, weights: Tensor) -> Tensor:
        """Vectors (B, T, heads x size), zero beyond the text, and weights (B, Q, heads, kernel) -> (B, Q, heads x
        size): the weighted means."""
        batch, count, heads, _ = weights.shape
        around = self._padded(vectors, count).reshape(batch, count + 2 * self.reach, heads, -1)
        parts = [weights[..., at, None] * around[:, at : at + count] for at in range(self.kernel)]
        return torch.stack(parts).sum(dim=0).flatten(2)

    def _padded(self, vectors: Tensor, count: int) -> Tensor:
        """(B, T, size) -> (B, count + kernel - 1, size), with zeros around."""
        return F.pad(vectors, (0, 0, self.reach, count + self.reach - vectors.shape[1]))

    def keep_queries(self, dimensions: Tensor) -> None:
        """Keep only these dimensions of the queries."""
        self.spans.select(outputs=dimensions)
        self.kernels.select(inputs=dimensions)

    def keep_hidden(self, dimensions: Tensor) -> None:
        """Keep only these dimensions of the states that the kernels are made from."""
        self.depthwise = nn.Parameter(self.depthwise.detach()[dimensions].clone())
        self.spans.select(inputs=dimensions)
