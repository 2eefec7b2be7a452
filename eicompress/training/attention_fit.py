"""Makes a dynamic convolution as like as it can be to some heads of an attention, by least squares on states.

First `Locality` says which heads read most near each token; then `KernelFit` finds the weights of the convolution, and
`ValueFit` its values, given these weights. Each is shown what the attention is given, and then asked.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eicompress.encoder.blocks import SelfAttention
from eicompress.encoder.convolution import DynamicConvolution

LEAST = 1e-3
"""Added to shares of attention before their logarithm is taken: what is less is no matter."""
RIDGE = 1e-3
"""Added to second moments, as a share of their mean."""


class Locality:
    """How near the tokens are that each head reads."""

    def __init__(self, attention: SelfAttention, reach: int) -> None:
        self.attention, self.reach = attention, reach
        self._sum = torch.zeros(attention.heads, 2 * reach + 1, dtype=torch.float64)
        self._states = torch.zeros(attention.qkv.inputs, dtype=torch.float64)
        self._count = 0.0

    def add(self, states: Tensor, mask: Tensor, queries: int) -> None:
        """states (B, T, hidden), mask (B, T), and how many of the first tokens ask."""
        near = _windows(self.attention.attention_map(states, mask)[:, :, :queries], self.reach)
        asked = mask[:, :queries]
        self._sum += (near * asked[:, None, :, None]).sum(dim=(0, 2)).double()
        self._states += states[:, :queries][asked.bool()].double().sum(dim=0)
        self._count += float(asked.sum())

    @property
    def by_distance(self) -> Tensor:
        """(heads, kernel): the mean share of its attention that each head gives to each of the tokens around."""
        return self._sum / self._count

    @property
    def shares(self) -> Tensor:
        """(heads,): what it gives to all tokens at most `reach` away."""
        return self.by_distance.sum(dim=1)

    @property
    def mean(self) -> Tensor:
        """(hidden,): the mean of the states whose tokens ask."""
        return self._states / self._count


class KernelFit:
    """The weights of a convolution that stands for these heads, from the queries of the others."""

    def __init__(self, seen: Locality, convolution: DynamicConvolution, heads: Tensor) -> None:
        self.attention, self.convolution, self.heads = seen.attention, convolution, heads
        size = convolution.spans.outputs + 1
        self._products = torch.zeros(size, size, dtype=torch.float64)
        self._wanted = torch.zeros(size, convolution.kernels.outputs, dtype=torch.float64)
        _start(convolution, seen, heads)

    def add(self, states: Tensor, mask: Tensor, queries: int) -> None:
        """As `Locality.add`."""
        shares = self.attention.attention_map(states, mask)[:, self.heads, :queries]
        wanted = (_windows(shares, self.convolution.reach) + LEAST).log().transpose(1, 2).flatten(2)
        asked = _asked(self.attention, self.heads, states, mask, queries)
        features = self.convolution.features(states * mask[..., None], asked, mask)
        real = mask[:, :queries].bool()
        read = F.pad(features[real].double(), (0, 1), value=1.0)
        self._products += read.T @ read
        self._wanted += read.T @ wanted[real].double()

    @torch.no_grad()
    def solve(self) -> None:
        """Give the convolution the weights."""
        ridge = RIDGE * self._products.diagonal()[:-1].mean() * torch.eye(len(self._products), dtype=torch.float64)
        ridge[-1, -1] = 0  # the constant
        found = torch.linalg.solve(self._products + ridge, self._wanted)
        self.convolution.kernels.weight.copy_(found[:-1].T)
        self.convolution.kernels.bias.copy_(found[-1])


class ValueFit:
    """The values of a convolution that stands for these heads, given its weights."""

    def __init__(self, attention: SelfAttention, convolution: DynamicConvolution, heads: Tensor) -> None:
        self.attention, self.convolution, self.heads = attention, convolution, heads
        size = convolution.values.inputs + 1
        self._products = torch.zeros(len(heads), size, size, dtype=torch.float64)
        self._wanted = torch.zeros(len(heads), size, attention.head_size, dtype=torch.float64)
        self._square = 0.0

    def add(self, states: Tensor, mask: Tensor, queries: int) -> None:
        """As `Locality.add`."""
        shares = self.attention.attention_map(states, mask)[:, self.heads, :queries]
        said = (shares @ self.attention.projections(states, mask)[2][:, self.heads]).double()
        asked = _asked(self.attention, self.heads, states, mask, queries)
        read = F.pad(states, (0, 1), value=1.0) * mask[..., None]  # the one is what the bias is multiplied by
        weights = self.convolution.weights(read[..., :-1], asked, mask)
        real = mask[:, :queries].bool()
        for head in range(len(self.heads)):
            mixed = self.convolution.mixed(read, weights[:, :, head : head + 1])[real].double()
            self._products[head] += mixed.T @ mixed
            self._wanted[head] += mixed.T @ said[:, head][real]
        self._square += float(said.transpose(1, 2)[real].square().sum())

    @torch.no_grad()
    def solve(self) -> float:
        """Give the convolution the values; the share of what the heads said that it says."""
        before = _rows(self.attention, 2, self.heads).T.reshape(-1, len(self.heads), self.attention.head_size)
        before = before.transpose(0, 1)  # (heads, hidden + 1, head size)
        mean = self._products.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        ridge = RIDGE * mean * torch.eye(self._products.shape[1], dtype=torch.float64)
        found = torch.linalg.solve(self._products + ridge, self._wanted + ridge @ before)
        rows = found.transpose(1, 2).flatten(0, 1)
        self.convolution.values.weight.copy_(rows[:, :-1])
        self.convolution.values.bias.copy_(rows[:, -1])
        missed = (found * (self._products @ found - 2 * self._wanted)).sum() + self._square
        return 1 - float(missed) / max(self._square, 1e-30)


@torch.no_grad()
def _start(convolution: DynamicConvolution, seen: Locality, heads: Tensor) -> None:
    """Let the convolution read the tokens around as its heads do on average, and multiply each query by one and by what
    these states are beyond their mean, in the direction of the query's key."""
    keys = _rows(seen.attention, 1, others(seen.attention, heads))[:, :-1]
    keys = keys / keys.norm(dim=1, keepdim=True).clamp_min(1e-12)
    near = seen.by_distance[heads].mean(dim=0)
    convolution.depthwise.copy_((near / near.sum()).expand(convolution.depthwise.shape))
    convolution.spans.weight.copy_(keys)
    convolution.spans.bias.copy_(1 - keys @ seen.mean)


def others(attention: SelfAttention, heads: Tensor) -> Tensor:
    """The heads that are not among these."""
    every = torch.arange(attention.heads)
    return every[~torch.isin(every, heads)]


def _rows(attention: SelfAttention, third: int, heads: Tensor) -> Tensor:
    """(heads x head size, hidden + 1): of query, key or value, the weights of these heads, and their bias."""
    qkv = torch.cat([attention.qkv.weight, attention.qkv.bias[:, None]], dim=1).detach().double()
    return qkv.reshape(3, attention.heads, attention.head_size, -1)[third, heads].flatten(0, 1)


def _asked(attention: SelfAttention, heads: Tensor, states: Tensor, mask: Tensor, queries: int) -> Tensor:
    """(B, queries, width): the queries of all other heads."""
    asked = attention.unturned(states, mask)[0][:, others(attention, heads), :queries]
    return asked.transpose(1, 2).flatten(2)


def _windows(shares: Tensor, reach: int) -> Tensor:
    """Shares of attention (B, heads, queries, T) -> of the tokens around each one, (B, heads, queries, kernel)."""
    queries = shares.shape[2]
    places = torch.arange(queries)[:, None] + torch.arange(2 * reach + 1)
    return F.pad(shares, (reach, reach)).gather(3, places.expand(*shares.shape[:2], *places.shape))
