"""`kronecker`: matrices of the layers as sums of Kronecker products.

A matrix W (m, n) becomes the sum of t products of A (m / s, n / s) and B (s, s): t (m n / s² + s²) weights instead of
m n. Rearranged, so that each row is one s x s piece of W, such a sum is a matrix of rank t: its singular value
decomposition gives the nearest one.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from torch import Tensor

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.blocks import FeedForward, SelfAttention
from eicompress.encoder.layers import check_one_block
from eicompress.encoder.linear import Linear
from eicompress.errors import Inapplicable

_KINDS = {"all": (SelfAttention, FeedForward), "attention": (SelfAttention,), "ffn": (FeedForward,)}


@dataclass(frozen=True)
class KroneckerFactorization(ModelStrategy):
    """Replace the layers' matrices by sums of Kronecker products, multiplied out once when the file is loaded.

    The file shrinks by about size² / terms; onnxruntime then multiplies by the whole matrix, so that no milliseconds
    are saved. The factors stay floats. Matrices of dynamic convolutions, and those in groups, stay as they are.
    """

    size: Annotated[Literal[2, 4, 8], CategoricalDistribution((2, 4, 8))] = 4
    """Rows and columns of the small factors. A matrix whose shape is no multiple of it is left as it is."""
    terms: Annotated[int, IntDistribution(1, 32)] = 4
    """Products that are added up. From size² on, the matrix is left as it is."""
    matrices: Annotated[Literal["all", "attention", "ffn"], CategoricalDistribution(("all", "attention", "ffn"))] = (
        "all"
    )
    """Which matrices: all of the layers, those of the attention, or those of the feed-forward blocks."""

    name: ClassVar[str] = "kronecker"
    paper: ClassVar[str] = (
        "KroneckerBERT, arXiv 2109.06243; nearest products: Van Loan and Pitsianis, 10.1007/978-94-015-8196-7_17"
    )

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        check_one_block(model.config, self.name)
        chosen = [
            (block, name, whole)
            for block in model.modules()
            if isinstance(block, _KINDS[self.matrices])
            for name, whole in block.named_children()
            if isinstance(whole, Linear) and self._fits(whole)
        ]
        if not chosen:
            raise Inapplicable(
                f"`{self.name}` acts on whole matrices with shapes that are multiples of {self.size}, and makes them "
                f"smaller with fewer than {self.size**2} terms, but there are none to act on"
            )
        kept = []
        for block, name, whole in chosen:
            large, small, share = nearest_products(whole.weight.detach(), self.size, self.terms, blind=context.preview)
            model.use_kronecker(block, name, large, small)
            kept.append(round(share, 4))
        facts = {"matrices": len(chosen)} if context.preview else {"matrices": len(chosen), "energy_kept": kept}
        return replace(subject, facts={**subject.facts, self.name: facts})

    def _fits(self, whole: Linear) -> bool:
        sizes = (whole.outputs % self.size, whole.inputs % self.size)
        return sizes == (0, 0) and self.terms < self.size**2


def nearest_products(weight: Tensor, size: int, terms: int, *, blind: bool = False) -> tuple[Tensor, Tensor, float]:
    """Weight (m, n) -> A (terms, m / size, n / size), B (terms, size, size), and the share of energy that they keep.

    Blind, they are of these shapes and mean nothing.
    """
    rows, columns = weight.shape[0] // size, weight.shape[1] // size
    pieces = weight.reshape(rows, size, columns, size).transpose(1, 2).reshape(rows * columns, size * size)
    if blind:
        return pieces.T[:terms].reshape(terms, rows, columns), pieces[:terms].reshape(terms, size, size), 0.0
    values, vectors = torch.linalg.eigh((pieces.T @ pieces).double())  # small: size² x size²
    small = vectors.flip(1)[:, :terms].float()
    kept = float(values.flip(0)[:terms].sum() / values.sum().clamp_min(1e-30))
    return (pieces @ small).T.reshape(terms, rows, columns), small.T.reshape(terms, size, size), kept
