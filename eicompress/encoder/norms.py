"""What stands after the sums of a layer: layer normalization, or a gain and a bias alone."""

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.encoder.config import NormKind


class LayerNorm(nn.Module):
    """Layer normalization over the last dimension (arXiv 1607.06450)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, states: Tensor) -> Tensor:
        return F.layer_norm(states, self.weight.shape, self.weight, self.bias, self.eps)

    def select(self, dimensions: Tensor) -> None:
        _select(self, dimensions)


class NoNorm(nn.Module):
    """A gain and a bias, and no normalization (MobileBERT, arXiv 2004.02984)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, states: Tensor) -> Tensor:
        return states * self.weight + self.bias

    def select(self, dimensions: Tensor) -> None:
        _select(self, dimensions)


Norm: TypeAlias = LayerNorm | NoNorm


def new_norm(kind: NormKind, size: int, eps: float) -> Norm:
    """A norm of this kind with a gain of one and a bias of zero."""
    return NoNorm(size) if kind == "no_norm" else LayerNorm(size, eps)


def _select(norm: Norm, dimensions: Tensor) -> None:
    norm.weight = nn.Parameter(norm.weight.detach()[dimensions].clone())
    norm.bias = nn.Parameter(norm.bias.detach()[dimensions].clone())
