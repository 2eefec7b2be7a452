"""The parts of the encoder, and how their weights are stored in few bits.

Quantization is simulated in the forward pass with the numbers that the exported operator will use: weights on
the grid of their stored integers, activations (in `eval` mode) on the 8-bit grid that onnxruntime's
`DynamicQuantizeLinear` chooses for one example. Gradients pass the rounding unchanged (straight-through
estimator); scales are learned (LSQ, arXiv 1902.08153).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.encoder.config import Activation, BigramConfig, LayerConfig
from eicompress.errors import Inapplicable

Bits = Literal["ternary", 2, 4, 8]
Clipping = Literal["mse", "percentile", "minmax"]

PERCENTILE = 0.99
"""Share of a row's weights that the grid spans where clipping is by percentile."""
_SMALLEST = 2e-7
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
    def coarse(self) -> bool:
        """Whether there are so few levels that a weight half a step past the last one still gets its gradient."""
        return self.levels <= 4

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
    return half((ends / (spec.highest + 0.5 * spec.step)).clamp_min(_SMALLEST))


def _best_scales(weight: Tensor, spec: QuantSpec, largest: Tensor) -> Tensor:
    best = _errors(weight, spec, largest)
    scales = largest.clone()
    for share in torch.linspace(0.2 if spec.coarse else 0.4, 1.0, 25)[:-1].tolist():
        trial = half(largest * share).clamp_min(_SMALLEST)
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
    return half(scales.detach().abs().clamp_min(_SMALLEST))


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
        nn.init.normal_(self.weight, std=0.02)

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
            nn.init.normal_(factor, std=0.1)

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


AnyLinear = Linear | LowRank | Kronecker


def new_linear(inputs: int, outputs: int, rank: int = 0, kronecker: tuple[int, int] = (0, 0)) -> AnyLinear:
    """A linear layer: of two factors where it has a rank, of Kronecker products where these have a size and terms."""
    if kronecker[1]:
        return Kronecker(inputs, outputs, *kronecker)
    return LowRank(inputs, outputs, rank) if rank else Linear(inputs, outputs)


class Embedding(nn.Module):
    """A table (rows, size), which may be stored in few bits with one scale a row."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, size))
        self.scales: nn.Parameter | None = None
        self.spec: QuantSpec | None = None
        self.sparse = False
        """Whether the gradient holds only the rows that were read."""
        nn.init.normal_(self.weight, std=0.02)

    def set_quantization(self, spec: QuantSpec | None, clipping: Clipping = "mse") -> None:
        """Store the table as `spec` says, with scales (rows, 1) that are learned from here on."""
        self.spec = spec
        self.scales = None if spec is None else nn.Parameter(row_scales(self.weight, spec, clipping))

    def stored(self) -> tuple[Tensor, Tensor]:
        """The integers (rows, size) and half-precision scales (rows, 1) that a file holds."""
        assert self.spec is not None and self.scales is not None
        scales = file_scales(self.scales)
        return quantized(self.weight.detach(), scales, self.spec), scales

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) -> (..., size)"""
        rows = F.embedding(ids, self.weight, sparse=self.sparse)
        if self.spec is None or self.scales is None:
            return rows
        scales = F.embedding(ids, self.scales).reshape(-1, 1)
        return fake_quantized(rows.reshape(len(scales), -1), scales, self.spec).reshape(rows.shape)

    def select(self, *, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        """Keep only these rows, with their scales where the table is quantized, and columns."""
        weight = self.weight.detach()
        if rows is not None:
            weight = weight[rows]
            if self.scales is not None:
                self.scales = nn.Parameter(self.scales.detach()[rows].clone())
        weight = weight if columns is None else weight[:, columns]
        self.weight = nn.Parameter(weight.clone())


class CodebookEmbedding(nn.Module):
    """A table (rows, size) whose rows are put together from the entries of codebooks (product quantization).

    A row is a scale times ceil(size / piece) pieces; codes (rows, pieces) say which entry each piece is. Codes stay
    as they are; entries and scales are learned.
    """

    codes: Tensor

    def __init__(self, rows: int, size: int, piece: int, entries: int, books: int) -> None:
        super().__init__()
        self.size, self.entries, self.books = size, entries, books
        self.register_buffer("codes", torch.zeros(rows, -(-size // piece), dtype=torch.uint8))
        self.book = nn.Parameter(torch.zeros(books * entries, piece))
        self.scales = nn.Parameter(torch.ones(rows, 1))

    @property
    def first_entries(self) -> Tensor:
        """(pieces,): where each piece's codebook begins in `book`; all zero where they share one."""
        pieces = torch.arange(self.codes.shape[1], device=self.codes.device)
        return pieces * self.entries if self.books > 1 else pieces * 0

    @property
    def weight(self) -> Tensor:
        """(rows, size)"""
        whole: Tensor = self(torch.arange(len(self.codes), device=self.codes.device))
        return whole

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) -> (..., size)"""
        pieces = F.embedding(self.codes[ids].long() + self.first_entries, self.book)
        return pieces.flatten(-2)[..., : self.size] * F.embedding(ids, self.scales)

    def select(self, *, rows: Tensor) -> None:
        """Keep only these rows."""
        self.codes = self.codes[rows].clone()
        self.scales = nn.Parameter(self.scales.detach()[rows].clone())


class BigramEmbedding(nn.Module):
    """The mean of the vectors of a text's pairs of neighbouring tokens (fastText, arXiv 1607.01759).

    A pair is known by a hash of its tokens' numbers, and pairs with the same hash share a vector. Special tokens are
    tokens like any other, and the first token of a text is paired with token 0: each token then ends one pair.
    """

    def __init__(self, hidden: int, shape: BigramConfig) -> None:
        super().__init__()
        self.table = Embedding(shape.buckets, shape.width)
        self.output = Linear(shape.width, hidden, biased=False)

    @property
    def multiplier(self) -> int:
        """Of the earlier token in the hash: the golden section of the table spreads neighbouring numbers most evenly,
        however many rows there are (Fibonacci hashing)."""
        return round(_GOLDEN * len(self.table.weight))

    def buckets(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> the row of the pair that each token ends (B, T)."""
        return (F.pad(ids, (1, -1)) * self.multiplier + ids) % len(self.table.weight)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, T), mask (B, T) says which tokens are real -> (B, hidden)"""
        mean = mean_of_tokens(self.table(self.buckets(ids)), mask)
        projected: Tensor = self.output(mean[:, None], one_token(mean))[:, 0]
        return projected


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """states (B, T, size) -> their mean over the real tokens (B, size)."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)


def one_token(vectors: Tensor) -> Tensor:
    """(B, width) -> the mask (B, 1) of a single token."""
    return torch.ones(len(vectors), 1, dtype=torch.int64, device=vectors.device)


class LayerNorm(nn.Module):
    """Layer normalization over the last dimension (arXiv 1607.06450)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, states: Tensor) -> Tensor:
        return F.layer_norm(states, self.weight.shape, self.weight, self.bias, self.eps)

    def select(self, dimensions: Tensor) -> None:
        self.weight = nn.Parameter(self.weight.detach()[dimensions].clone())
        self.bias = nn.Parameter(self.bias.detach()[dimensions].clone())


class SelfAttention(nn.Module):
    """Multi-head self-attention (arXiv 1706.03762); query, key and value are one matrix, in this order."""

    def __init__(self, hidden: int, shape: LayerConfig) -> None:
        super().__init__()
        self.heads, self.head_size = shape.heads, shape.head_size
        width = shape.heads * shape.head_size
        self.qkv = new_linear(hidden, 3 * width, shape.ranks[0], shape.kroneckers[0])
        self.output = new_linear(width, hidden, shape.ranks[1], shape.kroneckers[1])

    def forward(self, states: Tensor, mask: Tensor, queries: int) -> Tensor:
        """states (B, T, hidden) -> (B, queries, hidden), for the first `queries` tokens."""
        q, k, v = self.projections(states, mask)
        q = q[:, :, :queries]
        # Torch's CPU kernel goes back through attention six times slower in bfloat16 than in single precision.
        if q.device.type == "cpu":
            q, k, v = q.float(), k.float(), v.float()
        with torch.autocast("cpu", enabled=False):
            context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :].bool())
        context = context.transpose(1, 2).flatten(2)
        projected: Tensor = self.output(context, mask[:, :queries])
        return projected

    def projections(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """states (B, T, hidden) -> queries, keys and values, (B, heads, T, head_size) each."""
        split = self.qkv(states, mask).reshape(*states.shape[:2], 3, self.heads, self.head_size)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        return q, k, v

    def keep_heads(self, heads: Tensor) -> None:
        """Keep only these heads."""
        each = torch.arange(self.head_size)
        kept = (heads[:, None] * self.head_size + each).flatten()
        width = self.heads * self.head_size
        self.qkv.select(outputs=torch.cat([kept, kept + width, kept + 2 * width]))
        self.output.select(inputs=kept)
        self.heads = len(heads)

    def keep_hidden(self, dimensions: Tensor) -> None:
        """Keep only these residual dimensions."""
        self.qkv.select(inputs=dimensions)
        self.output.select(outputs=dimensions)


def activated(states: Tensor, activation: Activation) -> Tensor:
    """The activation function of each value."""
    if activation in ("gelu", "gelu_tanh"):
        return F.gelu(states, approximate="none" if activation == "gelu" else "tanh")
    return torch.tanh(states) if activation == "tanh" else F.relu(states)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, hidden: int, shape: LayerConfig, activation: Activation) -> None:
        super().__init__()
        self.input = new_linear(hidden, shape.ffn, shape.ranks[2], shape.kroneckers[2])
        self.output = new_linear(shape.ffn, hidden, shape.ranks[3], shape.kroneckers[3])
        self.activation = activation

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        inner = self.input(states, mask)
        outer: Tensor = self.output(activated(inner, self.activation), mask)
        return outer

    def keep_neurons(self, neurons: Tensor) -> None:
        """Keep only these neurons."""
        self.input.select(outputs=neurons)
        self.output.select(inputs=neurons)

    def keep_hidden(self, dimensions: Tensor) -> None:
        """Keep only these residual dimensions."""
        self.input.select(inputs=dimensions)
        self.output.select(outputs=dimensions)


class Layer(nn.Module):
    """A transformer layer with normalization after each residual sum, as in BERT (arXiv 1810.04805).

    Its parts may be those of other layers too: they then share their weights (ALBERT, arXiv 1909.11942).
    """

    def __init__(
        self, attention: SelfAttention, ffn: FeedForward, attention_norm: LayerNorm, ffn_norm: LayerNorm
    ) -> None:
        super().__init__()
        self.attention, self.ffn = attention, ffn
        self.attention_norm, self.ffn_norm = attention_norm, ffn_norm

    def forward(self, states: Tensor, mask: Tensor, queries: int) -> Tensor:
        """states (B, T, hidden) -> (B, queries, hidden): only the first `queries` tokens go on."""
        attended = self.attention(states, mask, queries)
        states = self.attention_norm(states[:, :queries] + attended)
        normed: Tensor = self.ffn_norm(states + self.ffn(states, mask[:, :queries]))
        return normed
