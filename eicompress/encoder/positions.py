"""How attention knows how far tokens are apart, where their position vectors do not say it."""

import math

import torch
from torch import Tensor, nn

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
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, queries: int, keys: int) -> Tensor:
        """(1, heads, queries, keys), for the first `queries` of `keys` tokens."""
        places = torch.arange(keys, device=self.weight.device)
        return self.weight[:, :, bucket(places - places[:queries, None])]

    def of_heads(self, heads: Tensor) -> "RelativePositionBias":
        """Another one, of these heads alone."""
        made = RelativePositionBias.__new__(RelativePositionBias)
        nn.Module.__init__(made)
        made.weight = nn.Parameter(self.weight.detach()[:, heads].clone())
        return made


def bucket(distance: Tensor) -> Tensor:
    """The bucket of each distance, key minus query: int64 of the same shape."""
    half, exact = BUCKETS // 2, BUCKETS // 4
    away = distance.abs()
    wider = torch.log(away.clamp_min(1).float() / exact) / math.log(FARTHEST / exact) * (half - exact)
    far = (exact + wider.long()).clamp_max(half - 1)
    return torch.where(away < exact, away, far) + half * (distance > 0)
