"""NNI's pruners as strategies: they say which neurons and heads to mask, and eicompress removes what is masked.

A preview does not ask NNI: as many parts go from every layer, though others, so its bytes are the final ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Annotated, Any, ClassVar

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution

from eicompress import Candidate, Context, Encoder, Inapplicable, ModelStrategy, Strategy, hookimpl
from eicompress.contracts import Array
from eicompress.encoder.linear import AnyLinear, Kronecker, Linear, LowRank
from eicompress.training.importance import most_important

EICOMPRESS_INTERFACE = 1
NEURONS_AT_ONCE = 8
"""Matrix kernels like widths that are multiples of this."""

Neurons = Annotated[float, FloatDistribution(0.0, 0.95)]
Heads = Annotated[float, FloatDistribution(0.0, 0.95)]


@dataclass(frozen=True)
class Parts:
    """The neurons or heads of a layer, and the matrix whose rows or columns they are."""

    layer: int
    kind: str
    """`neurons`: a row each of the matrix that makes them. `heads`: as many columns each of the one that reads them."""
    matrix: str
    """Name of the linear layer in the model."""
    shape: tuple[int, int]
    """(outputs, inputs) of the linear layer."""
    count: int
    stay: int
    """How many of them stay."""

    @property
    def block(self) -> list[int]:
        """(rows, columns) of the matrix that belong to one part."""
        outputs, inputs = self.shape
        return [outputs // self.count, inputs] if self.kind == "neurons" else [outputs, inputs // self.count]

    def left(self, mask: Array) -> Array:
        """(count,): how many weights of each part a mask (outputs, inputs) leaves."""
        rows = mask if self.kind == "neurons" else mask.T
        return rows.reshape(self.count, -1).sum(axis=1)


@dataclass(frozen=True)
class NniPruning(ModelStrategy):
    """Remove the neurons and heads that one of NNI's pruners masks, the same share of each in every layer."""

    pruner: Annotated[str, CategoricalDistribution(("l1_norm", "l2_norm", "fpgm", "taylor", "level"))] = "taylor"
    """What a part is worth: the norm of its weights, how far it lies from the others of its layer, the loss that its
    weights move, or how many of its weights are among the larger ones of their matrix."""
    neurons: Neurons = 0.5
    """Share of the feed-forward neurons that goes, eight at once; every layer keeps some."""
    heads: Heads = 0.0
    """Share of the attention heads that goes; every layer keeps one at least."""

    name: ClassVar[str] = "nni_pruning"
    paper: ClassVar[str] = "arXiv 1608.08710 (norms), 1811.00250 (FPGM), 1906.10771 (Taylor), 1506.02626 (level)"
    example: ClassVar[Mapping[str, Any]] = {"heads": 0.25}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        parts = _parts(subject, self)
        left = _nothing_known(parts)
        if parts and not context.preview:
            from eicompress_nni import masks

            left = masks.after_measuring(self.pruner, parts, subject, context)
        return _cut(subject, self, parts, left, {"pruner": self.pruner})


@dataclass(frozen=True)
class NniMovementPruning(ModelStrategy):
    """Remove the neurons and heads that move towards zero while the model is trained on the labels."""

    neurons: Neurons = 0.5
    """Share of the feed-forward neurons that goes, eight at once; every layer keeps some."""
    heads: Heads = 0.0
    """Share of the attention heads that goes; every layer keeps one at least."""
    epochs: Annotated[float, FloatDistribution(0.1, 100.0)] = 2.0
    """Passes over the training texts, at full fidelity."""
    learning_rate: Annotated[float, FloatDistribution(1e-6, 1e-2, log=True)] = 1e-4

    name: ClassVar[str] = "nni_movement_pruning"
    paper: ClassVar[str] = "Movement pruning, arXiv 2005.07683; by blocks, arXiv 2109.04838"
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"heads": 0.25, "epochs": 1.0}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        parts = _parts(subject, self)
        left = _nothing_known(parts)
        if parts and not context.preview:
            from eicompress_nni import masks

            left = masks.after_training(self.epochs, self.learning_rate, parts, subject, context)
        return _cut(subject, self, parts, left, {})


def _parts(subject: Candidate, strategy: NniPruning | NniMovementPruning) -> list[Parts]:
    """What a strategy takes parts from. Blocks that layers share stand once, under the first of them."""
    model = subject.encoder
    if not len(model.layers):
        raise Inapplicable(f"`{strategy.name}` acts on layers, but the model has none")
    if any(each.ffn_blocks > 1 or each.ffn_groups > 1 or each.convolution for each in model.config.layers):
        raise Inapplicable(
            f"`{strategy.name}` acts on layers with one feed-forward block, without groups and convolutions: put it "
            "before what adds them"
        )
    return [each for each in _all_parts(model, strategy.neurons, strategy.heads) if each.stay < each.count]


def _all_parts(model: Encoder, neurons: float, heads: float) -> Iterator[Parts]:
    for number, shape in enumerate(model.config.layers):
        layer = model.layer(number)
        if shape.ffn_of is None and neurons:
            if layer.ffn.gated:
                raise Inapplicable(
                    "NNI masks rows, and a gated neuron has two: set `neurons` to 0, use `neuron_pruning`"
                )
            name, matrix = _factor(layer.ffn.input, f"layers.{number}.ffn.input", "outer")
            stay = _stay(shape.ffn, neurons, NEURONS_AT_ONCE)
            yield Parts(number, "neurons", name, (matrix.outputs, matrix.inputs), shape.ffn, stay)
        if shape.attention_of is None and heads:
            name, matrix = _factor(layer.attention.output, f"layers.{number}.attention.output", "inner")
            stay = _stay(shape.heads, heads, 1)
            yield Parts(number, "heads", name, (matrix.outputs, matrix.inputs), shape.heads, stay)


def _factor(linear: AnyLinear, name: str, factor: str) -> tuple[str, Linear]:
    """The matrix that NNI is to mask, with its name: of a product of two, the one that has the parts."""
    if isinstance(linear, Kronecker):
        raise Inapplicable("nothing can be cut out of Kronecker products: put `kronecker` after what narrows the model")
    return (f"{name}.{factor}", getattr(linear, factor)) if isinstance(linear, LowRank) else (name, linear)


def _stay(count: int, share: float, multiple: int) -> int:
    return min(count, max(1, round((1 - share) * count / multiple)) * multiple)


def _nothing_known(parts: list[Parts]) -> list[Array]:
    return [np.zeros(each.count) for each in parts]


def _cut(
    subject: Candidate, strategy: Strategy, parts: list[Parts], left: list[Array], facts: dict[str, str]
) -> Candidate:
    """The candidate with those parts of which a mask leaves most."""
    model = subject.encoder
    for each, weights in zip(parts, left, strict=True):
        kept = most_important(weights, each.stay)
        if each.kind == "neurons":
            model.keep_neurons(each.layer, kept)
        else:
            model.keep_heads(each.layer, kept)
    layers = model.config.layers
    facts = {
        **facts,
        "nni": version("nni"),
        "neurons": [each.ffn for each in layers],
        "heads": [each.heads for each in layers],
    }
    return replace(subject, facts={**subject.facts, strategy.name: facts})


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [NniPruning, NniMovementPruning]
