"""From the states of tokens to what the head reads, and from there to logits."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from eicompress.encoder.linear import Linear


@dataclass(frozen=True)
class EncoderOutput:
    logits: Tensor
    """(B, outputs), or (B, T, outputs) where each token has an answer."""
    pooled: Tensor
    """(B, hidden), or (B, T, hidden): what the pooler, or the classifier where there is none, reads."""


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """states (B, T, size) -> their mean over the real tokens (B, size)."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)


def pooled_by(pooling: str, states: Tensor, mask: Tensor) -> Tensor:
    """states (B, T, size) -> (B, size), or as they are with a pooling of "none"."""
    if pooling == "none":
        return states
    return states[:, 0] if pooling == "first" else mean_of_tokens(states, mask)


def of_length_one(vectors: Tensor) -> Tensor:
    """(B, outputs) -> the same directions"""
    return F.normalize(vectors, dim=-1)


def apply_to_pooled(linear: Linear, vectors: Tensor, mask: Tensor | None) -> Tensor:
    """(B, inputs), or (B, T, inputs) with the mask of real tokens (B, T) -> (B, outputs), or (B, T, outputs)."""
    if vectors.ndim == 3:
        assert mask is not None
        found: Tensor = linear(vectors, mask)
        return found
    one = torch.ones(len(vectors), 1, dtype=torch.int64, device=vectors.device)
    alone: Tensor = linear(vectors[:, None], one)[:, 0]
    return alone
