"""`quantization`: weights in 8, 4 or 2 bits, or ternary.

Before a training step the candidate learns with the rounding in place (quantization-aware training, with learned
scales); after it the trained weights are rounded (post-training quantization), where `gptq` is the better rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from optuna.distributions import CategoricalDistribution
from torch import Tensor

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import Bits, Clipping, QuantSpec, file_scales, quantized
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.training.importance import Moments, measured_batches, watch_inputs

DAMPING = 0.01
"""Added to the second moments of what a matrix is given, as a share of their mean."""
_COLUMNS_AT_ONCE = 128

SomeBits = Annotated[Bits, CategoricalDistribution(("ternary", 2, 4, 8))]


@dataclass(frozen=True)
class Quantization(ModelStrategy):
    """Store the embedding tables and the linear layers in few bits, each in its own number."""

    embedding_bits: SomeBits = 4
    """Bits of the word table and of that of pairs of tokens, with one scale a row. Positions have as many, or 4 where
    these are fewer."""
    layer_bits: SomeBits = 4
    """Bits of the linear layers, with one scale an output; 8 bits use half their range. The embedding's
    projections and the head have as many, or 4 where these are fewer."""
    block: Annotated[Literal[0, 16, 32, 64, 128], CategoricalDistribution((0, 16, 32, 64, 128))] = 0
    """Inputs that share a scale in the linear layers, in 4 bits: more accurate, as activations stay floats, and slower
    than one scale an output, which 0 means."""
    clipping: Annotated[Clipping, CategoricalDistribution(("mse", "percentile", "minmax"))] = "mse"
    """What the grid of a row spans: what costs the least squared error, 99 % of its weights, or all of them."""
    rounding: Annotated[Literal["nearest", "gptq"], CategoricalDistribution(("nearest", "gptq"))] = "nearest"
    """Each weight to its nearest integer, or so that later columns of a matrix make up for the errors of earlier ones
    on the states of training examples. It is for layers of 2 bits or ternary ones that no training follows: with more
    bits it was no better."""

    name: ClassVar[str] = "quantization"
    paper: ClassVar[str] = (
        "Learned step size quantization, arXiv 1902.08153; Q8BERT, arXiv 1910.06188; 2 bits and ternary: arXiv "
        "2502.02631; GPTQ, arXiv 2210.17323"
    )

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        if self.block and self.layer_bits != 4:
            raise Inapplicable(f"`{self.name}.block` is for 4 bits, but `layer_bits` is {self.layer_bits}")
        if self.rounding == "gptq" and self.layer_bits in (4, 8):
            raise Inapplicable(
                f"`{self.name}.rounding` must be `nearest` where `layer_bits` is {self.layer_bits}, since GPTQ brings "
                "the answers no nearer there: use it for 2 bits, or for ternary weights"
            )
        # Which scales changes no size and no speed, and the best ones are the longest part of many a preview.
        clipping: Clipping = "minmax" if context.preview else self.clipping
        for table in model.embedding_tables():
            bits = no_fewer_than_4(self.embedding_bits) if table is model.positions else self.embedding_bits
            table.set_quantization(QuantSpec(bits), clipping)
        specs = {linear: self._spec(name) for name, linear in model.linears()}
        if self.rounding == "nearest" or context.preview:
            for linear, spec in specs.items():
                linear.set_quantization(spec, clipping)
            return subject
        batches = [batch for batch, _ in measured_batches(subject, context)]
        for part in _in_order(model):
            for linear, moments in _given(model, part, batches).items():
                linear.set_quantization(specs[linear], clipping)
                round_by_gptq(linear, moments.products)
        return subject

    def _spec(self, name: str) -> QuantSpec:
        bits = self.layer_bits if name.startswith("layers.") else no_fewer_than_4(self.layer_bits)
        return QuantSpec(bits, bits == 8, self.block)


def _in_order(model: Encoder) -> list[list[Linear]]:
    """The linear layers in the order in which the model computes them, those of one transformer layer together."""
    parts: dict[str, list[Linear]] = {}
    for name, linear in model.linears():
        part = ".".join(name.split(".")[:2]) if name.startswith("layers.") else name
        parts.setdefault(part, []).append(linear)
    return list(parts.values())


@torch.inference_mode()
def _given(model: Encoder, linears: Sequence[Linear], batches: Sequence[Batch]) -> dict[Linear, Moments]:
    """What these layers are given by the model as it is now, in which the parts before them are quantized."""
    seen = {linear: Moments(linear.inputs) for linear in linears}
    with watch_inputs([(linear, each.add) for linear, each in seen.items()]):
        for batch in batches:
            model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return seen


def no_fewer_than_4(bits: Bits) -> Bits:
    return 4 if bits in ("ternary", 2) else bits


@torch.no_grad()
def round_by_gptq(linear: Linear, products: Tensor) -> None:
    """Move a quantized layer's weights onto its grid, one column after another.

    Each column's error is taken up by the columns after it, so that the layer's outputs change least on inputs with
    these second moments (inputs, inputs). What a weight lacks beyond the grid's end is no rounding error, and is not
    taken up: other columns would have to do so much that, on rare inputs, neurons fire that should not. Pruned weights
    stay zero.
    """
    assert linear.spec is not None and linear.scales is not None
    size, device = linear.inputs, linear.weight.device
    damping = DAMPING * products.diagonal().mean().clamp_min(1e-12) * torch.eye(size, dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(products + damping))
    upper = torch.linalg.cholesky(inverse, upper=True).float().to(device)
    scales = file_scales(linear.scales).repeat_interleave(linear.spec.block or size, dim=1)
    weight = linear.weight.detach().clone()
    kept = torch.ones_like(weight) if linear.kept is None else linear.kept.to(weight)
    low, high = linear.spec.ends
    for start in range(0, size, _COLUMNS_AT_ONCE):
        end = min(start + _COLUMNS_AT_ONCE, size)
        errors = torch.zeros(len(weight), end - start, device=device)
        for column in range(start, end):
            scale = scales[:, column]
            wanted = weight[:, column].clamp(low * scale, high * scale)
            on_grid = quantized(wanted, scale, linear.spec) * scale * kept[:, column]
            errors[:, column - start] = (wanted - on_grid) / upper[column, column]
            weight[:, column] = on_grid
            weight[:, column + 1 : end] -= torch.outer(errors[:, column - start], upper[column, column + 1 : end])
        weight[:, end:] -= errors @ upper[start:end, end:]
    linear.weight.copy_(weight)
