"""How attention knows how far tokens are apart, where position vectors do not say it all."""

import math

import torch
from torch import Tensor, nn

from eicompress.encoder.initial import draw_

BUCKETS = 32
"""Half of them for keys before the query, half for keys after it; each half has one a distance up to 7, and then
wider ones."""
FARTHEST = 128
"""Distances from here on share a bucket."""


class RelativePositionBias(nn.Module):
    """What each head adds to its scores for the distance of a key from its query (T5, arXiv 1910.10683; MPNet, arXiv
    2004.09297)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, heads, BUCKETS))
        draw_(self.weight, std=0.02)

    def forward(self, queries: int, keys: int) -> Tensor:
        """(1, heads, queries, keys), for the first `queries` of `keys` tokens."""
        return self.weight[:, :, bucket(distances(queries, keys, self.weight.device))]

    def of_heads(self, heads: Tensor) -> "RelativePositionBias":
        """Another one, of these heads alone."""
        made = RelativePositionBias.__new__(RelativePositionBias)
        nn.Module.__init__(made)
        made.weight = nn.Parameter(self.weight.detach()[:, heads].clone())
        return made


def distances(queries: int, keys: int, device: torch.device) -> Tensor:
    """(queries, keys): key minus query, for the first `queries` of `keys` tokens."""
    places = torch.arange(keys, device=device)
    return places - places[:queries, None]


def near(mask: Tensor, queries: int, window: int) -> Tensor:
    """Which keys are real, by mask (B, T), and at most `window` tokens away: (B, 1, queries, T) bool.

    Every token reads itself, since one of padding alone would have nothing to read.
    """
    away = distances(queries, mask.shape[1], mask.device).abs()
    return (mask[:, None, None, :].bool() & (away <= window)) | (away == 0)


def frequencies(size: int, base: float) -> Tensor:
    """(size / 2,): by how much each pair of dimensions is rotated a token."""
    return 1.0 / (base ** (torch.arange(0, size, 2).float() / size))


def rotated(vectors: Tensor, base: float) -> Tensor:
    """Queries or keys (..., T, size), each pair of a dimension of the first half and its fellow of the second rotated
    by its place (RoPE, arXiv 2104.09864)."""
    length, size = vectors.shape[-2:]
    places = torch.arange(length, device=vectors.device).float()
    angles = places[:, None] * frequencies(size, base).to(vectors.device)
    cosine, sine = angles.cos(), angles.sin()
    first, second = vectors.float().chunk(2, dim=-1)
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return turned.to(vectors.dtype)


def bucket(distance: Tensor) -> Tensor:
    """The bucket of each distance, key minus query: int64 of the same shape."""
    half, exact = BUCKETS // 2, BUCKETS // 4
    away = distance.abs()
    wider = torch.log(away.clamp_min(1).float() / exact) / math.log(FARTHEST / exact) * (half - exact)
    far = (exact + wider.long()).clamp_max(half - 1)
    return torch.where(away < exact, away, far) + half * (distance > 0)
