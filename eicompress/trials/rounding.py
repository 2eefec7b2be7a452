"""What the linear models of the simple baselines share: weights as integers, and how much of a model has room."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eicompress.export.ngrams import Bits
from eicompress.values import MEGABYTE

CLIPPED = {4: np.linspace(1.0, 0.4, 13), 8: np.ones(1)}
"""Shares of a row's largest weight that are tried as the largest one that can be said, by bits."""
SMALLEST = 1e-6
"""The least scale of a row that half precision can say well enough."""


def quantized(weights: npt.NDArray[np.float32], bits: Bits) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """Integers (rows, columns) and what to multiply each row by (rows,), of the least squared error."""
    highest = 2 ** (bits - 1) - 1
    largest = np.abs(weights).max(axis=1, keepdims=True)
    best, least = np.zeros_like(weights), np.full_like(largest, np.inf)
    scales = np.ones_like(largest)
    for share in CLIPPED[bits]:
        # Rounded as it is stored, and never to zero.
        scale = np.maximum(largest * share / highest, SMALLEST).astype(np.float16).astype(np.float32)
        integers = np.clip(np.round(weights / scale), -highest - 1, highest)
        error = np.square(integers * scale - weights).sum(axis=1, keepdims=True)
        better = error < least
        best, scales, least = (np.where(better, *each) for each in ((integers, best), (scale, scales), (error, least)))
    return best.astype(np.int8), scales[:, 0].astype(np.float16)


def most_with_room(most: int, size: Callable[[int], int], size_mb: float | None) -> int:
    """The largest count, up to `most`, whose `size` in bytes, which grows with it, is within the limit; 0 if none."""
    if size_mb is None or size(most) <= size_mb * MEGABYTE:
        return most
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if size(middle) <= size_mb * MEGABYTE else (least, middle)
    return least
