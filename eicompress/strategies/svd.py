"""`svd`: matrices of the layers as products of two thin ones.

A matrix W (m, n) becomes U (m, r) times V (r, n): r (m + n) weights instead of m n. Weighted, the product is the best
one for the states that the matrix is given: with E[x xᵀ] = L Lᵀ, it comes from the singular values of W L.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import Tensor

from eicompress.contracts import Array, Candidate, Context, ModelStrategy
from eicompress.encoder.blocks import FeedForward, SelfAttention
from eicompress.encoder.layers import check_one_block
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.training.importance import Moments, fingerprint, measured_batches, watch_inputs
from eicompress.values import seed_of

MULTIPLE = 8
"""Ranks are multiples of this, which matrix kernels run faster."""
RIDGE = 1e-4
"""Added to the second moments, as a share of their mean, so that each direction counts a little."""

Block = SelfAttention | FeedForward


@dataclass(frozen=True)
class Svd(ModelStrategy):
    """Factorize the layers' matrices where that makes them smaller: (m, n) -> (m, r) times (r, n).

    Matrices of dynamic convolutions, and those in groups, stay as they are.
    """

    rank_by: Annotated[Literal["share", "energy"], CategoricalDistribution(("share", "energy"))] = "share"
    """Whether all ranks follow from `share`, or each matrix has the rank that keeps `energy`."""
    share: Annotated[float, FloatDistribution(0.02, 1.0)] = 0.5
    """Share of a matrix's weights that its factors have; from 1 on the matrix stays as it is."""
    energy: Annotated[float, FloatDistribution(0.3, 1.0)] = 0.9
    """Share of the squared singular values that a rank must keep."""
    matrices: Annotated[Literal["all", "attention", "ffn"], CategoricalDistribution(("all", "attention", "ffn"))] = (
        "all"
    )
    """Which matrices: all of the layers, those of the attention, or those of the feed-forward blocks."""
    weighted: Annotated[bool, CategoricalDistribution((True, False))] = True
    """Whether the error is that of the product with real states, or of the matrix alone."""

    name: ClassVar[str] = "svd"
    paper: ClassVar[str] = "SVD-LLM, arXiv 2403.07378; weighted low rank: FWSVD, arXiv 2207.00112"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        check_one_block(model.config, self.name)
        chosen = self._chosen(model)
        if not chosen:
            raise Inapplicable(
                f"`{self.name}` acts on whole matrices of the layers' attention and feed-forward blocks, but there are "
                "none to act on: put it before what factorizes or groups them"
            )
        wholes: list[Linear] = [getattr(block, matrix) for block, matrix in chosen]
        if context.preview:
            ranks = self._ranks(subject, context, wholes)
        else:
            seen = self._moments(subject, context, wholes)
        kept: list[float] = []
        for number, (block, matrix) in enumerate(chosen):
            whole = wholes[number]
            if context.preview:
                rank = ranks[number]
                outer, inner = whole.weight.detach()[:, :rank], whole.weight.detach()[:rank]
            else:
                spectrum = Spectrum(whole.weight.detach(), seen.get(whole))
                rank = self._rank_by_share(whole) if self.rank_by == "share" else spectrum.rank(self.energy)
                outer, inner = spectrum.factors(min(rank, len(spectrum.values)), seed_of(context.seed, number))
            smaller = rank * (whole.inputs + whole.outputs) < whole.inputs * whole.outputs
            if smaller:
                model.factorize(block, matrix, outer, inner)
            if not context.preview:
                kept.append(spectrum.energy(rank) if smaller else 1.0)
        facts: dict[str, object] = {"ranks": [list(each.ranks) for each in model.config.layers]}
        if kept:
            facts["energy_kept"] = [round(each, 4) for each in kept]
        return replace(subject, facts={**subject.facts, self.name: facts})

    def _chosen(self, model: Encoder) -> list[tuple[Block, str]]:
        """The matrices to factorize, each once however many layers share it, by block and name."""
        kinds = {"all": (SelfAttention, FeedForward), "attention": (SelfAttention,), "ffn": (FeedForward,)}
        blocks = [each for each in model.modules() if isinstance(each, kinds[self.matrices])]
        named = [
            (block, name)
            for block in blocks
            for name in (("qkv", "output") if isinstance(block, SelfAttention) else ("input", "output"))
        ]
        return [(block, name) for block, name in named if isinstance(getattr(block, name), Linear)]

    def _ranks(self, subject: Candidate, context: Context, wholes: list[Linear]) -> list[int]:
        """The rank of each matrix; the singular values of a candidate are computed once, for all energies."""
        if self.rank_by == "share":
            return [self._rank_by_share(whole) for whole in wholes]

        def compute() -> dict[str, Array]:
            seen = self._moments(subject, context, wholes)
            spectra = (Spectrum(whole.weight.detach(), seen.get(whole)) for whole in wholes)
            return {f"{number:04}": spectrum.values.numpy() for number, spectrum in enumerate(spectra)}

        key = f"spectra-{self.matrices}-{self.weighted}-{fingerprint(subject)}"
        found = context.cache(key, compute)
        return [rank_of(torch.from_numpy(np.array(found[name])), self.energy) for name in sorted(found)]

    def _moments(self, subject: Candidate, context: Context, linears: list[Linear]) -> dict[Linear, Moments]:
        if not self.weighted:
            return {}
        seen = {linear: Moments(linear.inputs) for linear in linears}
        model = subject.model
        with watch_inputs([(linear, each.add) for linear, each in seen.items()]), torch.inference_mode():
            for batch, _ in measured_batches(subject, context):
                model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        return seen

    def _rank_by_share(self, whole: Linear) -> int:
        rank = self.share * whole.inputs * whole.outputs / (whole.inputs + whole.outputs)
        return max(MULTIPLE, round(rank / MULTIPLE) * MULTIPLE)


def rank_of(values: Tensor, energy: float) -> int:
    """The lowest rank, a multiple of eight, that keeps this share of the squared singular values."""
    squares = values.square().cumsum(0)
    lowest = int((squares < energy * squares[-1]).sum()) + 1
    return -(-lowest // MULTIPLE) * MULTIPLE


class Spectrum:
    """The singular values of a matrix W (m, n), as seen through the states that it is given."""

    def __init__(self, weight: Tensor, seen: Moments | None) -> None:
        size = weight.shape[1]
        moments = torch.eye(size, dtype=torch.float64) if seen is None else seen.products
        ridge = RIDGE * moments.diagonal().mean() * torch.eye(size, dtype=torch.float64)
        self._root = torch.linalg.cholesky(moments + ridge)
        self._left, self.values, self._right = torch.linalg.svd(weight.double().cpu() @ self._root, full_matrices=False)

    def energy(self, rank: int) -> float:
        """Share of the squared singular values that a rank keeps."""
        squares = self.values.square()
        return float(squares[:rank].sum() / squares.sum().clamp_min(1e-30))

    def rank(self, energy: float) -> int:
        """The lowest rank, a multiple of eight, that keeps this share."""
        return rank_of(self.values, energy)

    def factors(self, rank: int, seed: int) -> tuple[Tensor, Tensor]:
        """Outer (m, rank) and inner (rank, n) factors.

        Their common dimensions are turned by a random rotation: each then has about the same spread, which few bits
        with one scale a row need.
        """
        noise = torch.randn(rank, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        rotation, _ = torch.linalg.qr(noise)
        roots = self.values[:rank].sqrt()
        outer = self._left[:, :rank] * roots @ rotation
        inner = torch.linalg.solve_triangular(self._root, self._right[:rank], upper=False, left=False)
        return outer.float(), (rotation.T @ (roots[:, None] * inner)).float()
