"""`swap_norm` and `swap_activation`: parts that compute less, in place of those that a model was trained with.

Each begins with the gains and biases that bring it nearest to what was there, on training texts. `distillation` or
`layer_distillation` should follow, so that the quality is kept.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.blocks import FeedForward, Layer
from eicompress.encoder.config import Activation
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.norms import LayerNorm, NoNorm, Norm
from eicompress.encoder.swaps import use_activation, use_no_norm
from eicompress.errors import Inapplicable
from eicompress.training.reconstruction import Step, batches_of, embedded, fit_norm, gains, steps

ACTIVATION: Activation = "relu"


@dataclass(frozen=True)
class SwapNorm(ModelStrategy):
    """Replace layer normalization by a gain and a bias a dimension (NoNorm), fitted to what it computes.

    A model without layer normalization stays as it is.
    """

    name: ClassVar[str] = "swap_norm"
    paper: ClassVar[str] = "MobileBERT, arXiv 2004.02984"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        if model.config.norm_first:
            raise Inapplicable(
                f"`{self.name}` acts on layers that normalize their sums, but this model's normalize what their blocks "
                "read, and would compute with states that grow from layer to layer"
            )
        if model.config.norm == "no_norm":
            return subject
        old = copy.deepcopy(model)
        use_no_norm(model)
        if not context.preview:
            _fit_norms(old, subject, context)
        return subject


@dataclass(frozen=True)
class SwapActivation(ModelStrategy):
    """Compute ReLU in feed-forward blocks, and fit what reads it to what the activation before it gave.

    A model with ReLU stays as it is.
    """

    name: ClassVar[str] = "swap_activation"
    paper: ClassVar[str] = "MobileBERT, arXiv 2004.02984"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        if not model.config.layers:
            raise Inapplicable(f"`{self.name}` acts on feed-forward blocks, but the model has no layers")
        if any(each.expression for each in model.config.layers):
            raise Inapplicable(
                f"`{self.name}` acts on blocks with one activation, but one computes an expression: put it before what "
                "chooses expressions"
            )
        if model.config.activation == ACTIVATION:
            return subject
        old = copy.deepcopy(model)
        use_activation(model, ACTIVATION)
        if not context.preview:
            _fit_neurons(old, subject, context)
        return subject


@torch.no_grad()
def _fit_norms(old: Encoder, subject: Candidate, context: Context) -> None:
    """In the order in which they are computed; norms that layers share where the first of them uses them."""
    model, batches = subject.encoder, batches_of(subject, context)
    read, written = embedded(old, old.embedding_norm, batches)
    fit_norm(model.embedding_norm, read, written)
    fitted: set[nn.Module] = set()
    for step in steps(old, model, batches):
        for was, norm in zip(_norms(step.old), _norms(step.new), strict=True):
            if norm not in fitted:
                fit_norm(norm, step.new_reads(norm), step.old_writes(was))
                fitted.add(norm)


def _norms(layer: Layer) -> Iterator[Norm]:
    """The norms of a layer, in the order in which they are computed."""
    narrow, bottleneck = layer.attention.narrow, layer.bottleneck
    inner = [] if bottleneck is None else [bottleneck.input.norm]
    inner += [] if narrow is None else [narrow.norm]
    outer = [] if bottleneck is None else [bottleneck.norm]
    for each in (*inner, layer.attention_norm, *layer.ffn.norms, layer.ffn_norm, *outer):
        if isinstance(each, LayerNorm | NoNorm):
            yield each


@torch.no_grad()
def _fit_neurons(old: Encoder, subject: Candidate, context: Context) -> None:
    """Block after block; blocks that layers share where the first of them uses them."""
    model = subject.encoder
    fitted: set[nn.Module] = set()
    for step in steps(old, model, batches_of(subject, context)):
        if step.new.ffn not in fitted:
            for was, block in zip(step.old.ffn.blocks, step.new.ffn.blocks, strict=True):
                _fit_block(step, was, block)
            fitted.add(step.new.ffn)


def _fit_block(step: Step, was: FeedForward, block: FeedForward) -> None:
    """Multiply each neuron where it is read, and add a constant, so that it is nearest to what it was."""
    linear = block.output
    if not isinstance(linear, Linear):
        return  # a product of factors stays as it is: the training that follows changes it
    gain, constant = gains(step.new_reads(linear), step.old_reads(was.output))
    linear.bias.add_(linear.weight @ constant)
    linear.weight.mul_(gain)
    linear.set_quantization(linear.spec)
