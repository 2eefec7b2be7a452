"""From an `Encoder` to an ONNX graph, written directly out of the operators that run fastest on onnxruntime's CPU.

This file writes the layers and the head; `embedding` writes the tables, `linear_layers` the weights and their products,
`packing` the integers of a few bits, `sparse` the matrices that are stored without their zeros.

What is not obvious, with what it brought (docs/export.md has the figures):

- Layer normalization is `InstanceNormalization` over each token, then gain and bias: as fast as
  `SkipLayerNormalization` is in onnxruntime 1.22, and five times as fast as what became of it in 1.31.
- The last layer computes only the first token where nothing else is read.
"""

from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor

from eicompress.encoder.blocks import Layer, SelfAttention
from eicompress.encoder.bottleneck import Bottleneck, NormedLinear
from eicompress.encoder.embedding import Embedding
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.export.convolution import convolved
from eicompress.export.embedding import embedded, mean_of_tokens, pairs_of_tokens
from eicompress.export.feed_forward import feed_forward, summed
from eicompress.export.graph import Graph
from eicompress.export.linear_layers import LinearLayers
from eicompress.export.norms import normed
from eicompress.export.positions import added_to_scores, rotated
from eicompress.export.references import nearest_reference
from eicompress.export.sparse import expand_sparse


@dataclass(frozen=True)
class Begun:
    """A graph that has an encoder's embedding; layers and head come next."""

    linears: LinearLayers
    encoder: Encoder
    inputs: list[str]
    states: str
    """(batch, sequence, hidden): what the first layer reads."""
    bigrams: str | None
    """(batch, hidden): what pairs of tokens add to the pooled state."""
    references: str | None
    """(batch, vectors, hidden): what the first layer reads besides."""


def emit(encoder: Encoder, *, pairs: bool) -> ModelProto:
    """The graph of an encoder: `input_ids`, `attention_mask` and for pairs `token_type_ids` in, `logits` out."""
    graph = begin(encoder, pairs=pairs)
    states = graph.states
    for number in range(len(encoder.layers)):
        states = write_layer(graph, number, states)
    return graph.linears.graph.model(
        graph.inputs, write_head(graph, states), encoder.config.outputs, reads=encoder.config.reads
    )


def begin(encoder: Encoder, *, pairs: bool) -> Begun:
    """The beginning of an encoder's graph."""
    specs = [each.spec for each in encoder.modules() if isinstance(each, Linear | Embedding)]
    # Once some weights are integers, no float needs more than half precision.
    graph = Graph(half=any(spec is not None for spec in specs))
    graph.group = "layers"
    linears = LinearLayers(graph, expand_sparse(graph, (linear for _, linear in encoder.linears())))
    graph.group = "embedding"
    states = embedded(linears, encoder, pairs)
    bigrams = None if encoder.bigrams is None else pairs_of_tokens(linears, encoder.bigrams)
    references = None if encoder.references is None else nearest_reference(linears, encoder.words, encoder.references)
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if pairs else [])]
    return Begun(linears, encoder, inputs, states, bigrams, references)


def write_layer(begun: Begun, number: int, states: str) -> str:
    """What a layer makes of states (batch, sequence, hidden): the same shape, or (batch, 1, hidden) after the last."""
    encoder, layer = begun.encoder, begun.encoder.layers[number]
    assert isinstance(layer, Layer)
    begun.linears.graph.group = "layers"
    alone = number == len(encoder.layers) - 1 and encoder.config.first_alone
    more = begun.references if number == 0 else None
    return _layer(begun.linears, layer, states, encoder.config.positions, more, alone=alone)


def _layer(linears: LinearLayers, layer: Layer, states: str, positions: int, more: str | None, *, alone: bool) -> str:
    """states (batch, sequence, hidden) -> the same, or (batch, 1, hidden) for the first token alone.

    Keys and values are those of the tokens, and of `more` states (batch, count, hidden) if there are any.
    """
    if layer.bottleneck is not None:
        return _in_bottleneck(linears, layer, layer.bottleneck, states, positions, alone=alone)
    graph = linears.graph
    read = normed(graph, layer.attention_norm, states) if layer.norm_first else states
    if more is not None:
        attended = _attention_to_more(linears, layer.attention, read, more, alone=alone)
    else:
        attended = _attention(linears, layer.attention, read, positions, alone)
    states = graph.op("Add", graph.first(states) if alone else states, attended)
    if layer.norm_first:
        return graph.op("Add", states, feed_forward(linears, layer.ffn, normed(graph, layer.ffn_norm, states, alone)))
    return _fed_forward(linears, layer, states, alone)


def _fed_forward(linears: LinearLayers, layer: Layer, states: str, alone: bool) -> str:
    """The sums of states and attention, normalized -> the same with what the feed-forward blocks add, normalized."""
    states = normed(linears.graph, layer.attention_norm, states, alone)
    return normed(linears.graph, layer.ffn_norm, summed(linears, layer.ffn, states, alone), alone)


def _in_bottleneck(
    linears: LinearLayers, layer: Layer, bottleneck: Bottleneck, states: str, positions: int, *, alone: bool
) -> str:
    """As `_layer`, computed in another width."""
    graph, kept = linears.graph, linears.graph.first(states) if alone else states
    if layer.attention.reads_inner:
        read = _mapped(linears, bottleneck.input, states)
        inner = graph.first(read) if alone else read
    else:
        read, inner = states, _mapped(linears, bottleneck.input, kept, alone)
    attended = _attention(linears, layer.attention, read, positions, alone)
    inner = _fed_forward(linears, layer, graph.op("Add", inner, attended), alone)
    return normed(graph, bottleneck.norm, graph.op("Add", kept, linears.biased(bottleneck.output, inner)), alone)


def _mapped(linears: LinearLayers, part: NormedLinear, states: str, alone: bool = False) -> str:
    return normed(linears.graph, part.norm, linears.biased(part.linear, states), alone)


def _attention(linears: LinearLayers, attention: SelfAttention, states: str, positions: int, alone: bool) -> str:
    """states (batch, sequence, hidden) -> the same, or (batch, 1, hidden) for the first token alone.

    A sequence has at most as many tokens as there are `positions`.
    """
    graph = linears.graph
    read = states if attention.narrow is None else _mapped(linears, attention.narrow, states)
    linear, read = linears.last_factor(attention.qkv, read)
    qkv, biases = linears.split(linear, read, attention.parts, alone=alone), linear.bias
    said = _convolution(linears, attention, states, qkv[0], biases, alone=alone)
    if attention.value is not None:
        qkv = [*qkv, linears.product(attention.value, states)]
        biases = torch.cat([biases, attention.value.bias])
    if attention.rotary_base:
        qkv, bias = rotated(graph, attention, qkv, biases, positions, alone=alone), ""
    else:
        bias = graph.floats(biases)
    mask = graph.op("Cast", "attention_mask", to=TensorProto.INT32)
    scores = added_to_scores(graph, attention, positions, alone=alone)
    context = graph.op("MultiHeadAttention", *qkv, bias, mask, *scores, num_heads=attention.heads)
    return linears.biased(attention.output, graph.op("Concat", context, *said, axis=-1) if said else context)


def _attention_to_more(linears: LinearLayers, attention: SelfAttention, states: str, more: str, *, alone: bool) -> str:
    """As `_attention`, to `more` states (batch, count, hidden) too; of attention that knows no positions."""
    graph = linears.graph
    count = graph.op("Shape", more, start=1, end=2)
    linear, read = linears.last_factor(attention.qkv, graph.op("Concat", states, more, axis=1))
    query, *others = linears.split(linear, read, attention.parts, alone=alone)
    if not alone:
        length = graph.op("Shape", "input_ids", start=1, end=2)
        query = graph.op("Slice", query, graph.integers(0), length, graph.integers(1))
    one = graph.constant(np.array(1, np.int64))
    padded = graph.op("Pad", "attention_mask", graph.op("Concat", graph.integers(0, 0, 0), count, axis=0), one)
    mask = graph.op("Cast", padded, to=TensorProto.INT32)
    context = graph.op("MultiHeadAttention", query, *others, graph.floats(linear.bias), mask, num_heads=attention.heads)
    return linears.biased(attention.output, context)


def _convolution(
    linears: LinearLayers, attention: SelfAttention, states: str, queries: str, bias: Tensor, *, alone: bool
) -> list[str]:
    """What the heads of the convolution say, for queries without their bias, if there are any."""
    if attention.convolution is None:
        return []
    graph, width = linears.graph, attention.width
    if attention.rotary_base:  # its bias is stored in three parts
        stored = graph.floats(bias[:width])
    else:
        stored = graph.op("Slice", graph.floats(bias), graph.integers(0), graph.integers(width), graph.integers(0))
    queries = graph.op("Add", queries, stored)
    return [convolved(linears, attention.convolution, states, queries, attention.head_size, alone=alone)]


def write_head(begun: Begun, states: str) -> str:
    """The last layer's states (batch, tokens, hidden) -> logits (batch, outputs), (batch, tokens, outputs) where tokens
    are answered, or (batch, 1 + tokens, outputs) where the text is too; each then has outputs that are the other's."""
    linears, encoder, graph = begun.linears, begun.encoder, begun.linears.graph
    graph.group = "head"
    pooled = _read_by_head(begun, states)
    if encoder.pooler is not None:
        pooled = linears.activated(encoder.pooler, pooled, encoder.config.pooler_activation)
    if encoder.pooler_norm is not None:
        token = graph.op("Unsqueeze", pooled, graph.integers(1))
        pooled = graph.op("Squeeze", normed(graph, encoder.pooler_norm, token, alone=True), graph.integers(1))
    logits = linears.biased(encoder.classifier, pooled)
    return graph.op("LpNormalization", logits, axis=-1, p=2) if encoder.config.unit else logits


def _read_by_head(begun: Begun, states: str) -> str:
    """The last layer's states (batch, tokens, hidden) -> the pooled state (batch, hidden), the states, or both (batch,
    1 + tokens, hidden)."""
    graph, encoder = begun.linears.graph, begun.encoder
    if not encoder.config.per_word:
        return write_pooled(begun, states, encoder.config.pooling)
    normal = states if encoder.final_norm is None else normed(graph, encoder.final_norm, states)
    if encoder.config.reads == "words":
        return normal
    pooled = write_pooled(begun, states, encoder.config.pooling)
    return graph.op("Concat", graph.op("Unsqueeze", pooled, graph.integers(1)), normal, axis=1)


def write_pooled(begun: Begun, states: str, pooling: str) -> str:
    """A layer's states (batch, tokens, hidden) -> the pooled state (batch, hidden)."""
    graph, encoder = begun.linears.graph, begun.encoder
    if encoder.final_norm is not None:
        alone = pooling == "first"
        states = normed(graph, encoder.final_norm, graph.first(states) if alone else states, alone)
    if pooling == "first":
        pooled = graph.op("Gather", states, graph.constant(np.array(0, np.int64)), axis=1)
    else:
        pooled = mean_of_tokens(graph, states)
    return pooled if begun.bigrams is None else graph.op("Add", pooled, begun.bigrams)
