"""Quantized weights: how they are rounded and stored in few bits.

Quantization is simulated in the forward pass with the numbers that the exported operator will use: weights on
the grid of their stored integers, activations (in `eval` mode) on the 8-bit grid that onnxruntime's
`DynamicQuantizeLinear` chooses for one example. Gradients pass the rounding unchanged (straight-through
estimator); scales are learned (LSQ, arXiv 1902.08153).

LSQ scales the gradient of a step size, so that under SGD step sizes and weights change by about the same share of
themselves. Adam's steps do not depend on the size of a gradient: there step sizes have a learning rate of their own for
the same end, and what the scaled gradient decides is their part in the norm that gradients are clipped to. That it is
better is not proven: 2-bit layers, three seeds, 87.9 % instead of 87.5 %.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Bits = Literal["ternary", 2, 4, 8]
Clipping = Literal["mse", "percentile", "minmax"]

PERCENTILE = 0.99
"""Share of a row's weights that the grid spans where clipping is by percentile."""
SMALLEST_SCALE = 2e-7
"""No scale is smaller: half precision still tells it from zero."""
_END_OF_ZEROS = 0.05
"""What the grid of a row of zeros spans to each side. At the smallest scale nothing that the row learns would fit."""
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class QuantSpec:
    """How a weight matrix is stored: symmetric integers of `bits`, one half-precision scale a row or a block of it.

    A row is an output of a linear layer, or a token of an embedding. 2 bits are the odd integers -3, -1, 1 and 3: four
    levels without a zero are nearer to weights (ParetoQ, arXiv 2502.02631). Ternary weights are -1, 0 and 1.
    """

    bits: Bits
    reduced: bool = False
    """Whether the integers stay within half their range. On x86 without VNNI, onnxruntime adds two products of an
    8-bit activation and a signed weight in 16 bits, which only then cannot overflow."""
    block: int = 0
    """Inputs of a linear layer that share a scale, and are multiplied as floats; 0 for one scale a row."""

    @property
    def lowest(self) -> int:
        if self.bits == "ternary":
            return -1
        return -3 if self.bits == 2 else -(1 << (self.bits - 1 - self.reduced))

    @property
    def highest(self) -> int:
        if self.bits == "ternary":
            return 1
        return 3 if self.bits == 2 else -self.lowest - 1

    @property
    def step(self) -> int:
        """Between neighbouring integers."""
        return 2 if self.bits == 2 else 1

    @property
    def levels(self) -> int:
        return (self.highest - self.lowest) // self.step + 1

    @property
    def a_byte(self) -> int:
        """Weights that one byte holds."""
        return 5 if self.bits == "ternary" else 8 // self.bits

    @property
    def scale_rate(self) -> float:
        """Share of the weights' learning rate that their scales learn at.

        LSQ takes a scale to be about the mean magnitude of its weights over √highest: at this share of the rate, both
        change by the same share of themselves.
        """
        return 1 / math.sqrt(self.highest)

    @property
    def coarse(self) -> bool:
        """Whether there are so few levels that a weight half a step past the last one still gets its gradient."""
        return self.levels <= 4

    @property
    def ends(self) -> tuple[float, float]:
        """What the grid spans, in units of the scale: half a step past its last integers."""
        return self.lowest - 0.5 * self.step, self.highest + 0.5 * self.step

    def rounded(self, ratio: Tensor) -> Tensor:
        """The integers nearest to weights in units of their scale."""
        grid = (ratio * 0.5).floor_().mul_(2.0).add_(1.0) if self.bits == 2 else ratio.round()
        return grid.clamp_(self.lowest, self.highest)


def half(values: Tensor) -> Tensor:
    """The values that half precision can hold, in single precision."""
    return values.half().float()


def row_scales(weight: Tensor, spec: QuantSpec, clipping: Clipping = "mse") -> Tensor:
    """(rows, 1) scales, representable in half precision, for weights (rows, columns).

    They put each row's largest magnitude on the grid's end ("minmax"), or the magnitude that 99 % of the row do not
    exceed ("percentile"), or are those of the least squared error among clippings ("mse").
    """
    magnitudes = weight.detach().abs()
    if clipping == "percentile":
        return _scales_to(magnitudes.quantile(PERCENTILE, dim=1, keepdim=True), spec)
    largest = _scales_to(magnitudes.amax(dim=1, keepdim=True), spec)
    return largest if clipping == "minmax" else _best_scales(weight.detach(), spec, largest)


def _scales_to(ends: Tensor, spec: QuantSpec) -> Tensor:
    if spec.step == 1:  # of a grid that holds zero
        ends = ends.where(ends > 0, _END_OF_ZEROS)
    return half((ends / (spec.highest + 0.5 * spec.step)).clamp_min(SMALLEST_SCALE))


def _best_scales(weight: Tensor, spec: QuantSpec, largest: Tensor) -> Tensor:
    best = _errors(weight, spec, largest)
    scales = largest.clone()
    for share in torch.linspace(0.2 if spec.coarse else 0.4, 1.0, 25)[:-1].tolist():
        trial = half(largest * share).clamp_min(SMALLEST_SCALE)
        error = _errors(weight, spec, trial)
        better = error < best
        best = torch.where(better, error, best)
        scales = torch.where(better, trial, scales)
    return scales


def _errors(weight: Tensor, spec: QuantSpec, scales: Tensor) -> Tensor:
    """(rows, 1): the squared error of each row."""
    return (quantized(weight, scales, spec) * scales - weight).square().sum(dim=1, keepdim=True)


def quantized(weight: Tensor, scales: Tensor, spec: QuantSpec) -> Tensor:
    """The stored integers of a weight, as floats."""
    return spec.rounded(weight / scales)


class _LearnedStep(torch.autograd.Function):
    """Fake quantization of (rows, columns) weights with learned (rows, 1) scales."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scales: Tensor, spec: QuantSpec) -> Tensor:
        ratio = weight / scales
        grid = spec.rounded(ratio)
        ctx.spec = spec
        ctx.save_for_backward(ratio, grid)
        return grid * scales

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        ratio, grid = ctx.saved_tensors
        beyond = 0.5 * ctx.spec.step if ctx.spec.coarse else 0.0
        # The gradient where the ratio is inside the grid, and zero elsewhere: one pass where comparisons take five.
        to_weight = torch.ops.aten.hardtanh_backward(
            gradient, ratio, ctx.spec.lowest - beyond, ctx.spec.highest + beyond
        )
        to_scales = torch.linalg.vecdot(gradient, grid) - torch.linalg.vecdot(to_weight, ratio)
        return to_weight, to_scales[:, None] / math.sqrt(ratio.shape[1] * ctx.spec.highest), None


def fake_quantized(weight: Tensor, scales: Tensor, spec: QuantSpec) -> Tensor:
    """Weights (rows, columns) on the grid of learned (rows, 1) scales, which a file stores in half precision."""
    scales = scales + (file_scales(scales) - scales.detach())
    stored: Tensor = _LearnedStep.apply(weight, scales, spec)  # type: ignore[no-untyped-call]
    return stored


def file_scales(scales: Tensor) -> Tensor:
    """Scales as a file stores them."""
    return half(scales.detach().clamp_min(SMALLEST_SCALE))


def in_blocks(weight: Tensor, block: int) -> Tensor:
    """(rows, columns) -> (rows x blocks, block), with zeros at the end of the last block; 0 leaves it as it is."""
    return weight if not block else F.pad(weight, (0, -weight.shape[1] % block)).reshape(-1, block)


def fake_quantized_activations(states: Tensor, mask: Tensor) -> Tensor:
    """States (B, T, size) on the grid that `DynamicQuantizeLinear` would choose for each example alone.

    `mask` (B, T) is 1 for real tokens: padding does not widen an example's range.
    """
    real = states * mask.unsqueeze(-1).to(states.dtype)
    low = real.amin(dim=(1, 2), keepdim=True).clamp_max(0.0)
    high = real.amax(dim=(1, 2), keepdim=True).clamp_min(0.0)
    scale = ((high - low) / 255.0).clamp_min(1e-30)
    zero = (-low / scale).round().clamp(0, 255)
    return ((states / scale).round() + zero).clamp(0, 255).sub(zero) * scale
