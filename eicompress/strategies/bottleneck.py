"""`bottleneck`: layers that compute in a narrow width, between states that keep theirs (MobileBERT).

A new layer inherits what the old one computes, from the input on. On training texts:

- The narrow width is that of the principal components of what the old feed-forward block reads and of what it sums up.
- Queries and keys read the states through the map to their own principal components.
- All other matrices are the least-squares best ones to compute, from what the new layer reads, what the old one
  computes from the old states, in these components.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from torch import Tensor, nn

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.blocks import Layer
from eicompress.encoder.bottleneck import Bottleneck
from eicompress.encoder.config import BottleneckConfig, LayerConfig
from eicompress.encoder.layers import check_one_block, new_layers
from eicompress.encoder.linear import AnyLinear, Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.norms import LayerNorm, NoNorm, Norm
from eicompress.encoder.references import check_without_references
from eicompress.encoder.swaps import read_neighbours
from eicompress.errors import Inapplicable
from eicompress.training.reconstruction import (
    Step,
    batches_of,
    fit_linear,
    fit_norm,
    least_squares,
    principal_axes,
    steps,
)
from eicompress.values import seed_of

LEAST_SHARE = 0.1
"""Of the states in what a layer sums up, when its output is fitted."""


@dataclass(frozen=True)
class BottleneckLayers(ModelStrategy):
    """Let every layer compute in a narrow width, with its weights inherited as far as they fit.

    Of a layer's 4 H A + 2 H F weights, with hidden width H, attention width A and F neurons, 4 H I + 3 I A + H A or
    less + 2 I F are left at a narrow width I.
    """

    width: Annotated[int, IntDistribution(8, 1024)] = 128
    """The narrow width. At the hidden width or above, the layers stay as they are."""
    attention: Annotated[Literal["query_key", "all", "none"], CategoricalDistribution(("query_key", "all", "none"))] = (
        "query_key"
    )
    """What reads the states through a narrow map: queries and keys, by a map of their own; all of attention, by the
    layer's own; or nothing."""
    blocks: Annotated[int, IntDistribution(1, 4)] = 1
    """Feed-forward blocks in a row, to which the neurons are dealt out."""
    trigrams: Annotated[bool, CategoricalDistribution((False, True))] = False
    """Whether the projection of word vectors reads those of the tokens before and after too, at first with zeros."""

    name: ClassVar[str] = "bottleneck"
    paper: ClassVar[str] = "MobileBERT, arXiv 2004.02984"
    example: ClassVar[Mapping[str, Any]] = {"width": 8}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        self._check(model)
        if self.trigrams:
            read_neighbours(model)
        if self.width >= model.config.hidden:
            return subject
        old = copy.deepcopy(model)
        model.use_layers(self._new_layers(model, context))
        for number in range(len(model.layers)):
            model.layer(number).attention.position_bias = old.layer(number).attention.position_bias
        if not context.preview:
            _inherit(old, subject, context)
        return subject

    def _check(self, model: Encoder) -> None:
        config = model.config
        check_one_block(config, self.name)
        check_without_references(config, self.name)
        shared = any(each is not None for of in config.layers for each in (of.attention_of, of.ffn_of, of.norms_of))
        products = any(any(of.ranks) or any(terms for _, terms in of.kroneckers) for of in config.layers)
        pruned = any(each.kept is not None for _, each in model.linears())
        if not config.layers or shared or products or pruned:
            raise Inapplicable(
                f"`{self.name}` acts on layers of whole matrices, each with its own weights: put it before what "
                "shares, factorizes or prunes them"
            )
        other = any(each.bottleneck or each.convolution or each.ffn_groups > 1 for each in config.layers)
        if config.norm_first or other:
            raise Inapplicable(
                f"`{self.name}` acts on layers without bottleneck, convolution or groups that normalize after each sum"
            )
        if self.trigrams and config.projection != "words":
            raise Inapplicable(
                f"`{self.name}.trigrams` needs word vectors that are projected: put `embedding_factorization` before it"
            )

    def _new_layers(self, model: Encoder, context: Context) -> list[Layer]:
        """With weights that are drawn, in the bits that the old ones have."""
        config = model.config
        shapes = tuple(self._shape(each) for each in config.layers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(context.seed, self.name))
            made = new_layers(replace(config, layers=shapes))
            _draw_biases(made)
        for number, layer in enumerate(made):
            spec = _whole(model.layer(number).attention.qkv).spec
            for module in layer.modules():
                if isinstance(module, Linear):
                    module.set_quantization(spec)
        return made

    def _shape(self, shape: LayerConfig) -> LayerConfig:
        if shape.ffn % self.blocks:
            raise Inapplicable(
                f"`{self.name}.blocks` must divide the {shape.ffn} neurons of a layer, but is {self.blocks}"
            )
        bottleneck = BottleneckConfig(self.width, self.attention)
        return replace(shape, bottleneck=bottleneck, ffn=shape.ffn // self.blocks, ffn_blocks=self.blocks)


def _draw_biases(layers: Sequence[Layer]) -> None:
    """A file stores equal constants once, and a preview must not be smaller than the file."""
    for layer in layers:
        for parameter in layer.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, std=0.02)


@torch.no_grad()
def _inherit(old: Encoder, subject: Candidate, context: Context) -> None:
    model = subject.encoder
    for number, step in enumerate(steps(old, model, batches_of(subject, context))):
        bottleneck = step.new.bottleneck
        assert bottleneck is not None
        components = _components(step, bottleneck.output.inputs, seed_of(context.seed, number))
        _fit_attention(step, bottleneck, components, seed_of(context.seed, number, "attention"))
        _fit_blocks(step, components)
        _fit_output(step, bottleneck)
        for module in step.new.modules():
            if isinstance(module, Linear):
                module.set_quantization(module.spec)


def _components(step: Step, width: int, seed: int) -> Tensor:
    """(hidden, width): of what the old feed-forward block reads and of what it sums up."""
    read, summed = step.old_writes(step.old.attention_norm), step.old_reads(step.old.ffn_norm)
    return principal_axes(read.T.cov() + summed.T.cov(), width, seed)


def _fit_attention(step: Step, bottleneck: Bottleneck, components: Tensor, seed: int) -> None:
    """The way in, and attention, up to what the feed-forward block reads."""
    new, entry = step.new.attention, bottleneck.input
    wanted = step.old_writes(step.old.attention_norm) @ components
    fit_linear(entry.linear, step.new_reads(entry.linear), wanted)
    fit_norm(entry.norm, step.new_reads(entry.norm), wanted)
    _fit_reading(step, seed)
    inner = step.new_writes(entry.norm)
    fit_linear(_whole(new.output), step.new_reads(new.output), wanted - inner)
    fit_norm(_norm(step.new.attention_norm), step.new_reads(step.new.attention_norm), wanted)


def _fit_reading(step: Step, seed: int) -> None:
    """Queries, keys and values."""
    new, old = step.new.attention, _whole(step.old.attention.qkv)
    weight, bias = old.effective_weight(), old.bias
    if new.narrow is not None and new.value is not None:
        rows, part = _whole(new.qkv).outputs, new.narrow
        read = step.old_writes(old)[:, :rows]
        rank = min(rows, part.linear.outputs)  # what is drawn stays where there are fewer queries and keys
        directions = principal_axes(read.T.cov(), rank, seed)
        part.linear.weight[:rank] = directions.T @ weight[:rows]
        part.linear.bias[:rank] = directions.T @ bias[:rows]
        narrowed = step.new_writes(part.linear)
        fit_norm(part.norm, narrowed, narrowed)
        new.value.weight.copy_(weight[rows:])
        new.value.bias.copy_(bias[rows:])
        fit_linear(_whole(new.qkv), step.new_reads(new.qkv), read)
    elif new.reads_inner:
        fit_linear(_whole(new.qkv), step.new_reads(new.qkv), step.old_writes(old))
    else:
        _whole(new.qkv).weight.copy_(weight)
        new.qkv.bias.copy_(bias)


def _fit_blocks(step: Step, components: Tensor) -> None:
    """The neurons, dealt out to the blocks in turn."""
    old, blocks = step.old.ffn, step.new.ffn.blocks
    made, output = step.old_writes(old.input), _whole(old.output)
    outer = components.T @ output.effective_weight()
    for number, block in enumerate(blocks):
        own = torch.arange(number, output.inputs, len(blocks))
        rows = torch.cat([own, own + output.inputs]) if block.gated else own
        fit_linear(_whole(block.input), step.new_reads(block.input), made[:, rows])
        _whole(block.output).weight.copy_(outer[:, own])
        share = (number + 1) / sum(range(1, len(blocks) + 1))  # each another, as they are after a training
        block.output.bias.copy_(share * (components.T @ output.bias))
    summed = step.old_reads(step.old.ffn_norm) @ components
    fit_norm(step.new.ffn_norm, step.new_reads(step.new.ffn_norm), summed)


def _fit_output(step: Step, bottleneck: Bottleneck) -> None:
    """The way back: with the states, it comes near to a multiple of what the old layer's last norm read, or, without
    normalization, wrote."""
    norm, last = bottleneck.norm, step.old.ffn_norm
    wanted = step.old_reads(last) if isinstance(norm, LayerNorm) else step.old_writes(last)
    inner, states = step.new_writes(step.new.ffn_norm), step.new_reads(bottleneck.input.linear)
    left, states_left = (_without(inner, each) for each in (wanted, states))
    share = ((left * states_left).sum() / states_left.square().sum().clamp_min(1e-12)).clamp_min(LEAST_SHARE)
    fit_linear(bottleneck.output, inner, wanted / share - states)
    fit_norm(norm, step.new_reads(norm), step.old_writes(last))


def _without(read: Tensor, wanted: Tensor) -> Tensor:
    """What of (tokens, outputs) cannot be computed from (tokens, inputs)."""
    weight, bias = least_squares(read, wanted)
    left: Tensor = wanted - read @ weight.T - bias
    return left


def _whole(linear: AnyLinear) -> Linear:
    assert isinstance(linear, Linear)
    return linear


def _norm(norm: nn.Module) -> Norm:
    assert isinstance(norm, LayerNorm | NoNorm)
    return norm
