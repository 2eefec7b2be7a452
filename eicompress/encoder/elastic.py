"""A super-network: an encoder whose first heads, neurons and word dimensions do without the others (slimmable networks,
arXiv 1812.08928; DynaBERT, arXiv 2004.04037).

A sub-network is some of its layers, and the first parts of each. `Elastic` runs one in place, with the weights of the
super-network; `extract` cuts one out. Both take the same slices, so their logits are the same.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from eicompress.encoder.blocks import Layer
from eicompress.encoder.config import EncoderConfig
from eicompress.encoder.layers import check_one_block
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable

Module = TypeVar("Module", bound=nn.Module)

MULTIPLE = 8
"""Numbers of neurons and of word dimensions are rounded to a multiple of this, which matrix kernels like."""


@dataclass(frozen=True)
class Part:
    """Which part of a super-network."""

    layers: tuple[int, ...]
    """The numbers of the layers that are used, ascending."""
    heads: tuple[int, ...]
    """How many heads of each of them, from the first."""
    neurons: tuple[int, ...]
    """How many neurons of each of them, from the first."""
    embedding: int
    """How many dimensions of the word vectors, from the first."""


Widths: TypeAlias = float | Sequence[float]
"""A share of every layer, or of each one that is used."""


def sub_network(config: EncoderConfig, layers: int, heads: Widths, neurons: Widths, embedding: float) -> Part:
    """The part with this number of layers, evenly spread up to the last one, with these shares of their heads and
    neurons, and this share of the word vectors' dimensions. Raises `Inapplicable` where these cannot be cut."""
    factorized = config.projection == "words"
    if embedding < 1 and not factorized:
        raise Inapplicable(
            "word vectors must be factorized where sub-networks have fewer dimensions of them: put "
            "`embedding_factorization` before `super_network`"
        )
    numbers = spread(len(config.layers), layers)
    shapes = [config.layers[number] for number in numbers]
    of_heads, of_neurons = ([each] * layers if isinstance(each, float | int) else each for each in (heads, neurons))
    return Part(
        layers=tuple(numbers),
        heads=tuple(max(1, round(share * each.heads)) for share, each in zip(of_heads, shapes, strict=True)),
        neurons=tuple(rounded(share * each.ffn, each.ffn) for share, each in zip(of_neurons, shapes, strict=True)),
        embedding=rounded(embedding * config.embedding, config.embedding) if factorized else config.embedding,
    )


def sloping(share: float, slope: float, layers: int, least: float = 0.0) -> tuple[float, ...]:
    """The share of each layer where the last one has `1 + slope` times this share, the first one `1 - slope` times, and
    those between them what lies on the line; at least `least` and at most 1."""
    places = [2 * place / (layers - 1) - 1 for place in range(layers)] if layers > 1 else [0.0]
    return tuple(min(1.0, max(least, share * (1 + slope * place))) for place in places)


def spread(count: int, kept: int) -> list[int]:
    """Numbers of `kept` layers of `count`, evenly spread, the last one among them."""
    return [-(-(place + 1) * count // kept) - 1 for place in range(kept)]


def rounded(width: float, most: int) -> int:
    """The nearest multiple of `MULTIPLE`, at least one of it and at most `most`."""
    return min(most, max(MULTIPLE, round(width / MULTIPLE) * MULTIPLE))


def check_elastic(model: Encoder) -> None:
    """Raises `Inapplicable` unless every matrix of the encoder can be cut at any width."""
    config = model.config
    check_one_block(config, "super_network")
    shared = any(each is not None for of in config.layers for each in (of.attention_of, of.ffn_of, of.norms_of))
    factors = any(
        any(of.ranks) or any(terms for _, terms in of.kroneckers) or of.ffn_groups > 1 for of in config.layers
    )
    cut = any(each.kept is not None or (each.spec is not None and each.spec.block) for _, each in model.linears())
    added = config.codebook or config.bigrams or config.references
    if not config.layers or shared or factors or cut or added:
        raise Inapplicable(
            "a super-network must be an encoder with layers of whole matrices, each with its own weights and one scale "
            "a row: train it before what shares, factorizes, groups or prunes its matrices, gives it a codebook, "
            "pairs of tokens or references, or quantizes in blocks"
        )


def extract(model: Encoder, part: Part) -> None:
    """Leave only this part of a super-network."""
    model.keep_layers(part.layers)
    for place, (heads, neurons) in enumerate(zip(part.heads, part.neurons, strict=True)):
        model.keep_heads(place, torch.arange(heads))
        model.keep_neurons(place, torch.arange(neurons))
    if part.embedding < model.config.embedding:
        model.keep_word_dimensions(torch.arange(part.embedding))


class Elastic:
    """Runs sub-networks of an encoder in place: gradients reach the encoder's own weights."""

    def __init__(self, model: Encoder) -> None:
        """Raises `Inapplicable` for an encoder that cannot be cut at any width."""
        check_elastic(model)
        self.model = model
        self._whole = without_weights(model)
        self._shells: dict[Part, Encoder] = {}

    def logits(self, part: Part, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """(B, T) int64 each -> the part's logits (B, outputs)."""
        shell = self._shell(part).train(self.model.training)
        found: Tensor = functional_call(shell, dict(self.weights(part)), (ids, mask, types))
        return found

    def weights(self, part: Part) -> Iterator[tuple[str, Tensor]]:
        """The part's parameters, by the names that they have once it is cut out: slices of the encoder's own."""
        for name, parameter in self.model.named_parameters():
            if not name.startswith("layers."):
                narrower = part.embedding < self.model.config.embedding
                yield name, _cut_words(name, parameter, part.embedding) if narrower else parameter
        for place, number in enumerate(part.layers):
            layer = self.model.layer(number)
            for name, parameter in layer.named_parameters():
                cut = _cut_layer(layer, name, parameter, part.heads[place], part.neurons[place])
                yield f"layers.{place}.{name}", cut

    def _shell(self, part: Part) -> Encoder:
        if part not in self._shells:
            shell = copy.deepcopy(self._whole)
            extract(shell, part)
            self._shells[part] = shell
        return self._shells[part]


def without_weights(model: Module) -> Module:
    """A copy whose parameters have shapes, and take no memory."""
    shell = copy.deepcopy(model)
    for module in shell.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.to("meta"), parameter.requires_grad))
    return shell


def _cut_words(name: str, parameter: Tensor, embedding: int) -> Tensor:
    return parameter[:, :embedding] if name in ("words.weight", "projection.weight") else parameter


def _cut_layer(layer: Layer, name: str, parameter: Tensor, heads: int, neurons: int) -> Tensor:
    matrix = name.rpartition(".")[0]
    width, whole = heads * layer.attention.head_size, layer.attention.width
    if matrix == "attention.position_bias":
        return parameter[:, :heads]
    if matrix == "attention.qkv":
        return parameter.reshape(layer.attention.parts, -1, *parameter.shape[1:])[:, :width].flatten(0, 1)
    if matrix == "attention.value":
        return parameter[:width]
    if matrix == "ffn.input":
        return parameter.reshape(1 + layer.ffn.gated, -1, *parameter.shape[1:])[:, :neurons].flatten(0, 1)
    if matrix == "attention.convolution.spans":
        return parameter[:width]
    if name == "attention.convolution.kernels.weight":
        return parameter[:, :width]
    if name == "attention.output.weight":
        return torch.cat([parameter[:, :width], parameter[:, whole:]], dim=1)
    if name == "ffn.output.weight":
        return parameter[:, :neurons]
    return parameter
