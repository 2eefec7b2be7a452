"""Matrices of the encoder: whole, of low rank, as a sum of Kronecker products, or in groups."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.encoder.initial import draw_
from eicompress.encoder.quantization import (
    Clipping,
    QuantSpec,
    fake_quantized,
    fake_quantized_activations,
    file_scales,
    in_blocks,
    quantized,
    row_scales,
)
from eicompress.errors import Inapplicable


class Linear(nn.Module):
    """y = x Wᵀ + b with W (outputs, inputs), which may be stored in few bits and may be sparse."""

    kept: Tensor | None
    """(outputs, inputs) bool: which weights are not pruned, where some are."""

    def __init__(self, inputs: int, outputs: int, *, biased: bool = True) -> None:
        """Without a bias of its own it has one of zeros, which is no parameter."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias: Tensor
        if biased:
            self.bias = nn.Parameter(torch.zeros(outputs))
        else:
            self.register_buffer("bias", torch.zeros(outputs), persistent=False)
        self.scales: nn.Parameter | None = None
        self.spec: QuantSpec | None = None
        self.register_buffer("kept", None)
        self._effective: list[Tensor] | None = None
        draw_(self.weight, std=0.02)

    @property
    def inputs(self) -> int:
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    def set_quantization(self, spec: QuantSpec | None, clipping: Clipping = "mse") -> None:
        """Store the weight as `spec` says, with scales (outputs, blocks) that are learned from here on."""
        self.spec, self.scales = spec, None
        if spec is not None:
            scales = row_scales(in_blocks(self.weight, spec.block), spec, clipping)
            self.scales = nn.Parameter(scales.reshape(self.outputs, -1))

    def stored(self) -> tuple[Tensor, Tensor]:
        """The integers (outputs, inputs) and half-precision scales (outputs, blocks) that a file holds."""
        assert self.spec is not None and self.scales is not None
        scales = file_scales(self.scales)
        rows = quantized(in_blocks(self.weight.detach(), self.spec.block), scales.reshape(-1, 1), self.spec)
        return self._pruned(rows.reshape(self.outputs, -1)[:, : self.inputs]), scales

    def effective_weight(self) -> Tensor:
        """(outputs, inputs): the weight as the device will see it."""
        if self._effective:
            return self._effective[0]
        effective: Tensor = self.weight
        if self.spec is not None and self.scales is not None:
            rows = fake_quantized(in_blocks(effective, self.spec.block), self.scales.reshape(-1, 1), self.spec)
            effective = rows.reshape(self.outputs, -1)[:, : self.inputs]
        effective = self._pruned(effective)
        if self._effective is not None:
            self._effective.append(effective)
        return effective

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Inside, the weight is rounded when it is first used, and the later uses get the same: it must not change."""
        self._effective = []
        try:
            yield
        finally:
            self._effective = None

    def _pruned(self, weight: Tensor) -> Tensor:
        return weight if self.kept is None else weight * self.kept

    def keep_weights(self, kept: Tensor) -> None:
        """Keep only these weights, (outputs, inputs) bool, now and in all training."""
        self.kept = kept.clone()
        with torch.no_grad():
            self.weight.mul_(kept)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, inputs) -> (B, T, outputs); mask (B, T) says which tokens are real."""
        if self.spec is not None and not self.spec.block and not self.training:
            states = fake_quantized_activations(states, mask)
        return F.linear(states, self.effective_weight(), self.bias)

    def select(self, *, inputs: Tensor | None = None, outputs: Tensor | None = None) -> None:
        """Keep only these columns and rows, with the rows' scales where the weight is quantized."""
        weight, bias, kept = self.weight.detach(), self.bias.detach(), self.kept
        if outputs is not None:
            weight, bias, kept = weight[outputs], bias[outputs], None if kept is None else kept[outputs]
            if self.scales is not None:
                self.scales = nn.Parameter(self.scales.detach()[outputs].clone())
        if inputs is not None:
            weight, kept = weight[:, inputs], None if kept is None else kept[:, inputs]
        self.weight, self.kept = nn.Parameter(weight.clone()), kept
        self.bias = nn.Parameter(bias.clone()) if isinstance(self.bias, nn.Parameter) else bias.clone()
        if inputs is not None and self.spec is not None and self.spec.block:
            self.set_quantization(self.spec)  # other inputs make other blocks


class LowRank(nn.Module):
    """y = (x Vᵀ) Uᵀ + b: a linear layer whose matrix is the product of U (outputs, rank) and V (rank, inputs).

    Each factor is a linear layer, with bits of its own; only the outer one has a bias.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.inner, self.outer = Linear(inputs, rank, biased=False), Linear(rank, outputs)

    @property
    def inputs(self) -> int:
        return self.inner.inputs

    @property
    def outputs(self) -> int:
        return self.outer.outputs

    @property
    def rank(self) -> int:
        return self.outer.inputs

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs): the product, before it is rounded."""
        return self.outer.weight @ self.inner.weight

    @property
    def bias(self) -> Tensor:
        return self.outer.bias

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, inputs) -> (B, T, outputs)"""
        outer: Tensor = self.outer(self.inner(states, mask), mask)
        return outer

    def select(self, *, inputs: Tensor | None = None, outputs: Tensor | None = None) -> None:
        """Keep only these columns of the inner factor and rows of the outer one."""
        if inputs is not None:
            self.inner.select(inputs=inputs)
        if outputs is not None:
            self.outer.select(outputs=outputs)


class Kronecker(nn.Module):
    """y = x Wᵀ + b, where W (outputs, inputs) is a sum of Kronecker products of large and small matrices.

    A small one is (size, size), and a large one (outputs / size, inputs / size).
    """

    spec: None = None
    """The factors are floats, whatever the layers around them are."""

    def __init__(self, inputs: int, outputs: int, size: int, terms: int) -> None:
        super().__init__()
        self.large = nn.Parameter(torch.empty(terms, outputs // size, inputs // size))
        self.small = nn.Parameter(torch.empty(terms, size, size))
        self.bias: Tensor = nn.Parameter(torch.zeros(outputs))
        for factor in (self.large, self.small):
            draw_(factor, std=0.1)

    @property
    def inputs(self) -> int:
        return self.large.shape[2] * self.small.shape[2]

    @property
    def outputs(self) -> int:
        return self.large.shape[1] * self.small.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the small matrices, and number of terms."""
        return self.small.shape[1], len(self.small)

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs)"""
        return torch.einsum("tik,tjl->ijkl", self.large, self.small).reshape(self.outputs, self.inputs)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, inputs) -> (B, T, outputs)"""
        return F.linear(states, self.weight, self.bias)

    def select(self, *, inputs: Tensor | None = None, outputs: Tensor | None = None) -> None:
        """Raises `Inapplicable`: rows and columns of such a sum are no such sum."""
        raise Inapplicable("nothing can be cut out of Kronecker products: put `kronecker` after what narrows the model")


class Grouped(nn.Module):
    """Linear layers side by side: each reads its part of the inputs, all of one size, and makes its part of the outputs
    (ConvBERT, arXiv 2008.02496)."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Linear(inputs // groups, outputs // groups) for _ in range(groups))

    @property
    def linears(self) -> list[Linear]:
        return [each for each in self.parts if isinstance(each, Linear)]

    @property
    def inputs(self) -> int:
        return sum(each.inputs for each in self.linears)

    @property
    def outputs(self) -> int:
        return sum(each.outputs for each in self.linears)

    @property
    def spec(self) -> QuantSpec | None:
        return self.linears[0].spec

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs), with the zeros between the groups, before it is rounded."""
        whole: Tensor = torch.block_diag(*(each.weight for each in self.linears))  # type: ignore[no-untyped-call]
        return whole

    @property
    def bias(self) -> Tensor:
        return torch.cat([each.bias for each in self.linears])

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, inputs) -> (B, T, outputs)"""
        read = states.chunk(len(self.parts), dim=-1)
        return torch.cat([part(each, mask) for part, each in zip(self.parts, read, strict=True)], dim=-1)

    def select(self, *, inputs: Tensor | None = None, outputs: Tensor | None = None) -> None:
        """Keep only these columns and rows. Raises `Inapplicable` unless each group keeps as many, in order."""
        for name, kept, size in (("inputs", inputs, self.inputs), ("outputs", outputs, self.outputs)):
            if kept is None:
                continue
            groups, size = len(self.parts), size // len(self.parts)
            chosen = kept.chunk(groups)
            if len(kept) % groups or any(bool((each // size != at).any()) for at, each in enumerate(chosen)):
                raise Inapplicable(
                    f"each of the {groups} groups of a feed-forward block must keep as many dimensions: put "
                    "`grouped_ffn` after what narrows the model"
                )
            for at, (part, each) in enumerate(zip(self.linears, chosen, strict=True)):
                part.select(**{name: each - at * size})


Matrix = Linear | LowRank | Kronecker
AnyLinear = Matrix | Grouped


def low_rank(whole: Linear | Kronecker, outer: Tensor, inner: Tensor) -> LowRank:
    """In place of a linear layer, with its bias and bits, the product of outer (outputs, rank) and inner (rank,
    inputs)."""
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        made = LowRank(whole.inputs, whole.outputs, len(inner))
    made.inner.weight, made.outer.weight = nn.Parameter(inner.clone()), nn.Parameter(outer.clone())
    made.outer.bias = whole.bias
    for each in (made.inner, made.outer):
        each.set_quantization(whole.spec)
    return made


def kronecker(whole: Linear | LowRank, large: Tensor, small: Tensor) -> Kronecker:
    """In place of a linear layer, with its bias, the sum of the Kronecker products of factors (terms, ., .)."""
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        made = Kronecker(whole.inputs, whole.outputs, small.shape[1], len(small))
    made.large, made.small = nn.Parameter(large.clone()), nn.Parameter(small.clone())
    made.bias = whole.bias
    return made


def grouped(whole: Linear, groups: int) -> Grouped:
    """In place of a linear layer, with its bias and bits, the blocks on its matrix's diagonal."""
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        made = Grouped(whole.inputs, whole.outputs, groups)
    weights, biases = whole.weight.detach().chunk(groups), whole.bias.detach().chunk(groups)
    for at, (part, weight, bias) in enumerate(zip(made.linears, weights, biases, strict=True)):
        part.weight = nn.Parameter(weight.chunk(groups, dim=1)[at].clone())
        part.bias = nn.Parameter(bias.clone())
        part.set_quantization(whole.spec)
    return made


def new_linear(inputs: int, outputs: int, rank: int = 0, kronecker: tuple[int, int] = (0, 0)) -> Matrix:
    """A linear layer: of two factors where it has a rank, of Kronecker products where these have a size and terms."""
    if kronecker[1]:
        return Kronecker(inputs, outputs, *kronecker)
    return LowRank(inputs, outputs, rank) if rank else Linear(inputs, outputs)
