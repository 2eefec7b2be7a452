"""Layers that compute in another width than that of the states between them (MobileBERT, arXiv 2004.02984)."""

from torch import Tensor, nn

from eicompress.encoder.linear import Linear
from eicompress.encoder.norms import Norm


class NormedLinear(nn.Module):
    """A linear map with a norm after it."""

    def __init__(self, linear: Linear, norm: Norm) -> None:
        super().__init__()
        self.linear, self.norm = linear, norm

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, inputs) -> (B, T, outputs)"""
        normed: Tensor = self.norm(self.linear(states, mask))
        return normed


class Bottleneck(nn.Module):
    """The maps from the hidden width to that of a layer, and back; narrower or, inverted, wider."""

    def __init__(self, input: NormedLinear, output: Linear, norm: Norm) -> None:
        super().__init__()
        self.input, self.output, self.norm = input, output, norm

    def enter(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, hidden) -> (B, T, width)"""
        inner: Tensor = self.input(states, mask)
        return inner

    def leave(self, inner: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """What the layer made (B, T, width), and the states (B, T, hidden) that it is added to -> (B, T, hidden)."""
        normed: Tensor = self.norm(states + self.output(inner, mask))
        return normed
