"""The layers of the encoder: attention and feed-forward blocks."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.encoder.bottleneck import Bottleneck, NormedLinear
from eicompress.encoder.config import Activation, LayerConfig
from eicompress.encoder.convolution import DynamicConvolution
from eicompress.encoder.expression import FUNCTIONS, evaluate, parsed, plain
from eicompress.encoder.linear import AnyLinear, Grouped, Linear, new_linear
from eicompress.encoder.norms import LayerNorm, NoNorm, Norm
from eicompress.encoder.positions import RelativePositionBias, near, rotated


def attention_map(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """softmax(Q Kᵀ / sqrt(d)); queries and keys (B, heads, T, d) -> (B, heads, T, T).

    A mask, which broadcasts to this shape, says which keys are read if it is bool, and is added to the scores if not.
    """
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    shares: Tensor = scores.softmax(dim=-1)
    return shares


class SelfAttention(nn.Module):
    """Multi-head self-attention (arXiv 1706.03762); query, key and value are one matrix, in this order.

    The heads of a convolution may stand beside it (ConvBERT, arXiv 2008.02496): the output reads its heads, then those.

    With `narrow` queries and keys read what it makes of the states, and values have a matrix of their own.
    """

    def __init__(
        self,
        hidden: int,
        shape: LayerConfig,
        position_bias: RelativePositionBias | None = None,
        narrow: NormedLinear | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.head_size = shape.heads, shape.head_size
        self.rotary_base, self.window, self.position_bias = shape.rotary_base, shape.window, position_bias
        convolution = shape.convolution
        self.bottleneck = None if shape.bottleneck is None else replace(shape.bottleneck, of=None)
        inner = hidden if self.bottleneck is None else self.bottleneck.width
        read = hidden if self.bottleneck is None or self.bottleneck.attention == "none" else inner
        width = shape.heads * shape.head_size
        self.narrow, self.value = narrow, None if narrow is None else Linear(hidden, width)
        self.parts = 3 if narrow is None else 2
        """How many of query, key and value are rows of `qkv`."""
        self.qkv = new_linear(read, self.parts * width, shape.ranks[0], shape.kroneckers[0])
        states = inner if self.reads_inner else hidden
        self.convolution = (
            None if convolution is None else DynamicConvolution(states, width, shape.head_size, convolution)
        )
        mixed = width + (convolution.heads * shape.head_size if convolution else 0)
        self.output = new_linear(mixed, inner, shape.ranks[1], shape.kroneckers[1])

    @property
    def width(self) -> int:
        """Of queries, keys and values."""
        return self.heads * self.head_size

    @property
    def all_heads(self) -> int:
        """Of the attention and of the convolution."""
        return self.heads + (0 if self.convolution is None else self.convolution.heads)

    def forward(self, states: Tensor, mask: Tensor, queries: int) -> Tensor:
        """states (B, T, hidden) -> (B, queries, hidden), for the first `queries` tokens; from a bottleneck in its
        width."""
        q, k, v = self.unturned(states, mask)
        asked = q[:, :, :queries].transpose(1, 2).flatten(2)
        q, k, v = self._turned(q, k, v)
        q = q[:, :, :queries]
        # Torch's CPU kernel goes back through attention six times slower in bfloat16 than in single precision.
        if q.device.type == "cpu" and q.dtype.itemsize < 4:
            q, k, v = q.float(), k.float(), v.float()
        with torch.autocast("cpu", enabled=False):
            context = F.scaled_dot_product_attention(q, k, v, attn_mask=self._score_mask(mask, queries, q.dtype))
        context = context.transpose(1, 2).flatten(2)
        if self.convolution is not None:
            context = torch.cat([context, self.convolution(states, asked, mask)], dim=-1)
        projected: Tensor = self.output(context, mask[:, :queries])
        return projected

    def projections(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """states (B, T, hidden) -> queries, keys and values, (B, heads, T, head_size) each, rotated if they are."""
        return self._turned(*self.unturned(states, mask))

    def unturned(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `projections`, not rotated."""
        read = states if self.narrow is None else self.narrow(states, mask)
        split = self.qkv(read, mask).reshape(*states.shape[:2], self.parts, self.heads, self.head_size)
        if self.value is not None:
            values = self.value(states, mask).reshape(*states.shape[:2], 1, self.heads, self.head_size)
            split = torch.cat([split, values], dim=2)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        return q, k, v

    def _turned(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (rotated(q, self.rotary_base), rotated(k, self.rotary_base), v) if self.rotary_base else (q, k, v)

    def attention_map(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, hidden) -> how much each head reads of each key, (B, heads, T, T): rows sum to one."""
        q, k, _ = self.projections(states, mask)
        return attention_map(q, k, self._score_mask(mask, states.shape[1], q.dtype))

    def _score_mask(self, mask: Tensor, queries: int, dtype: torch.dtype) -> Tensor:
        """What is added to the scores, (B, heads, queries, T); or only which keys are read, bool that broadcasts."""
        read = near(mask, queries, self.window) if self.window else mask[:, None, None, :].bool()
        if self.position_bias is None:
            return read
        bias: Tensor = self.position_bias(queries, mask.shape[1])
        return bias.masked_fill(~read, -torch.inf).to(dtype)

    def keep_heads(self, heads: Tensor) -> None:
        """Keep only these heads of the attention; the convolution then reads their queries alone."""
        each = torch.arange(self.head_size)
        kept = (heads[:, None] * self.head_size + each).flatten()
        width = self.width
        self.qkv.select(outputs=torch.cat([kept + part * width for part in range(self.parts)]))
        if self.value is not None:
            self.value.select(outputs=kept)
        self.output.select(inputs=torch.cat([kept, torch.arange(width, self.output.inputs)]))
        if self.convolution is not None:
            self.convolution.keep_queries(kept)
        if self.position_bias is not None:
            self.position_bias = self.position_bias.of_heads(heads)
        self.heads = len(heads)

    def replace_heads(self, heads: Tensor, convolution: DynamicConvolution) -> None:
        """Put the heads of a convolution in the place of these, where what reads these reads them."""
        every = torch.arange(self.heads)
        columns = every.repeat_interleave(self.head_size)
        replaced = [(columns == head).nonzero().flatten() for head in heads]
        self.output.select(inputs=torch.cat([torch.arange(self.width), *replaced]))
        self.keep_heads(every[~torch.isin(every, heads)])
        self.convolution = convolution

    @property
    def readers(self) -> list[AnyLinear]:
        """The matrices that read residual states."""
        if self.reads_inner:
            return []
        own: list[AnyLinear] = [self.qkv]
        if self.narrow is not None and self.value is not None:
            own = [self.narrow.linear, self.value]
        return own if self.convolution is None else [*own, self.convolution.values]

    def keep_hidden(self, dimensions: Tensor) -> None:
        """Keep only these residual dimensions of what the convolution's kernels are made from."""
        if self.convolution is not None and not self.reads_inner:
            self.convolution.keep_hidden(dimensions)

    @property
    def reads_inner(self) -> bool:
        """Whether all of it reads what a bottleneck's own map makes of the states."""
        return self.bottleneck is not None and self.bottleneck.attention == "all"


def activated(states: Tensor, activation: Activation) -> Tensor:
    """The activation function of each value."""
    return FUNCTIONS[activation](states)


class FeedForward(nn.Module):
    """Two linear layers in an expression: by default with an activation between them. If gated, there is no other: the
    earlier outputs of the first layer are activated and multiplied by the later ones (GLU, arXiv 2002.05202).

    Blocks in a row (MobileBERT, arXiv 2004.02984) are the first one and `more`: each reads the states with all that
    those before it have added, and adds to them. There may be `norms` of what the next one reads.
    """

    def __init__(
        self,
        hidden: int,
        shape: LayerConfig,
        activation: Activation,
        norms: Sequence[Norm] = (),
        *,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.gated = gated
        self.input: AnyLinear = new_linear(hidden, shape.ffn * (1 + gated), shape.ranks[2], shape.kroneckers[2])
        self.output: AnyLinear = new_linear(shape.ffn, hidden, shape.ranks[3], shape.kroneckers[3])
        if shape.ffn_groups > 1:
            self.input, self.output = (
                Grouped(each.inputs, each.outputs, shape.ffn_groups) for each in (self.input, self.output)
            )
        self.activation, self.written = activation, shape.expression
        self.expression = parsed(shape.expression or plain(activation))
        alone = replace(shape, ffn_blocks=1)
        self.more = nn.ModuleList(
            FeedForward(hidden, alone, activation, gated=gated) for _ in range(shape.ffn_blocks - 1)
        )
        self.norms = nn.ModuleList(norms)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, hidden) -> what is added to them (B, T, hidden), where no norms stand between blocks."""
        added: Tensor = self._added(states, mask)
        for block in self.more:
            added = added + block(states + added, mask)
        return added

    def summed(self, states: Tensor, mask: Tensor) -> Tensor:
        """states (B, T, hidden) -> the same with what all blocks add to them."""
        if not len(self.norms):
            return states + self.forward(states, mask)
        *before, last = self.blocks
        for block, norm in zip(before, self.norms, strict=True):
            states = norm(states + block._added(states, mask))
        return states + last._added(states, mask)

    def _added(self, states: Tensor, mask: Tensor) -> Tensor:
        """What this block alone adds."""
        if self.gated:
            inner, gates = self.input(states, mask).chunk(2, dim=-1)
            gated: Tensor = self.output(activated(inner, self.activation) * gates, mask)
            return gated
        linears = {"linear1": lambda read: self.input(read, mask), "linear2": lambda read: self.output(read, mask)}
        added: Tensor = evaluate(self.expression, states, {**FUNCTIONS, **linears})
        return added

    def use_activation(self, activation: Activation) -> None:
        """Compute this activation of this block's neurons, unless it has an expression of its own."""
        self.activation = activation
        if not self.written:
            self.expression = parsed(plain(activation))

    def compute(self, expression: str) -> None:
        """Compute this expression from here on, in every block; its text is kept as it is printed."""
        self.expression = parsed(expression)
        self.written = "" if str(self.expression) == plain(self.activation) else str(self.expression)
        for block in self.blocks[1:]:
            block.compute(expression)

    @property
    def blocks(self) -> "list[FeedForward]":
        """The first block and the others."""
        return [self, *(each for each in self.more if isinstance(each, FeedForward))]

    def keep_neurons(self, neurons: Tensor) -> None:
        """Keep only these neurons, of every block."""
        for block in self.blocks:
            outputs = torch.cat([neurons, neurons + block.output.inputs]) if block.gated else neurons
            block.input.select(outputs=outputs)
            block.output.select(inputs=neurons)


class Layer(nn.Module):
    """A transformer layer with normalization after each residual sum, as in BERT (arXiv 1810.04805), or with
    `norm_first` of what each block reads (arXiv 2002.04745).

    Its parts may be those of other layers too: they then share their weights (ALBERT, arXiv 1909.11942).
    """

    def __init__(
        self,
        attention: SelfAttention,
        ffn: FeedForward,
        attention_norm: Norm | nn.Identity,
        ffn_norm: Norm,
        bottleneck: Bottleneck | None = None,
        *,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention, self.ffn = attention, ffn
        self.attention_norm, self.ffn_norm = attention_norm, ffn_norm
        self.bottleneck = bottleneck

    def forward(self, states: Tensor, mask: Tensor, queries: int) -> Tensor:
        """states (B, T, hidden) -> (B, queries, hidden): only the first `queries` tokens go on."""
        read, kept, real = self.read(states, mask), states[:, :queries], mask[:, :queries]
        attended = self.attention(read, mask, queries)
        if self.norm_first:
            states = kept + attended
            summed: Tensor = states + self.ffn(self.ffn_norm(states), real)
            return summed
        inner = kept
        if self.bottleneck is not None:
            inner = read[:, :queries] if self.attention.reads_inner else self.bottleneck.enter(kept, real)
        normed: Tensor = self.ffn_norm(self.ffn.summed(self.attention_norm(inner + attended), real))
        return normed if self.bottleneck is None else self.bottleneck.leave(normed, kept, real)

    def read(self, states: Tensor, mask: Tensor) -> Tensor:
        """What attention reads of states (B, T, hidden)."""
        if self.bottleneck is not None and self.attention.reads_inner:
            return self.bottleneck.enter(states, mask)
        normed: Tensor = self.attention_norm(states) if self.norm_first else states
        return normed

    @property
    def readers(self) -> list[AnyLinear]:
        """The matrices that read residual states."""
        if self.bottleneck is not None:
            return [self.bottleneck.input.linear, *self.attention.readers]
        return [*self.attention.readers, *(each.input for each in self.ffn.blocks)]

    @property
    def writers(self) -> list[AnyLinear]:
        """The matrices whose outputs are added to residual states."""
        if self.bottleneck is not None:
            return [self.bottleneck.output]
        return [self.attention.output, *(each.output for each in self.ffn.blocks)]

    @property
    def residual_norms(self) -> list[Norm]:
        """The norms of residual states."""
        if self.bottleneck is not None:
            return [self.bottleneck.norm]
        every = [*self.ffn.norms, self.attention_norm, self.ffn_norm]
        return [each for each in every if isinstance(each, LayerNorm | NoNorm)]

    def with_parts(self, **parts: nn.Module) -> "Layer":
        """Another layer, of the same parts but for these."""
        names = ("attention", "ffn", "attention_norm", "ffn_norm", "bottleneck")
        return Layer(**{name: parts.get(name, getattr(self, name)) for name in names}, norm_first=self.norm_first)
