"""`layer_sharing`: layers that use the same weights, which the file holds once.

A layer that is used again costs milliseconds and no bytes.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from torch import nn

from eicompress.contracts import Candidate, Context, ModelStrategy, Origin
from eicompress.encoder.blocks import FeedForward, Layer
from eicompress.encoder.linear import Kronecker, Linear, LowRank
from eicompress.errors import Inapplicable

MATRICES = ("attention", "ffn", "bottleneck")
NORMS = ("attention_norm", "ffn_norm")


@dataclass(frozen=True)
class LayerSharing(ModelStrategy):
    """Let groups of layers share their weights, and use every layer `repeats` times.

    Of n layers, `groups` x (H x 3A + A x H + 2 x H x F) weights are left where `shared` is "all" or "matrices", with
    hidden width H, attention width A and F neurons; n x `repeats` layers are computed.
    """

    groups: Annotated[int, IntDistribution(1, 24)] = 1
    """Distinct layers that are left. With no more layers than that, each keeps its own weights."""
    repeats: Annotated[int, IntDistribution(1, 8)] = 1
    """How often each layer is used."""
    shared: Annotated[str, CategoricalDistribution(("all", "matrices", "attention", "ffn"))] = "all"
    """What a group shares: whole layers as ALBERT does, all but the norms, the attention, or the feed-forward
    block. A repeated layer shares all, and its norms only with "all": elsewhere each use has its own."""
    start: Annotated[str, CategoricalDistribution(("mean", "first", "last"))] = "mean"
    """How a group's weights begin: as the mean of its layers, or as its first or last layer's."""
    order: Annotated[str, CategoricalDistribution(("sequence", "cycle", "reversed"))] = "sequence"
    """How groups and repetitions follow each other: 0 0 1 1 2 2, 0 1 2 0 1 2, or 0 1 2 2 1 0."""

    name: ClassVar[str] = "layer_sharing"
    paper: ClassVar[str] = "ALBERT, arXiv 1909.11942; sequence, cycle and reversed: arXiv 2104.06022"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        count = len(model.layers)
        before = _weights(model)
        layers = self._grouped([model.layer(number) for number in range(count)])
        places = arranged(count * self.repeats, count, self.order)
        model.use_layers(self._repeated(layers, places))
        origin = Origin(tuple(subject.origin.layers[number] for number in places), subject.origin.hidden)
        facts = {
            "layers": len(places),
            "distinct_layers": min(count, self.groups),
            "weights_before": before,
            "weights": _weights(model),
        }
        return replace(subject, origin=origin, facts={**subject.facts, self.name: facts})

    def _grouped(self, layers: Sequence[Layer]) -> list[Layer]:
        """The layers, with their group's parts in place of their own. Raises `Inapplicable`."""
        if self.groups >= len(layers):
            return list(layers)
        groups = arranged(len(layers), self.groups, self.order)
        parts = {group: self._parts([layers[place] for place in _places(groups, group)]) for group in set(groups)}
        return [layer.with_parts(**parts[group]) for layer, group in zip(layers, groups, strict=True)]

    def _parts(self, members: Sequence[Layer]) -> dict[str, nn.Module]:
        """What a group's layers have in common, by the attribute of `Layer`."""
        names = {"all": (*MATRICES, *NORMS), "matrices": MATRICES}.get(self.shared, (self.shared,))
        if self.shared != "ffn" and len({_way_of_reading(each) for each in members}) > 1:
            raise Inapplicable(
                f"`{self.name}` puts layers in one group whose attention reads differently: one a window of tokens and "
                'another all, or one without a norm before it. Set `shared = "ffn"`'
            )
        held = [name for name in names if getattr(members[0], name) is not None]
        return {name: self._begun([getattr(each, name) for each in members]) for name in held}

    def _begun(self, modules: Sequence[nn.Module]) -> nn.Module:
        if self.start != "mean":
            return modules[0] if self.start == "first" else modules[-1]
        if any(isinstance(each, LowRank | Kronecker) for module in modules for each in module.modules()):
            raise Inapplicable(f"`{self.name}` takes the mean of whole matrices: put it before what factorizes them")
        if any(getattr(each, "kept", None) is not None for module in modules for each in module.modules()):
            raise Inapplicable(f"`{self.name}` takes the mean of whole matrices: put it before what prunes weights")
        shapes = {tuple(each.shape for each in module.parameters()) for module in modules}
        if len(shapes) > 1:
            raise Inapplicable(f"`{self.name}` takes the mean of layers of one shape, but a group has {len(shapes)}")
        computed = {str(each.expression) for each in modules if isinstance(each, FeedForward)}
        if len(computed) > 1:
            raise Inapplicable(
                f"`{self.name}` takes the mean of blocks that compute the same, but a group has {len(computed)} "
                "expressions: start from the first or the last layer"
            )
        return mean_of(modules)

    def _repeated(self, layers: Sequence[Layer], places: Sequence[int]) -> list[Layer]:
        used: set[int] = set()
        made = []
        for number in places:
            layer = layers[number]
            if number in used and self.shared != "all":
                layer = layer.with_parts(**{name: copy.deepcopy(getattr(layer, name)) for name in NORMS})
            used.add(number)
            made.append(layer)
        return made


def arranged(places: int, distinct: int, order: str) -> list[int]:
    """Which of the `distinct` layers stands at each of the places."""
    if order == "sequence":
        return [place * distinct // places for place in range(places)]
    numbers = [place % distinct for place in range(places)]
    if order == "reversed" and places > distinct:
        last = places - 1 - (places - 1) % distinct
        numbers[last:] = [distinct - 1 - number for number in numbers[last:]]
    return numbers


def _way_of_reading(layer: Layer) -> tuple[object, ...]:
    attention = layer.attention
    has_norm = not isinstance(layer.attention_norm, nn.Identity)
    return attention.window, attention.rotary_base, attention.bottleneck, has_norm


def mean_of(modules: Sequence[nn.Module]) -> nn.Module:
    """A module whose every parameter is the mean of theirs; scales of quantized weights are chosen anew."""
    made = copy.deepcopy(modules[0])
    with torch.no_grad():
        for mean, *each in zip(made.parameters(), *(module.parameters() for module in modules), strict=True):
            mean.copy_(torch.stack(each).mean(dim=0))
    for linear in made.modules():
        if isinstance(linear, Linear) and linear.spec is not None:
            linear.set_quantization(linear.spec)
    return made


def _places(groups: Sequence[int], group: int) -> list[int]:
    return [place for place, each in enumerate(groups) if each == group]


def _weights(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters())
