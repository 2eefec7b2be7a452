"""A dynamic convolution in a graph, of the operators that run it fastest (docs/export.md has the figures)."""

from onnx import TensorProto

from eicompress.encoder.convolution import DynamicConvolution
from eicompress.export.graph import Graph
from eicompress.export.linear_layers import LinearLayers


def convolved(
    linears: LinearLayers, convolution: DynamicConvolution, states: str, queries: str, head_size: int, *, alone: bool
) -> str:
    """states (batch, sequence, hidden) and queries (batch, sequence, width) -> what the heads say (batch, sequence,
    heads x head_size); of the first token `alone`, for its query (batch, 1, width), (batch, 1, heads x head_size)."""
    graph, zero, last = linears.graph, linears.graph.integers(0), linears.graph.integers(3)
    mask = graph.op("Unsqueeze", graph.op("Cast", "attention_mask", to=TensorProto.FLOAT), graph.integers(2))
    if alone:
        near = graph.integers(1 + convolution.reach)
        states, mask = (graph.op("Slice", each, zero, near, graph.integers(1)) for each in (states, mask))
    read = graph.op("Mul", states, mask)
    values = graph.op("Mul", linears.biased(convolution.values, read), mask)
    spans = _depthwise(graph, convolution, read)
    spans = linears.biased(convolution.spans, graph.first(spans) if alone else spans)
    scores = linears.biased(convolution.kernels, graph.op("Mul", spans, queries))
    scores = graph.op("Reshape", scores, graph.integers(0, 0, convolution.heads, convolution.kernel))
    weights = graph.op("Transpose", graph.op("Softmax", scores, axis=3), perm=[0, 2, 1, 3])
    length = graph.op("Shape", values, start=1, end=2)
    band = weights if alone else _shifted(graph, weights, length)
    reach = graph.integers(convolution.reach)
    band = graph.op("Slice", band, reach, graph.op("Add", length, reach), last)
    split = graph.op("Reshape", values, graph.integers(0, 0, convolution.heads, head_size))
    mixed = graph.op("MatMul", band, graph.op("Transpose", split, perm=[0, 2, 1, 3]))
    return graph.op("Reshape", graph.op("Transpose", mixed, perm=[0, 2, 1, 3]), graph.integers(0, 0, -1))


def _depthwise(graph: Graph, convolution: DynamicConvolution, read: str) -> str:
    """(batch, sequence, hidden) -> the same. A picture one column wide takes half the time of a row, or less."""
    picture = graph.op("Unsqueeze", graph.op("Transpose", read, perm=[0, 2, 1]), graph.integers(3))
    kernel, reach = convolution.depthwise, convolution.reach
    weights = graph.floats(kernel.unsqueeze(3))
    done = graph.op("Conv", picture, weights, group=len(kernel), pads=[reach, 0, reach, 0])
    return graph.op("Transpose", graph.op("Squeeze", done, graph.integers(3)), perm=[0, 2, 1])


def _shifted(graph: Graph, weights: str, length: str) -> str:
    """(batch, heads, sequence, kernel) -> (batch, heads, sequence, sequence + kernel - 1): each row begins a column
    after the one before it, with zeros around.

    Rows of `kernel` weights and `length` zeros are put in a row, and cut anew one shorter.
    """
    pads = graph.op("Concat", graph.integers(*[0] * 7), length, axis=0)
    rows = graph.op("Reshape", graph.op("Pad", weights, pads), graph.integers(0, 0, -1))
    cut = graph.op("Slice", rows, graph.integers(0), graph.op("Neg", length), graph.integers(2))
    return graph.op("Reshape", cut, graph.op("Concat", graph.integers(0, 0), length, graph.integers(-1), axis=0))
