"""`grouped_ffn`: the matrices of feed-forward blocks in groups, with a fraction of their weights.

A matrix (m, n) in g groups keeps the g blocks (m / g, n / g) on its diagonal. Residual dimensions stay where they are;
each neuron goes to the group of the dimensions that it reads and writes most. What stays is then the least-squares best
for what the matrix said before.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from optuna.distributions import IntDistribution
from torch import Tensor, nn

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.blocks import FeedForward
from eicompress.encoder.layers import check_one_block
from eicompress.encoder.linear import Linear, grouped
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.training.importance import Moments, measured_batches, watch_inputs

RIDGE = 1e-3
"""Added to the variances of what a group reads, as a share of their mean."""


@dataclass(frozen=True)
class GroupedFfn(ModelStrategy):
    """Put the feed-forward matrices of all layers into groups: 1 / `groups` of their weights stays. Nothing is trained:
    let a distillation follow.
    """

    groups: Annotated[int, IntDistribution(2, 16)] = 2
    """Groups of a matrix; both the hidden width and the number of neurons must be multiples of it."""

    name: ClassVar[str] = "grouped_ffn"
    paper: ClassVar[str] = "ConvBERT, arXiv 2008.02496"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        blocks = self._blocks(model)
        if context.preview:
            facts: dict[str, Any] = {"groups": self.groups}
            for block in blocks:
                _group(block, self.groups)
        else:
            seen = _moments(subject, context, blocks)
            kept = [_regroup(block, *seen[block], self.groups) for block in blocks]
            facts = {"groups": self.groups, "kept": [round(each, 4) for each in kept]}
        model.keep_layers(range(len(model.layers)))
        return replace(subject, facts={**subject.facts, self.name: facts})

    def _blocks(self, model: Encoder) -> list[FeedForward]:
        """Each block once, however many layers share it. Raises `Inapplicable`."""
        config = model.config
        if not config.layers:
            raise Inapplicable(f"`{self.name}` acts on layers, but the model has none")
        check_one_block(config, self.name)
        if any(each.bottleneck is not None for each in config.layers):
            raise Inapplicable(f"`{self.name}` acts on layers without bottlenecks: put it before `bottleneck`")
        if config.gated:
            raise Inapplicable(f"`{self.name}` acts on feed-forward blocks without gates, but the model's have gates")
        for width, called in [(config.hidden, "hidden width"), *((each.ffn, "neurons") for each in config.layers)]:
            if width % self.groups:
                raise Inapplicable(
                    f"`{self.name}.groups` must divide the model's {called}, {width}, but is {self.groups}"
                )
        blocks = [each for each in model.modules() if isinstance(each, FeedForward)]
        linears = [each for block in blocks for each in (block.input, block.output)]
        if any(not isinstance(each, Linear) or each.kept is not None for each in linears):
            raise Inapplicable(
                f"`{self.name}` acts on whole matrices: put it before what factorizes, groups or prunes them"
            )
        return blocks


def _moments(
    subject: Candidate, context: Context, blocks: list[FeedForward]
) -> dict[FeedForward, tuple[Moments, Moments]]:
    """Of what each block's two matrices read."""
    seen = {each: (Moments(each.input.inputs), Moments(each.output.inputs)) for each in blocks}
    hooks: list[tuple[nn.Module, Callable[..., None]]] = []
    for block, (first, second) in seen.items():
        hooks += [(block.input, first.add), (block.output, second.add)]
    model = subject.encoder
    with watch_inputs(hooks), torch.inference_mode():
        for batch, _ in measured_batches(subject, context):
            model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return seen


def _regroup(block: FeedForward, read: Moments, said: Moments, groups: int) -> float:
    """Sort the neurons into groups, correct what stays and drop the rest; the share of both matrices that stays."""
    first, second = _whole(block)
    reads = _energies(first.weight.detach().double(), read.products, groups)
    writes = second.weight.detach().double().square().reshape(groups, -1, second.inputs).sum(dim=1).T
    writes = writes * said.products.diagonal()[:, None]
    worth = reads / reads.sum() + writes / writes.sum()
    order = assigned(worth.numpy(), groups)
    block.keep_neurons(order)  # of the same two linear layers
    correct(first, read.mean, read.covariance, groups)
    correct(second, said.mean[order], said.covariance[order][:, order], groups)
    _group(block, groups)
    members = torch.arange(groups).repeat_interleave(len(order) // groups)
    return float(worth[order, members].sum() / worth.sum())


def _energies(weight: Tensor, products: Tensor, groups: int) -> Tensor:
    """(outputs, groups): the mean square of what each group of inputs gives to each output."""
    parts = weight.chunk(groups, dim=1)
    own = [rows.chunk(groups, dim=1)[at] for at, rows in enumerate(products.chunk(groups))]
    return torch.stack([((part @ seen) * part).sum(dim=1) for part, seen in zip(parts, own, strict=True)], dim=1)


def assigned(worth: np.ndarray[Any, np.dtype[np.float64]], groups: int) -> Tensor:
    """The neurons, those of the first group first: as many in each, so that the sum of worth (neurons, groups) of each
    neuron in its group is highest."""
    from scipy.optimize import linear_sum_assignment  # late, since it takes a while and few processes need it

    size = len(worth) // groups
    _, places = linear_sum_assignment(worth.repeat(size, axis=1), maximize=True)
    return torch.from_numpy(np.argsort(places, kind="stable"))


@torch.no_grad()
def correct(linear: Linear, mean: Tensor, covariance: Tensor, groups: int) -> None:
    """Give each group's block what of the other inputs the group's own can predict; the rest goes to the bias."""
    rows, columns = linear.outputs // groups, linear.inputs // groups
    weight = linear.weight.double().cpu()
    for at in range(groups):
        out, own = slice(at * rows, (at + 1) * rows), slice(at * columns, (at + 1) * columns)
        variances = covariance[own, own]
        ridge = RIDGE * variances.diagonal().mean() * torch.eye(columns, dtype=torch.float64)
        others = weight[out].clone()
        others[:, own] = 0
        gained = torch.linalg.solve(variances + ridge, covariance[own] @ others.T).T  # (rows, columns)
        linear.weight[out, own] += gained.to(linear.weight)
        linear.bias[out] += (others @ mean - gained @ mean[own]).to(linear.bias)


def _group(block: FeedForward, groups: int) -> None:
    block.input, block.output = (grouped(each, groups) for each in _whole(block))


def _whole(block: FeedForward) -> tuple[Linear, Linear]:
    assert isinstance(block.input, Linear) and isinstance(block.output, Linear)
    return block.input, block.output
