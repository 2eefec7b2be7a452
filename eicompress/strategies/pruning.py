"""`head_pruning`, `neuron_pruning`, `layer_pruning`: parts that matter little are cut out, from file and graph.

All at once, or in rounds with a training after each but the last. In a preview, magnitude stands in for the other ways
to measure importance where that changes no shape: as many parts go, though others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor

from eicompress.contracts import Array, Candidate, Context, ModelStrategy, Origin
from eicompress.encoder.config import LayerConfig
from eicompress.encoder.layers import check_one_block
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.training.finetune import recover
from eicompress.training.importance import WAYS, fingerprint, kept_parts, measure_importance, most_important
from eicompress.values import Json

NEURONS_AT_ONCE = 8
"""Widths are multiples of this, which matrix kernels run faster."""

Importance = Annotated[str, CategoricalDistribution(WAYS)]
Budget = Annotated[str, CategoricalDistribution(("global", "uniform"))]
Rounds = Annotated[int, IntDistribution(1, 10)]
Epochs = Annotated[float, FloatDistribution(0.1, 20.0)]


@dataclass(frozen=True)
class HeadPruning(ModelStrategy):
    """Remove attention heads: rows of query, key and value, columns of the output projection."""

    share: Annotated[float, FloatDistribution(0.0, 0.95)] = 0.25
    """Share of all heads that goes; every layer keeps one at least."""
    importance: Importance = "taylor"
    """Importance of a head: its effect on the loss, its output, or the norm of its weights."""
    budget: Budget = "global"
    """Whether the layers compete for the heads that stay, or each loses the same share."""
    rounds: Rounds = 1
    """How often heads go, equally many each time; once is one-shot, without training."""
    epochs: Epochs = 1.0
    """Passes over the training texts between two rounds."""

    name: ClassVar[str] = "head_pruning"
    paper: ClassVar[str] = "Are sixteen heads really better than one?, arXiv 1905.10650"
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"rounds": 2, "epochs": 0.3}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        return _with_fewer(_HEADS, self, subject, context)


@dataclass(frozen=True)
class NeuronPruning(ModelStrategy):
    """Remove feed-forward neurons, eight at once: rows of the first matrix, columns of the second."""

    share: Annotated[float, FloatDistribution(0.0, 0.98)] = 0.25
    """Share of all neurons that goes; every layer keeps some."""
    importance: Importance = "taylor"
    """Importance of a neuron: its effect on the loss, its output, or the norm of its weights."""
    budget: Budget = "global"
    """Whether the layers compete for the neurons that stay, or each loses the same share."""
    rounds: Rounds = 1
    """How often neurons go, equally many each time; once is one-shot, without training."""
    epochs: Epochs = 1.0
    """Passes over the training texts between two rounds."""

    name: ClassVar[str] = "neuron_pruning"
    paper: ClassVar[str] = "Pruning by Taylor expansion, arXiv 1611.06440; Wanda, arXiv 2306.11695"
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"budget": "uniform", "rounds": 2, "epochs": 0.3}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        return _with_fewer(_NEURONS, self, subject, context)


@dataclass(frozen=True)
class LayerPruning(ModelStrategy):
    """Remove the layers that change their input least."""

    count: Annotated[int, IntDistribution(0, 47)] = 1
    """Layers that go; one stays at least."""
    importance: Importance = "taylor"
    """Importance of a layer: its effect on the loss, the angle by which it turns its input, or the norm of its
    weights.
    """
    rounds: Rounds = 1
    """How often layers go, equally many each time; once is one-shot, without training."""
    epochs: Epochs = 1.0
    """Passes over the training texts between two rounds."""

    name: ClassVar[str] = "layer_pruning"
    paper: ClassVar[str] = "ShortGPT, arXiv 2403.03853; Poor man's BERT, arXiv 2004.03844"
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"count": 2, "rounds": 2, "epochs": 0.3}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = _encoder(subject, self.name)
        layers = len(model.layers)
        if self.count >= layers:
            raise Inapplicable(
                f"`{self.name}.count` must be less than the model's {layers} layers, but is {self.count}"
            )
        kept, worths = list(range(layers)), []
        for share in _in_rounds(self.count / layers, self.rounds, self.epochs, subject, context):
            unlike = len(set(model.config.layers)) > 1
            importance = _parts("layers", subject, _seeing(context, unlike), self.importance)
            worth = np.concatenate([importance[number] for number in range(len(kept))])
            stay = most_important(worth, layers - round(share * layers)).tolist()
            model.keep_layers(stay)
            worths.append([round(each, 6) for each in worth.tolist()])
            kept = [kept[number] for number in stay]
        origin = Origin(tuple(subject.origin.layers[number] for number in kept), subject.origin.hidden)
        return _with_facts(replace(subject, origin=origin), self.name, {"kept": kept, "importance": worths[0]})


@dataclass(frozen=True)
class _Kind:
    """A kind of part that a block of a layer has many of."""

    name: str
    count: Callable[[LayerConfig], int]
    owner: Callable[[LayerConfig], int | None]
    """The earlier layer whose block this one uses, if it does."""
    keep: Callable[[Encoder, int, Tensor], None]
    groups: Callable[[LayerConfig], int] = lambda layer: 1
    """How many groups of parts each keep as many."""
    at_once: int = 1


_HEADS = _Kind("heads", lambda layer: layer.heads, lambda layer: layer.attention_of, Encoder.keep_heads)
_NEURONS = _Kind(
    "neurons",
    lambda layer: layer.ffn,
    lambda layer: layer.ffn_of,
    Encoder.keep_neurons,
    lambda layer: layer.ffn_groups,
    NEURONS_AT_ONCE,
)


def _with_fewer(kind: _Kind, step: HeadPruning | NeuronPruning, subject: Candidate, context: Context) -> Candidate:
    model = _encoder(subject, step.name)
    if kind is _NEURONS:
        check_one_block(model.config, step.name)
    whole = {number: kind.count(layer) for number, layer in enumerate(model.config.layers) if kind.owner(layer) is None}
    for share in _in_rounds(step.share, step.rounds, step.epochs, subject, context):
        importance = _parts(kind.name, subject, _seeing(context, step.budget == "global"), step.importance)
        for number, parts in kept_parts(importance, share, step.budget, kind.at_once, whole=whole).items():
            groups = kind.groups(model.config.layers[number])
            kind.keep(model, number, most_important(importance[number], len(parts), groups) if groups > 1 else parts)
    return _with_facts(subject, step.name, {kind.name: [kind.count(layer) for layer in model.config.layers]})


def _encoder(subject: Candidate, name: str) -> Encoder:
    model = subject.encoder
    if not len(model.layers):
        raise Inapplicable(f"`{name}` acts on layers, but the model has none")
    return model


def _in_rounds(share: float, rounds: int, epochs: float, subject: Candidate, context: Context) -> Iterator[float]:
    """The share of all parts that is gone after each round. Between two rounds the candidate is trained.

    A preview does in one round what the others do in several.
    """
    if context.preview:
        rounds = 1
    for number in range(1, rounds + 1):
        if number > 1:
            recover(subject, context, epochs)
        yield share * number / rounds


def _seeing(context: Context, needed: bool) -> Context:
    """The context of a preview in which magnitude does not stand in where shapes depend on true importance."""
    return replace(context, preview=context.preview and not needed)


def _parts(kind: str, subject: Candidate, context: Context, by: str) -> dict[int, Array]:
    """The importance of one kind of part, by layer."""
    by = "magnitude" if context.preview else by
    key = f"importance-{by}-{fingerprint(subject)}"
    found = context.cache(key, lambda: measure_importance(subject, context, by))
    return {int(name.split(".")[1]): each for name, each in found.items() if name.startswith(f"{kind}.")}


def _with_facts(subject: Candidate, name: str, facts: Json) -> Candidate:
    return replace(subject, facts={**subject.facts, name: facts})
