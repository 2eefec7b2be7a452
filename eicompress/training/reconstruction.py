"""Parts of an encoder that take the place of others begin as near to them as least squares bring them.

The encoder as it was and as it is read the same texts, layer by layer. What a new part computes is fitted to what the
old one computes of the old states, so later layers make up for what earlier ones got wrong.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.contracts import Candidate, Context
from eicompress.encoder.blocks import Layer
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.norms import LayerNorm, Norm
from eicompress.encoder.tokens import Batch
from eicompress.training.importance import measured_batches

EXAMPLES = 512
"""Training texts that parts are fitted on."""
LEAST_SPREAD = 1e-6
"""Of what is read, as a share of its mean square: where a dimension spreads less, it has no gain."""
RIDGE = 1e-3
"""Added to the variances of what a map reads, as a share of their mean."""


@dataclass(frozen=True)
class Step:
    """A layer as it was and as it is, and what each of them reads."""

    old: Layer
    new: Layer
    old_states: list[Tensor]
    """(B, T, hidden) each, batch by batch."""
    new_states: list[Tensor]
    masks: list[Tensor]

    def old_reads(self, part: nn.Module) -> Tensor:
        """(tokens, size): what a part of the old layer reads of the real tokens."""
        return self._seen(self.old, part, self.old_states)[0]

    def old_writes(self, part: nn.Module) -> Tensor:
        """(tokens, size)"""
        return self._seen(self.old, part, self.old_states)[1]

    def new_reads(self, part: nn.Module) -> Tensor:
        """(tokens, size): what a part of the new layer reads of the real tokens, of the new states."""
        return self._seen(self.new, part, self.new_states)[0]

    def new_writes(self, part: nn.Module) -> Tensor:
        """(tokens, size)"""
        return self._seen(self.new, part, self.new_states)[1]

    def _seen(self, layer: Layer, part: nn.Module, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        with _watched(part) as (read, written):
            for each, mask in zip(states, self.masks, strict=True):
                layer(each, mask, each.shape[1])
        return real(read, self.masks), real(written, self.masks)


def batches_of(subject: Candidate, context: Context) -> list[Batch]:
    """The training texts that parts are fitted on."""
    return [batch for batch, _ in measured_batches(subject, context, examples=EXAMPLES)]


def steps(old: Encoder, new: Encoder, batches: Sequence[Batch]) -> Iterator[Step]:
    """Layer after layer; the next one reads what the one before it computes when it has been changed."""
    masks = [each.attention_mask for each in batches]
    old_states, new_states = (
        [model.embed(each.input_ids, each.attention_mask, each.token_type_ids) for each in batches]
        for model in (old, new)
    )
    for number in range(len(new.layers)):
        step = Step(old.layer(number), new.layer(number), old_states, new_states, masks)
        yield step
        old_states, new_states = (
            [layer(each, mask, each.shape[1]) for each, mask in zip(states, masks, strict=True)]
            for layer, states in ((step.old, old_states), (step.new, new_states))
        )


def embedded(model: Encoder, part: nn.Module, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """What a part of the embedding reads and writes of the real tokens, (tokens, size) each."""
    with _watched(part) as (read, written):
        for each in batches:
            model.embed(each.input_ids, each.attention_mask, each.token_type_ids)
    masks = [each.attention_mask for each in batches]
    return real(read, masks), real(written, masks)


@contextmanager
def _watched(part: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """What a part reads and writes while it runs."""
    read: list[Tensor] = []
    written: list[Tensor] = []

    def look(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        read.append(arguments[0])
        written.append(output)

    handle = part.register_forward_hook(look)
    try:
        yield read, written
    finally:
        handle.remove()


def real(states: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """(B, T, size) each, with masks (B, T) -> those of real tokens (tokens, size)."""
    return torch.cat([each[mask.bool()] for each, mask in zip(states, masks, strict=True)])


def least_squares(read: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """read (tokens, inputs), wanted (tokens, outputs) -> the weight (outputs, inputs) and bias (outputs,) that map the
    one to the other with the least squared error."""
    read, wanted = read.double(), wanted.double()
    mean, wanted_mean = read.mean(dim=0), wanted.mean(dim=0)
    centred = read - mean
    products = centred.T @ centred
    ridge = RIDGE * products.diagonal().mean().clamp_min(1e-30) * torch.eye(len(products), dtype=torch.float64)
    weight = torch.linalg.solve(products + ridge, centred.T @ (wanted - wanted_mean)).T
    return weight.float(), (wanted_mean - weight @ mean).float()


@torch.no_grad()
def fit_linear(linear: Linear, read: Tensor, wanted: Tensor) -> None:
    """Let a linear layer map what it reads (tokens, inputs) to what is wanted (tokens, outputs)."""
    weight, bias = least_squares(read, wanted)
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def gains(read: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """read and wanted (tokens, size) -> gain and bias (size,) that map one to the other, each dimension on its own;
    the gain is zero where what is read hardly changes: it would be too large for half precision."""
    centred, mean = read - read.mean(dim=0), wanted.mean(dim=0)
    spread = centred.square().sum(dim=0)
    moves = spread > LEAST_SPREAD * read.square().sum(dim=0).mean()
    gain = moves * (centred * (wanted - mean)).sum(dim=0) / spread.clamp_min(1e-12)
    return gain, mean - gain * read.mean(dim=0)


@torch.no_grad()
def fit_norm(norm: Norm, read: Tensor, wanted: Tensor) -> None:
    """Give a norm the gain and bias with which it comes nearest to what is wanted (tokens, size)."""
    normalized = F.layer_norm(read, norm.weight.shape, eps=norm.eps) if isinstance(norm, LayerNorm) else read
    for parameter, value in zip((norm.weight, norm.bias), gains(normalized, wanted), strict=True):
        parameter.copy_(value)


def principal_axes(covariance: Tensor, count: int, seed: int) -> Tensor:
    """(size, count): the first principal components.

    They are turned by a random rotation: each dimension then has about the same spread, which few bits with one scale a
    text need.
    """
    _, vectors = torch.linalg.eigh(covariance.double())
    noise = torch.randn(count, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turned: Tensor = vectors[:, -count:] @ torch.linalg.qr(noise)[0]
    return turned.float()
