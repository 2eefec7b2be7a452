"""A student compared with the model that it was cut out of, layer by layer.

Both read the same texts, each with its own tokens; what is compared stands in the slots of `alignment`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from eicompress.contracts import Candidate
from eicompress.encoder.model import Encoder
from eicompress.training import losses
from eicompress.training.token_alignment import Slots

NEAR = 2.0
"""Where a learned map begins: the layer that a student's layer came from has exp(2) times the share of any other."""


@dataclass(frozen=True)
class Weights:
    """Of each loss; 0 leaves it out."""

    hidden: float = 0.0
    feature_map: float = 0.0
    mean: float = 0.0
    variance: float = 0.0
    attention: float = 0.0
    relation: float = 0.0
    embedding: float = 0.0

    @property
    def of_states(self) -> list[tuple[Callable[[Tensor, Tensor, Tensor], Tensor], float]]:
        every = [
            (losses.state_mse, self.hidden),
            (losses.feature_map, self.feature_map),
            (losses.mean_gap, self.mean),
            (losses.variance_gap, self.variance),
        ]
        return [(loss, weight) for loss, weight in every if weight]


@dataclass(frozen=True)
class LayerStates:
    """The states of an encoder's layers for a batch."""

    model: Encoder
    states: list[Tensor]
    """(B, T, hidden) each: the input of the first layer, and the output of every layer."""
    mask: Tensor
    """(B, T)"""
    own: Tensor
    """(B, T): the slots of its tokens."""
    slots: Slots

    def embedded(self) -> Tensor:
        """(B, slots, hidden)"""
        return self.slots.states(self.states[0].float(), self.own)

    def hidden(self, layer: int) -> Tensor:
        """(B, slots, hidden)"""
        return self.slots.states(self.states[layer + 1].float(), self.own)

    def attention(self, layer: int) -> Tensor:
        """(B, heads, slots, slots)"""
        read = self.model.layer(layer)
        states = read.read(self.states[layer].float(), self.mask)
        return self.slots.maps(read.attention.attention_map(states, self.mask), self.own)

    def relations(self, layer: int, heads: int) -> Tensor:
        """(B, 3 x heads, slots, slots): of queries, keys and values."""
        vectors = [self.slots.states(each.transpose(1, 2).flatten(2), self.own) for each in self._projections(layer)]
        return torch.cat([losses.relation(each, heads, self.slots.mask) for each in vectors], dim=1)

    def _projections(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        read = self.model.layer(layer)
        return read.attention.projections(read.read(self.states[layer].float(), self.mask), self.mask)

    def width(self, layer: int) -> int:
        """Of queries, keys and values."""
        return self.model.layer(layer).attention.width


class Matching(nn.Module):
    """The losses between a student's layers and those of its baseline, with what is learned for them alone.

    `layer_map` says which layers are compared: each with the one that it came from ("origin"), with evenly spread
    ones ("uniform"), the last with the last ("last", MiniLM), or each with a learned mixture of all ("learned").
    """

    def __init__(
        self,
        student: Candidate,
        baseline: Encoder,
        weights: Weights,
        *,
        layer_map: str,
        learned_map: bool,
        relation_heads: int,
    ) -> None:
        """With `learned_map` states pass a linear map to the baseline's width, and else meet the dimensions kept."""
        super().__init__()
        others = len(baseline.layers)
        self.weights, self.relation_heads = weights, relation_heads
        self.targets = matched_layers(layer_map, student.origin.layers, others)
        self.mixture: nn.Parameter | None = None
        if layer_map == "learned":
            near = NEAR * torch.nn.functional.one_hot(torch.tensor(student.origin.layers), others)
            self.mixture = nn.Parameter(near)
        self.kept = torch.tensor(student.origin.hidden)
        self.maps = nn.ModuleDict()
        if learned_map:
            self.maps["hidden"] = _selecting(self.kept, baseline.config.hidden)
            self.maps["embedded"] = _selecting(self.kept, baseline.config.hidden)

    @property
    def layers(self) -> list[int]:
        """The student's layers that are compared."""
        return sorted(self.targets)

    def forward(self, student: LayerStates, teacher: LayerStates, layers: Sequence[int]) -> Tensor:
        """The mean over some of the compared layers; the embedding's loss goes with the first of them."""
        with torch.autocast(student.mask.device.type, enabled=False):
            parts = [part for layer in layers for part in self._compared(layer, student, teacher)]
            total = torch.stack([student.states[0].new_zeros(()), *parts]).sum() / len(layers)
            if self.weights.embedding and layers[0] == self.layers[0]:
                own, wanted = self._pair("embedded", student.embedded(), teacher.embedded().detach())
                total = total + self.weights.embedding * losses.state_mse(own, wanted, student.slots.mask)
        return total

    def _compared(self, layer: int, student: LayerStates, teacher: LayerStates) -> Iterator[Tensor]:
        """The weighed losses of one layer."""
        mask, weights = student.slots.mask, self.weights
        if weights.of_states:
            own, wanted = self._pair("hidden", student.hidden(layer), self._mixed(layer, teacher.hidden))
            for loss, weight in weights.of_states:
                yield weight * loss(own, wanted, mask)
        if weights.attention:
            own, wanted = student.attention(layer), self._mixed(layer, teacher.attention)
            if own.shape[1] != wanted.shape[1]:
                own, wanted = own.mean(dim=1, keepdim=True), wanted.mean(dim=1, keepdim=True)
            yield weights.attention * losses.map_kl(own, wanted, mask)
        if weights.relation:
            widths = [teacher.width(number) for number in self.targets[layer]]
            heads = math.gcd(self.relation_heads, student.width(layer), *widths)
            wanted = self._mixed(layer, partial(teacher.relations, heads=heads))
            yield weights.relation * losses.map_kl(student.relations(layer, heads), wanted, mask)

    def _mixed(self, layer: int, of_teacher: Callable[[int], Tensor]) -> Tensor:
        """The teacher's states that this layer is compared with."""
        with torch.no_grad():
            every = torch.stack([of_teacher(number) for number in self.targets[layer]])
        if self.mixture is None:
            return every[0]
        mixed: Tensor = torch.tensordot(self.mixture[layer].softmax(dim=0), every, dims=1)
        return mixed

    def _pair(self, name: str, own: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        if name in self.maps:
            return self.maps[name](own), wanted
        return own, wanted[..., self.kept]


def matched_layers(how: str, origin: Sequence[int], others: int) -> dict[int, list[int]]:
    """For each compared layer of the student, those of the teacher, which has `others`."""
    count = len(origin)
    if how == "last":
        return {count - 1: [others - 1]} if count else {}
    if how == "learned":
        return {layer: list(range(others)) for layer in range(count)}
    if how == "uniform":
        return {layer: [math.ceil((layer + 1) * others / count) - 1] for layer in range(count)}
    return {layer: [source] for layer, source in enumerate(origin)}


def _selecting(kept: Tensor, width: int) -> nn.Linear:
    """A map from the kept dimensions to all `width`, which begins by putting each where it came from."""
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        made = nn.Linear(len(kept), width, bias=False)
    with torch.no_grad():
        made.weight.zero_()
        made.weight[kept, torch.arange(len(kept))] = 1.0
    return made
