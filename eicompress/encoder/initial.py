"""Weights of new layers, before anything is learned."""

from torch import Tensor, nn


def draw_(weight: Tensor, std: float) -> None:
    """Fill a weight from a normal distribution, in place.

    One on the meta device has no numbers, and torch would import its compiler to draw none, which takes seconds.
    """
    if not weight.is_meta:
        nn.init.normal_(weight, std=std)
