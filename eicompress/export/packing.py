"""Integers of a few bits: how they are packed into bytes, and the nodes that unpack them.

Weights of 4 bits are stored two in a byte, of 2 bits four, and ternary ones five. What unpacks a matrix is folded by
onnxruntime once, when the file is loaded: a quarter or less of half precision's bytes, with the speed of 8 bits.
"""

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from eicompress.encoder.quantization import QuantSpec
from eicompress.export.graph import Graph, Pick


def packed_matrix(graph: Graph, codes: npt.NDArray[np.float32], spec: QuantSpec) -> str:
    """Integers (rows, columns) of a spec, less its lowest one. A byte holds one of each part of the rows, to which
    some are added and cut off where they are no multiple.
    """
    rows, columns = codes.shape
    even = np.pad(codes, ((0, -rows % spec.a_byte), (0, 0)), constant_values=spec.highest)
    parts = _unpacked(graph, graph.constant(_packed(even, spec, axis=0)[None]), spec, trailing=2)
    whole = graph.op("Reshape", parts, graph.integers(-1, columns))
    if len(even) > rows:
        whole = graph.op("Slice", whole, graph.integers(0), graph.integers(rows), graph.integers(0))
    return whole


def packed_rows(graph: Graph, codes: npt.NDArray[np.float32], spec: QuantSpec, pick: Pick, leading: int) -> str:
    """Rows of a spec's integers as floats: packed in parts of a row, and unpacked once they are picked.

    Picked, a row stands at a place of `leading` dimensions.
    """
    size = codes.shape[1]
    even = np.pad(codes, ((0, 0), (0, -size % spec.a_byte)), constant_values=spec.highest)
    parts = _unpacked(graph, pick(graph.constant(_packed(even, spec, axis=1)[:, None])), spec, trailing=1)
    numbers = graph.op("Reshape", parts, graph.integers(*[0] * leading, -1))
    if even.shape[1] > size:
        numbers = graph.op("Slice", numbers, graph.integers(0), graph.integers(size), graph.integers(-1))
    numbers = graph.op("Cast", numbers, to=TensorProto.FLOAT)
    return graph.op("Add", numbers, graph.constant(np.array(spec.lowest, np.float32)))


def _unpacked(graph: Graph, packed: str, spec: QuantSpec, trailing: int) -> str:
    """Bytes (..., 1, `trailing` sizes) -> integers less the lowest one (..., weights a byte, `trailing` sizes)."""
    shape = (spec.a_byte, *[1] * trailing)
    if spec.bits == "ternary":
        powers = (3 ** np.arange(spec.a_byte, dtype=np.int32)).reshape(shape)
        whole = graph.op("Div", graph.op("Cast", packed, to=TensorProto.INT32), graph.constant(powers))
        return graph.op("Mod", whole, graph.constant(np.array(3, np.int32)))
    shifts = np.arange(0, 8, spec.bits, dtype=np.uint8).reshape(shape)
    digits = graph.op("BitShift", packed, graph.constant(shifts), direction="RIGHT")
    digits = graph.op("BitwiseAnd", digits, graph.byte(spec.levels - 1))
    if spec.step == 1:
        return digits
    return graph.op("BitShift", digits, graph.byte(1), direction="LEFT")


def _packed(codes: npt.NDArray[np.float32], spec: QuantSpec, axis: int) -> npt.NDArray[np.uint8]:
    """Integers of a spec as digits of bytes: the first part along the axis is the lowest digit."""
    digits = ((codes - spec.lowest) / spec.step).astype(np.uint8)
    parts = np.stack(np.split(digits, spec.a_byte, axis=axis))
    powers = (spec.levels ** np.arange(spec.a_byte)).astype(np.uint8).reshape(-1, 1, 1)
    packed: npt.NDArray[np.uint8] = (parts * powers).sum(axis=0, dtype=np.uint8)
    return packed
