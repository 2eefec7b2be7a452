"""Vectors whose first dimensions can be used alone (Matryoshka: Kusupati et al., arXiv 2205.13147).

The teacher's vectors are turned to their principal axes first, the axis along which they are longest foremost. That
changes no cosine, and of all rotations it keeps the most in the first dimensions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from eicompress.contracts import Context
from eicompress.encoder.model import Encoder
from eicompress.training.losses import RELATIONS

MOST_TEXTS = 4096
"""Training texts that the axes are computed from, at most."""


def axes_of(context: Context) -> Tensor:
    """(width, width) the principal axes of the teacher's vectors of training texts, one a column: `vectors @ axes` has
    the same cosines as `vectors`."""

    def compute() -> dict[str, npt.NDArray[np.float32]]:
        texts = context.train.texts
        rows = np.random.default_rng(context.seed).permutation(len(texts))[:MOST_TEXTS]
        vectors = context.teacher.outputs([texts[row] for row in np.sort(rows)]).logits
        return {"axes": principal_axes(np.asarray(vectors, np.float64))}

    found = context.cache(f"principal-axes-{context.teacher.digest}", compute)["axes"]
    return torch.from_numpy(np.array(found))


def principal_axes(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(n, width) -> (width, width), the directions of the largest sum of squares first, one a column."""
    axes: npt.NDArray[np.float32] = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1].astype(np.float32)
    return axes


@torch.no_grad()
def turn(encoder: Encoder, axes: Tensor) -> None:
    """Let an encoder answer `vectors @ axes` in place of its vectors; a classifier of few bits gets new scales."""
    classifier = encoder.classifier
    axes = axes.to(classifier.weight.device)
    classifier.weight.copy_(axes.T @ classifier.weight)
    classifier.bias.copy_(classifier.bias @ axes)
    classifier.set_quantization(classifier.spec)


def nested_distance(student: Tensor, teacher: Tensor, cuts: Sequence[int]) -> Tensor:
    """The squared difference between the cosines of all texts of a batch with each other, from the first dimensions of
    the student's vectors alone and from all of the teacher's: the mean over the `cuts`; vectors (B, width)."""
    wanted = teacher @ teacher.T
    losses = []
    for cut in cuts:
        own = F.normalize(student[:, :cut], dim=1)
        losses.append(F.mse_loss(own @ own.T, wanted))
    return RELATIONS * torch.stack(losses).mean()
