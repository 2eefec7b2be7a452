"""How attention knows how far tokens are apart, in a graph.

`RotaryEmbedding` is five times as fast as the operators that it is made of. The angles' cosines and sines take no bytes
in the file: they are computed once, when it is loaded.
"""

from collections.abc import Sequence

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from eicompress.encoder.blocks import SelfAttention
from eicompress.encoder.positions import RelativePositionBias, bucket, frequencies
from eicompress.export.graph import Graph

_LOW = -10_000.0
"""What is added to a score of a key that is not read, as `MultiHeadAttention` does for padding."""


def rotated(
    graph: Graph, attention: SelfAttention, qkv: Sequence[str], bias: Tensor, positions: int, *, alone: bool
) -> list[str]:
    """Query, key and value (batch, tokens, width) with their bias (3 * width,), query and key rotated."""
    query, key, value = (
        graph.op("Add", each, graph.floats(part)) for each, part in zip(qkv, bias.chunk(3), strict=True)
    )
    angles = _angles(graph, attention, positions)
    # The first token stands at 0, and is not turned.
    return [query if alone else _turned(graph, query, angles), _turned(graph, key, angles), value]


def _angles(graph: Graph, attention: SelfAttention, positions: int) -> tuple[str, str]:
    """Cosines and sines (positions, head_size / 2)."""
    zero, count, one = (graph.constant(np.array(each, np.float32)) for each in (0, positions, 1))
    places = graph.op("Unsqueeze", graph.op("Range", zero, count, one), graph.integers(1))
    turns = graph.constant(frequencies(attention.head_size, attention.rotary_base).numpy())
    angles = graph.op("Mul", places, turns)
    return graph.op("Cos", angles), graph.op("Sin", angles)


def _turned(graph: Graph, vectors: str, angles: tuple[str, str]) -> str:
    return graph.op("RotaryEmbedding", vectors, graph.integers(0), *angles)


def added_to_scores(graph: Graph, attention: SelfAttention, positions: int, *, alone: bool) -> list[str]:
    """What is added to the scores of a key for its distance, (1, heads or 1, sequence, sequence), or (.., 1, sequence)
    for the first token `alone`; empty where nothing is."""
    bias, window = attention.position_bias, attention.window
    found = [] if bias is None else [_position_bias(graph, bias, positions, alone=alone)]
    if window and positions > window + 1:
        found.append(_window(graph, window, alone=alone))
    return found if len(found) < 2 else [graph.op("Add", *found)]


def _window(graph: Graph, window: int, *, alone: bool) -> str:
    """(1, 1, sequence, sequence): low where a key is more than `window` tokens away."""
    zero, one = (graph.constant(np.array(each, np.int64)) for each in (0, 1))
    length = graph.op("Squeeze", graph.op("Shape", "input_ids", start=1, end=2), graph.integers(0))
    places = graph.op("Range", zero, length, one)
    queries = graph.integers(0) if alone else graph.op("Unsqueeze", places, graph.integers(1))
    away = graph.op("Abs", graph.op("Sub", places, queries))
    far = graph.op("Cast", graph.op("Greater", away, graph.constant(np.array(window, np.int64))), to=TensorProto.FLOAT)
    added = graph.op("Mul", far, graph.constant(np.array(_LOW, np.float32)))
    return graph.op("Unsqueeze", added, graph.integers(0, 1, 2) if alone else graph.integers(0, 1))


def _position_bias(graph: Graph, bias: RelativePositionBias, positions: int, *, alone: bool) -> str:
    """The bias (1, heads, sequence, sequence), or (1, heads, 1, sequence) for the first token `alone`.

    The bias of every distance is put together once, when the file is loaded. A row of the matrix is the row before it
    moved by one, so rows are cut out of copies of one vector: a seventh of what it takes to gather them at 64 tokens.
    """
    distances = bucket(torch.arange(1 - positions, positions + 1)).numpy().astype(np.uint8)
    buckets = graph.op("Cast", graph.constant(distances), to=TensorProto.INT32)
    every = graph.op("Gather", graph.floats(bias.weight[:, :, None]), buckets, axis=3)  # (1, heads, 1, 2 * positions)
    length, last = graph.op("Shape", "input_ids", start=1, end=2), graph.integers(3)
    if alone:
        start = graph.integers(positions - 1)
        return graph.op("Slice", every, start, graph.op("Add", start, length), last)
    middle, back = graph.integers(positions), graph.op("Neg", length)
    read = graph.op("Slice", every, graph.op("Sub", middle, length), graph.op("Add", middle, length), last)
    copies = graph.op("Tile", read, graph.op("Concat", graph.integers(1, 1, 1), length, axis=0))
    whole = graph.op("Slice", copies, graph.integers(0), back, last)  # length * (2 * length - 1) numbers
    shape = graph.op("Concat", graph.integers(0, 0), length, graph.integers(-1), axis=0)
    rows = graph.op("Reshape", whole, shape)
    return graph.op("Slice", rows, back, graph.integers(np.iinfo(np.int64).max), last)
