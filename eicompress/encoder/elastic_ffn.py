"""A super-network of feed-forward blocks: every layer has several of them in a row, and what a layer computes, with how
many blocks and how many neurons of each, is chosen (EfficientBERT, arXiv 2109.07222).

`ElasticFeedForward` runs a choice in place, with slices of the super-network's own weights; `choose` cuts it out. Both
take the same slices, so their logits are the same.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from eicompress.encoder.blocks import FeedForward, Layer
from eicompress.encoder.elastic import MULTIPLE, without_weights
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable

FIRST_SHARE = 0.1
"""What the second block adds, as a share of what the first one does: little, so that the encoder answers nearly as
before, and not nothing, which few bits could not be scaled to."""


@dataclass(frozen=True)
class BlockChoice:
    """The feed-forward blocks of one layer."""

    expression: str
    blocks: int
    """How many, from the first."""
    neurons: int
    """How many neurons of each block, from the first."""


def check_choosable(model: Encoder) -> None:
    """Raises `Inapplicable` unless every layer has feed-forward blocks of its own that can be cut at any width."""
    shapes = model.config.layers
    shared = any(each.ffn_of is not None for each in shapes)
    products = any(
        any(each.ranks[2:]) or any(terms for _, terms in each.kroneckers[2:]) or each.ffn_groups > 1 for each in shapes
    )
    linears = [linear for name, linear in model.linears() if ".ffn." in name]
    cut = any(each.kept is not None or (each.spec is not None and each.spec.block) for each in linears)
    if not shapes or shared or products or cut:
        raise Inapplicable(
            "feed-forward blocks are chosen in layers with blocks of their own, of whole matrices with one scale a "
            "row: put this before what shares layers, factorizes, groups or prunes matrices, or quantizes in blocks"
        )
    if model.config.gated or model.config.norm_first or any(each.ffn_norms for each in shapes):
        raise Inapplicable(
            "feed-forward blocks are chosen in layers without gates that normalize after attention and after all blocks"
        )


def add_blocks(model: Encoder, blocks: int) -> None:
    """Give every layer this many blocks: new ones read what the first does, and add a small share of what it adds."""
    for layer in _layers(model):
        layer.ffn.more.extend(_new_block(layer.ffn, number) for number in range(len(layer.ffn.blocks), blocks))
    model.use_layers(_layers(model))


def _new_block(first: FeedForward, number: int) -> FeedForward:
    """Its neurons are those of the first in another order, so that what differs after a training differs before it: a
    file stores equal constants once, and a preview must not be smaller than the file."""
    block = copy.deepcopy(first)
    block.more = nn.ModuleList()
    output = block.output
    assert isinstance(output, Linear)
    with torch.no_grad():
        output.weight.mul_(FIRST_SHARE / number)
        output.bias.mul_(FIRST_SHARE / number)
    output.set_quantization(output.spec)
    block.keep_neurons(torch.cat([each.roll(number) for each in torch.split(torch.arange(output.inputs), MULTIPLE)]))
    return block


def choose(model: Encoder, choices: Sequence[BlockChoice]) -> None:
    """Leave only these blocks, one choice for each layer."""
    for layer, choice in zip(_layers(model), choices, strict=True):
        _cut(layer.ffn, choice)
    model.use_layers(_layers(model))


class ElasticFeedForward:
    """Runs choices of blocks in place: gradients reach the encoder's own weights."""

    def __init__(self, model: Encoder) -> None:
        """Raises `Inapplicable` for an encoder whose blocks cannot be chosen."""
        check_choosable(model)
        self.model = model
        self._whole = without_weights(model)
        self._layers = _layers(self._whole)
        self._shells: dict[tuple[int, BlockChoice], FeedForward] = {}

    def logits(self, choices: Sequence[BlockChoice], ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """One choice for each layer, and (B, T) int64 each -> logits (B, outputs)."""
        shell = self._whole
        shell.use_layers([self._shell(number, choice) for number, choice in enumerate(choices)])
        found: Tensor = functional_call(
            shell.train(self.model.training), dict(self.weights(choices)), (ids, mask, types)
        )
        return found

    def weights(self, choices: Sequence[BlockChoice]) -> Iterator[tuple[str, Tensor]]:
        """The parameters of the choice, by the names that they have once it is cut out: slices of the encoder's own."""
        for name, parameter in self.model.named_parameters():
            _, _, place = name.partition("layers.")
            number, _, inner = place.partition(".ffn.")
            if not inner:
                yield name, parameter
                continue
            choice = choices[int(number)]
            block = int(inner.split(".")[1]) + 1 if inner.startswith("more.") else 0
            if block < choice.blocks:
                yield name, _sliced(inner.removeprefix(f"more.{block - 1}."), parameter, choice.neurons)

    def _shell(self, number: int, choice: BlockChoice) -> Layer:
        """The layer with the chosen blocks, and all else as the others share it."""
        layer = self._layers[number]
        if (number, choice) not in self._shells:
            ffn = copy.deepcopy(layer.ffn)
            _cut(ffn, choice)
            self._shells[number, choice] = ffn
        return layer.with_parts(ffn=self._shells[number, choice])


def _layers(model: Encoder) -> list[Layer]:
    return [model.layer(number) for number in range(len(model.layers))]


def _cut(ffn: FeedForward, choice: BlockChoice) -> None:
    ffn.more = ffn.more[: choice.blocks - 1]
    ffn.compute(choice.expression)
    if choice.neurons < ffn.input.outputs:
        ffn.keep_neurons(torch.arange(choice.neurons))


def _sliced(name: str, parameter: Tensor, neurons: int) -> Tensor:
    """The part of a block's parameter that its first neurons have."""
    if name.startswith("input."):
        return parameter[:neurons]
    return parameter[:, :neurons] if name == "output.weight" else parameter
