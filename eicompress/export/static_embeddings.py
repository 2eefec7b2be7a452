"""A linear classifier of the mean token embedding of a text, or of both texts of a pair, as an ONNX graph."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto

from eicompress.export.graph import Graph


@dataclass(frozen=True)
class StaticEmbeddings:
    """A table of token embeddings and the linear model of their mean, both in 8 bits."""

    codes: npt.NDArray[np.int8]
    """(tokens, size) integers."""
    scales: npt.NDArray[np.float16]
    """(size,) what a column's integers are multiplied by."""
    weights: npt.NDArray[np.int8]
    """(features, outputs) integers. The features are the mean, or of a pair both means, their distance and product."""
    weight_scales: npt.NDArray[np.float16]
    """(features,) what a row's integers are multiplied by."""
    bias: npt.NDArray[np.float32]
    """(outputs,)"""


def emit_static_embeddings(model: StaticEmbeddings, *, pairs: bool, unit: bool = False) -> ModelProto:
    """The graph: `input_ids`, `attention_mask` and for pairs of texts `token_type_ids` in, `logits` out, with `unit`
    divided by their length."""
    graph = Graph()
    rows = _floats(graph, graph.op("Gather", graph.constant(model.codes), "input_ids"))  # (batch, sequence, size)
    scales = _floats(graph, graph.constant(model.scales))
    if pairs:
        inside = graph.op("Mul", "attention_mask", "token_type_ids")
        first, second = (
            _mean(graph, rows, mask, scales) for mask in (graph.op("Sub", "attention_mask", inside), inside)
        )
        distance = graph.op("Abs", graph.op("Sub", first, second))
        features = graph.op("Concat", first, second, distance, graph.op("Mul", first, second), axis=1)
    else:
        features = _mean(graph, rows, "attention_mask", scales)
    graph.group = "head"
    scaled = graph.op("Mul", features, _floats(graph, graph.constant(model.weight_scales)))
    summed = graph.op("MatMul", scaled, _floats(graph, graph.constant(model.weights)))
    logits = graph.op("Add", summed, graph.constant(model.bias))
    if unit:
        logits = graph.op("LpNormalization", logits, axis=-1, p=2)
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if pairs else [])]
    return graph.model(inputs, logits, len(model.bias))


def _mean(graph: Graph, rows: str, mask: str, scales: str) -> str:
    """(batch, size) of the rows under the mask (batch, sequence); zero where there is none."""
    real = _floats(graph, mask)
    summed = graph.op("MatMul", graph.op("Unsqueeze", real, graph.integers(1)), rows)
    count = graph.op("ReduceSum", real, graph.integers(1), keepdims=1)
    count = graph.op("Max", count, graph.constant(np.array(1, np.float32)))
    return graph.op("Mul", graph.op("Div", graph.op("Squeeze", summed, graph.integers(1)), count), scales)


def _floats(graph: Graph, values: str) -> str:
    return graph.op("Cast", values, to=TensorProto.FLOAT)
