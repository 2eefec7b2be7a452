"""`head_pruning`, `neuron_pruning`, `layer_pruning`: parts that matter little are cut out, from file and graph.

In a preview, magnitude stands in for the other ways to measure importance: as many parts go, though others. Layers
must be alike for that.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.contracts import Array, Candidate, Context, ModelStrategy, Origin
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.importance import WAYS, kept_parts, measure_importance, most_important
from eicompress.values import Json

NEURONS_AT_ONCE = 8
"""Matrix kernels like widths that are multiples of this."""

Importance = Annotated[str, CategoricalDistribution(WAYS)]
Budget = Annotated[str, CategoricalDistribution(("global", "uniform"))]


@dataclass(frozen=True)
class HeadPruning(ModelStrategy):
    """Remove attention heads: rows of query, key and value, columns of the output projection."""

    share: Annotated[float, FloatDistribution(0.0, 0.95)] = 0.25
    """Share of all heads that goes; every layer keeps one at least."""
    importance: Importance = "taylor"
    """What a head is worth: the loss that it moves, what it says, or the norm of its weights."""
    budget: Budget = "global"
    """Whether the layers compete for the heads that stay, or each loses the same share."""

    name: ClassVar[str] = "head_pruning"
    paper: ClassVar[str] = "Are sixteen heads really better than one?, arXiv 1905.10650"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = _encoder(subject, self.name)
        kept = kept_parts(_parts("heads", subject, context, self.importance), self.share, self.budget)
        for layer, heads in kept.items():
            model.keep_heads(layer, heads)
        return _told(subject, self.name, {"heads": [each.heads for each in model.config.layers]})


@dataclass(frozen=True)
class NeuronPruning(ModelStrategy):
    """Remove feed-forward neurons, eight at once: rows of the first matrix, columns of the second."""

    share: Annotated[float, FloatDistribution(0.0, 0.98)] = 0.25
    """Share of all neurons that goes; every layer keeps some."""
    importance: Importance = "taylor"
    """What a neuron is worth: the loss that it moves, what it says, or the norm of its weights."""
    budget: Budget = "global"
    """Whether the layers compete for the neurons that stay, or each loses the same share."""

    name: ClassVar[str] = "neuron_pruning"
    paper: ClassVar[str] = "Pruning by Taylor expansion, arXiv 1611.06440; Wanda, arXiv 2306.11695"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = _encoder(subject, self.name)
        importance = _parts("neurons", subject, context, self.importance)
        for layer, neurons in kept_parts(importance, self.share, self.budget, NEURONS_AT_ONCE).items():
            model.keep_neurons(layer, neurons)
        return _told(subject, self.name, {"neurons": [each.ffn for each in model.config.layers]})


@dataclass(frozen=True)
class LayerPruning(ModelStrategy):
    """Remove the layers that change their input least."""

    count: Annotated[int, IntDistribution(0, 47)] = 1
    """Layers that go; one stays at least."""
    importance: Importance = "taylor"
    """What a layer is worth: the loss that it moves, how far it turns its input, or the norm of its weights."""

    name: ClassVar[str] = "layer_pruning"
    paper: ClassVar[str] = "ShortGPT, arXiv 2403.03853; Poor man's BERT, arXiv 2004.03844"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = _encoder(subject, self.name)
        layers = len(model.layers)
        if self.count >= layers:
            raise Inapplicable(
                f"`{self.name}.count` must be less than the model's {layers} layers, but is {self.count}"
            )
        alike = len(set(model.config.layers)) == 1
        importance = _parts("layers", subject, replace(context, preview=context.preview and alike), self.importance)
        worth = np.concatenate([importance[number] for number in range(layers)])
        kept = most_important(worth, layers - self.count).tolist()
        model.keep_layers(kept)
        origin = Origin(tuple(subject.origin.layers[number] for number in kept), subject.origin.hidden)
        facts = {"kept": kept, "importance": [round(each, 6) for each in worth.tolist()]}
        return _told(replace(subject, origin=origin), self.name, facts)


def _encoder(subject: Candidate, name: str) -> Encoder:
    model = subject.model
    if not isinstance(model, Encoder):
        raise Inapplicable(f"`{name}` acts on an encoder, but got {type(model).__name__}")
    if not len(model.layers):
        raise Inapplicable(f"`{name}` acts on layers, but the model has none")
    return model


def _parts(kind: str, subject: Candidate, context: Context, by: str) -> dict[int, Array]:
    """The importance of one kind of part, by layer."""
    found = measure_importance(subject, context, "magnitude" if context.preview else by)
    return {int(name.split(".")[1]): each for name, each in found.items() if name.startswith(f"{kind}.")}


def _told(subject: Candidate, name: str, facts: Json) -> Candidate:
    return replace(subject, facts={**subject.facts, name: facts})
