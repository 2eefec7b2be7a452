"""Norms in a graph."""

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from torch import nn

from eicompress.encoder.norms import NoNorm, Norm
from eicompress.export.graph import Graph


def normed(graph: Graph, norm: Norm | nn.Identity, states: str, alone: bool = False) -> str:
    """Layer normalization: each token is an instance with a gain of one and a bias of zero, then our own."""
    if isinstance(norm, nn.Identity):
        return states
    if isinstance(norm, NoNorm):
        return _scaled(graph, norm, states)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    if alone:
        gain, bias = graph.constant(one), graph.constant(zero)
    else:
        length = graph.op("Shape", "input_ids", start=1, end=2)
        gain = graph.op("ConstantOfShape", length, value=_tensor(one))
        bias = graph.op("ConstantOfShape", length, value=_tensor(zero))
    normalized = graph.op("InstanceNormalization", states, gain, bias, epsilon=norm.eps)
    return _scaled(graph, norm, normalized)


def _scaled(graph: Graph, norm: Norm, states: str) -> str:
    return graph.op("Add", graph.op("Mul", states, graph.floats(norm.weight)), graph.floats(norm.bias))


def _tensor(values: npt.NDArray[np.float32]) -> TensorProto:
    return TensorProto(data_type=TensorProto.FLOAT, dims=values.shape, raw_data=values.tobytes())
