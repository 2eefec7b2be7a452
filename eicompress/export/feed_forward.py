"""Feed-forward blocks in a graph: the nodes of an expression.

`gelu` of a linear map that nothing else reads is one node with the map's bias.
"""

from collections.abc import Callable
from functools import partial

from eicompress.encoder.blocks import FeedForward
from eicompress.encoder.expression import LINEARS, Expression, evaluate
from eicompress.encoder.norms import LayerNorm, NoNorm
from eicompress.export.linear_layers import NODES, LinearLayers
from eicompress.export.norms import normed


def feed_forward(linears: LinearLayers, ffn: FeedForward, states: str) -> str:
    """states (batch, tokens, hidden) -> what all blocks add to them (batch, tokens, hidden)."""
    graph = linears.graph
    added = _block(linears, ffn, states)
    for block in ffn.blocks[1:]:
        added = graph.op("Add", added, _block(linears, block, graph.op("Add", states, added)))
    return added


def summed(linears: LinearLayers, ffn: FeedForward, states: str, alone: bool) -> str:
    """states (batch, tokens, hidden) -> the same with what all blocks add to them."""
    graph = linears.graph
    if not len(ffn.norms):
        return graph.op("Add", states, feed_forward(linears, ffn, states))
    *before, last = ffn.blocks
    for block, norm in zip(before, ffn.norms, strict=True):
        assert isinstance(norm, LayerNorm | NoNorm)
        states = normed(graph, norm, graph.op("Add", states, _block(linears, block, states)), alone)
    return graph.op("Add", states, _block(linears, last, states))


def _block(linears: LinearLayers, block: FeedForward, states: str) -> str:
    if block.gated:
        return linears.biased(block.output, linears.gated(block.input, states, block.activation))
    graph = linears.graph
    operations: dict[str, Callable[..., str]] = {
        name: partial(graph.op, kind, **attributes) for name, (kind, attributes) in NODES.items()
    }
    for name, linear in zip(LINEARS, (block.input, block.output), strict=True):
        operations[name] = partial(linears.biased, linear)
        operations[f"gelu of {name}"] = partial(linears.activated, linear, activation="gelu")
        operations[f"gelu_tanh of {name}"] = partial(linears.activated, linear, activation="gelu_tanh")
    return evaluate(_fused(block.expression, block.expression), states, operations)


def _fused(part: Expression, whole: Expression) -> Expression:
    """A part of an expression, with each `gelu` of a linear map that nothing else reads as one operation."""
    if part.operation in ("gelu", "gelu_tanh") and part.arguments[0].operation in LINEARS:
        (linear,) = part.arguments
        if sum(linear in each.arguments for each in {*whole.parts()}) == 1:
            return Expression(
                f"{part.operation} of {linear.operation}", tuple(_fused(each, whole) for each in linear.arguments)
            )
    return Expression(part.operation, tuple(_fused(each, whole) for each in part.arguments))
