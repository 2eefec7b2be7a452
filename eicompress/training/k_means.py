"""Lloyd's k-means with weights."""

import torch
from torch import Tensor

ROUNDS = 15
"""Iterations."""
_AT_ONCE = 8192
"""Points whose distances to all centres are in memory together."""


def k_means(points: Tensor, weights: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points (n, d), weights (n,) -> the nearest centre of each (n,) int64, and the centres (count, d).

    They begin at points that are drawn by weight without repetition; fewer points than centres are all taken, in turn.
    """
    generator = torch.Generator().manual_seed(seed)
    if len(points) > count:
        chosen = torch.multinomial(weights, count, generator=generator)
    else:
        chosen = torch.arange(count) % len(points)
    centres = points[chosen].clone()
    for _ in range(ROUNDS):
        nearest = _nearest(points, centres)
        totals = torch.zeros(count).index_add_(0, nearest, weights)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points * weights[:, None])
        centres = torch.where(totals[:, None] > 0, sums / totals.clamp_min(1e-30)[:, None], centres)
    return _nearest(points, centres), centres


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    half_squares = centres.square().sum(dim=1) / 2
    return torch.cat([(part @ centres.T - half_squares).argmax(dim=1) for part in torch.split(points, _AT_ONCE)])
