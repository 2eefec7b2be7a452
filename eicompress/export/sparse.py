"""Matrices that are stored without their zeros.

Stored are a bit a weight, and the weights that are not zero, of all the matrices of a kind in one: where the zeros are
then changes no byte. The nodes that put the zeros back are folded by onnxruntime once, when the file is loaded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.graph import Graph, float_array
from eicompress.export.packing import packed_matrix

_NODES_BYTES = 1000
"""What the nodes take that put the zeros back."""


@dataclass(frozen=True)
class Span:
    """Where a matrix's weights begin among those of its kind, zeros and all."""

    values: str
    """The name of all weights of the kind, (n, 1)."""
    start: int


def expand_sparse(graph: Graph, linears: Iterable[Linear]) -> Mapping[Linear, Span]:
    """Write the nodes that put the zeros back, and say where the weights of each sparse matrix stand then.

    Kinds that would not get smaller are left as they are, if they can say zero.
    """
    kinds: dict[QuantSpec | None, list[Linear]] = {}
    for linear in linears:
        if linear.kept is not None and not (linear.spec and linear.spec.block):
            kinds.setdefault(linear.spec, []).append(linear)
    found: dict[Linear, Span] = {}
    for spec, alike in kinds.items():
        kept = np.concatenate([float_array(each.kept.T.flatten()) for each in alike if each.kept is not None])
        a_weight = 1 / spec.a_byte if spec else 2 if graph.half else 4
        smaller = len(kept) / 8 + kept.sum() * a_weight + _NODES_BYTES < len(kept) * a_weight
        if not smaller and not (spec and spec.step == 2):  # which has no zero of its own
            continue
        whole = [each.effective_weight() if spec is None else each.stored()[0] for each in alike]
        values = np.concatenate([float_array(each.T.flatten()) for each in whole])[kept]
        flat = graph.op("Gather", _with_zero_first(graph, values, spec), _places(graph, kept))
        start = 0
        for each in alike:
            found[each] = Span(flat, start)
            start += each.weight.numel()
    return found


def dense(graph: Graph, linear: Linear, span: Span) -> str:
    """A sparse matrix's weights (inputs, outputs), zeros and all."""
    ends = graph.integers(span.start), graph.integers(span.start + linear.weight.numel())
    part = graph.op("Slice", span.values, *ends)
    return graph.op("Reshape", part, graph.integers(linear.inputs, linear.outputs))


def _places(graph: Graph, kept: npt.NDArray[np.bool_]) -> str:
    """Of each weight (n,) its place among those that are kept, counted from one; zero for the others."""
    bits = np.pad(kept, (0, -len(kept) % 8)).reshape(8, -1)
    packed = graph.constant(np.packbits(bits, axis=0, bitorder="little"))
    shifts = graph.constant(np.arange(8, dtype=np.uint8)[:, None])
    mask = graph.op("BitwiseAnd", graph.op("BitShift", packed, shifts, direction="RIGHT"), graph.byte(1))
    mask = graph.op("Cast", graph.op("Reshape", mask, graph.integers(-1)), to=TensorProto.INT32)
    return graph.op("Mul", mask, graph.op("CumSum", mask, graph.constant(np.array(0, np.int32))))


def _with_zero_first(graph: Graph, values: npt.NDArray[np.float32], spec: QuantSpec | None) -> str:
    """A zero and these values, (1 + n, 1), as they stand in a matrix."""
    column = np.pad(values, (1, 0))[:, None]
    if spec is None:
        return graph.floats(column)
    if spec.bits == 8:
        return graph.constant((column - spec.lowest).astype(np.uint8))
    packed = graph.op("Cast", packed_matrix(graph, column[1:], spec), to=TensorProto.INT8)
    return graph.op("Concat", graph.constant(np.array([[-spec.lowest]], np.int8)), packed, axis=0)
