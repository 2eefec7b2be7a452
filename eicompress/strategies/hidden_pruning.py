"""`hidden_pruning`: fewer residual dimensions, and weights corrected for the removed ones.

A rotation onto principal components, as in SliceGPT (arXiv 2401.15024), cannot be folded into this encoder: it
normalizes after each residual sum, so gains stand on the residual states themselves, and no rotation commutes with
unequal gains. Dimensions are therefore selected, and each matrix that reads the states is changed to the least-squares
best one that reads the kept dimensions alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import Tensor, nn

from eicompress.contracts import Candidate, Context, ModelStrategy, Origin
from eicompress.encoder.linear import AnyLinear, Grouped, Kronecker, LowRank
from eicompress.encoder.model import Encoder
from eicompress.training.importance import (
    WAYS,
    Moments,
    measure_importance,
    measured_batches,
    most_important,
    watch_inputs,
)

MULTIPLE = 8
"""Widths are multiples of this, which matrix kernels run faster."""
RIDGE = 1e-3
"""Added to the variances of the kept dimensions, as a share of their mean."""


@dataclass(frozen=True)
class HiddenPruning(ModelStrategy):
    """Keep the residual dimensions that matter most: H -> H', in embedding, every layer and head."""

    share: Annotated[float, FloatDistribution(0.0, 0.9)] = 0.25
    """Share of the residual width that goes."""
    importance: Annotated[str, CategoricalDistribution(WAYS)] = "taylor"
    """Importance of a dimension: its effect on the loss, its size in the states, or the gains of the norms."""
    reconstruct: Annotated[bool, CategoricalDistribution((True, False))] = True
    """Whether the weights that read the states are corrected for the removed dimensions."""

    name: ClassVar[str] = "hidden_pruning"
    paper: ClassVar[str] = "Taylor importance, arXiv 1611.06440; channel pruning by least squares, arXiv 1707.06168"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        width = model.config.hidden
        count = min(width, max(MULTIPLE, round((1 - self.share) * width / MULTIPLE) * MULTIPLE))
        if count == width:
            return subject
        worth = measure_importance(subject, context, "magnitude" if context.preview else self.importance)["hidden"]
        kept = most_important(worth, count, model.config.hidden_groups)
        if self.reconstruct and not context.preview:
            _make_up(subject, context, kept)
        model.keep_hidden(kept)
        origin = Origin(subject.origin.layers, tuple(subject.origin.hidden[each] for each in kept.tolist()))
        facts = {"width": len(kept), "importance_kept": float(worth[kept.numpy()].sum() / np.sum(worth))}
        return replace(subject, origin=origin, facts={**subject.facts, self.name: facts})


def _make_up(subject: Candidate, context: Context, kept: Tensor) -> None:
    """Change what reads the states, and the norms, for the time when only `kept` dimensions are there."""
    model = subject.encoder
    readers, norms = _readers(model), list(model.residual_norms())
    moments = {reader: Moments(reader.inputs) for reader in readers}
    drifts = {norm: _Drift(kept) for norm in norms}
    hooks: list[tuple[nn.Module, Callable[..., None]]] = [(each, moments[each].add) for each in readers]
    hooks += [(each, drifts[each].add) for each in norms]
    with watch_inputs(hooks), torch.inference_mode():
        for batch, _ in measured_batches(subject, context):
            for drift in drifts.values():
                drift.mask = batch.attention_mask
            model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    with torch.no_grad():
        for reader, seen in moments.items():
            read_kept_alone(reader, seen, kept)
        for norm, drift in drifts.items():
            norm.bias.add_(drift.shift * norm.weight)
            norm.weight.mul_(drift.stretch)


def _readers(model: Encoder) -> list[AnyLinear]:
    """Every matrix that reads residual states, or the pooler's, whose width is the same."""
    layers = (model.layer(number) for number in range(len(model.layers)))
    readers = dict.fromkeys(each for layer in layers for each in layer.readers)
    return [*readers, *([model.pooler] if model.pooler is not None else []), model.classifier]


class _Drift:
    """The change of a norm's mean and deviation when they are computed over the kept dimensions alone."""

    def __init__(self, kept: Tensor) -> None:
        self._kept = kept
        self.mask = torch.empty(0)
        """(B, T): which tokens of the batch at hand are real."""
        self._sums = torch.zeros(2, dtype=torch.float64)
        self._count = 0

    def add(self, states: Tensor) -> None:
        """states (B, T, hidden) of the batch at hand"""
        states = states[self.mask[:, : states.shape[1]].bool()]
        part = states[..., self._kept]
        deviation = states.std(dim=-1)
        stretch = (part.std(dim=-1) / deviation).sum().item()
        shift = ((part.mean(dim=-1) - states.mean(dim=-1)) / deviation).sum().item()
        self._sums += torch.tensor([stretch, shift], dtype=torch.float64)
        self._count += deviation.numel()

    @property
    def stretch(self) -> float:
        return float(self._sums[0] / self._count)

    @property
    def shift(self) -> float:
        return float(self._sums[1] / self._count)


def read_kept_alone(reader: AnyLinear, seen: Moments, kept: Tensor) -> None:
    """Give the weights of the kept columns what of the others they can predict; the rest goes to the bias."""
    if isinstance(reader, Kronecker | Grouped):
        return  # which dimensions cannot be taken out of: `keep_hidden` says so
    every = torch.ones(reader.inputs, dtype=torch.bool)
    every[kept] = False
    gone = every.nonzero().flatten()
    covariance, mean = seen.covariance, seen.mean
    variances = covariance[kept][:, kept]
    ridge = RIDGE * variances.diagonal().mean() * torch.eye(len(kept), dtype=torch.float64)
    predicts = torch.linalg.solve(variances + ridge, covariance[kept][:, gone])  # (kept, gone)
    first = reader.inner if isinstance(reader, LowRank) else reader
    lost = first.weight[:, gone].double().cpu()
    first.weight[:, kept] += (lost @ predicts.T).to(first.weight)
    constant = (lost @ (mean[gone] - mean[kept] @ predicts)).to(first.weight)
    reader.bias.add_(reader.outer.weight @ constant if isinstance(reader, LowRank) else constant)
    if first.spec is not None:
        first.set_quantization(first.spec)
