"""What attention adds to its scores, in a graph."""

import numpy as np
import torch
from onnx import TensorProto

from eicompress.encoder.positions import RelativePositionBias, bucket
from eicompress.export.graph import Graph


def position_bias(graph: Graph, bias: RelativePositionBias, positions: int, *, alone: bool) -> str:
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
