"""From the states of tokens to what the head reads, and from there to logits."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from eicompress.answers.words import reads_of
from eicompress.encoder.linear import Linear


@dataclass(frozen=True)
class EncoderOutput:
    logits: Tensor
    """(B, outputs), (B, T, outputs) of tokens, or (B, 1 + T, outputs) of a text and its tokens, with zeros where an
    output answers the other."""
    pooled: Tensor
    """(B, hidden), (B, T, hidden) or (B, 1 + T, hidden): what the pooler, or the classifier where there is none,
    reads."""


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """states (B, T, size) -> their mean over the real tokens (B, size)."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)


def pooled_by(pooling: str, states: Tensor, mask: Tensor) -> Tensor:
    """states (B, T, size) -> (B, size)"""
    return states[:, 0] if pooling == "first" else mean_of_tokens(states, mask)


def before_tokens(pooled: Tensor, states: Tensor) -> Tensor:
    """A pooled state (B, size) and the states of tokens (B, T, size) -> (B, 1 + T, size)"""
    return torch.cat([pooled.unsqueeze(1), states], dim=1)


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


def apply_classifier(linear: Linear, vectors: Tensor, mask: Tensor | None, words: int, *, unit: bool) -> Tensor:
    """As `apply_to_pooled`, with `unit` at length one. Where some of the outputs, the last ones, of `words`, answer
    tokens and others the text: (B, 1 + T, inputs) with the mask of real tokens -> (B, 1 + T, outputs), with zeros where
    they would answer the other."""
    if reads_of(len(linear.bias), words) != "both":
        logits = apply_to_pooled(linear, vectors, mask)
        return of_length_one(logits) if unit else logits
    assert mask is not None
    found: Tensor = linear(vectors, F.pad(mask, (1, 0), value=1))
    texts = found.shape[-1] - words
    of_text = F.pad(found[:, :1, :texts], (0, words))
    return torch.cat([of_text, F.pad(found[:, 1:, texts:], (texts, 0))], dim=1)
