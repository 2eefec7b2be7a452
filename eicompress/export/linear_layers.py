"""Linear layers in a graph: the weights of every kind that the encoder has, and their products with the states.

- Signed weights run faster than unsigned ones, but on x86 without VNNI two products of a signed weight beyond
  +-64 overflow, so larger ones are stored unsigned.
- Query, key and value read one quantized copy of the states.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from eicompress.encoder.config import Activation
from eicompress.encoder.linear import AnyLinear, Grouped, Kronecker, Linear, LowRank, Matrix
from eicompress.export.graph import Graph, float_array
from eicompress.export.packing import packed_matrix
from eicompress.export.sparse import Span, dense

NODES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("FastGelu", {}),
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "elu": ("Elu", {"alpha": 1.0}),
    "silu": ("QuickGelu", {"alpha": 1.0}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "add": ("Add", {}),
    "mul": ("Mul", {}),
    "max": ("Max", {}),
}
"""Operators of an expression's operations, with their attributes."""
_SAFE_SIGNED = 64
"""Two products of an 8-bit activation and a weight up to here fit 16 bits: 2 * 255 * 64 < 2 ** 15."""


@dataclass(frozen=True)
class LinearLayers:
    """Writes products with linear layers into a graph."""

    graph: Graph
    sparse: Mapping[Linear, Span]
    """Where the weights of those matrices stand that are stored without their zeros."""

    def biased(self, linear: AnyLinear, states: str) -> str:
        """(..., inputs) -> (..., outputs), bias and all."""
        if isinstance(linear, Grouped):
            return self._grouped(self.biased, linear, states)
        linear, states = self.last_factor(linear, states)
        bias = self.graph.floats(linear.bias)
        if linear.spec is None or linear.spec.block:
            return self.graph.op("Add", self.product(linear, states), bias)
        return self.graph.op("DynamicQuantizeMatMul", states, *self._quantized(linear), bias)

    def activated(self, linear: AnyLinear, states: str, activation: Activation) -> str:
        """(..., inputs) -> (..., outputs), bias, activation and all."""
        if activation in ("gelu", "gelu_tanh"):
            kind = "BiasGelu" if activation == "gelu" else "FastGelu"
            return self.graph.op(kind, self.product(linear, states), self.graph.floats(linear.bias))
        return self._node(activation, self.biased(linear, states))

    def gated(self, linear: AnyLinear, states: str, activation: Activation) -> str:
        """(..., inputs) -> (..., outputs / 2): the activation of the first half times the second."""
        graph = self.graph
        inner, gates = graph.ops("Split", 2, self.biased(linear, states), axis=-1, num_outputs=2)
        return graph.op("Mul", self._node(activation, inner), gates)

    def _node(self, activation: Activation, states: str) -> str:
        kind, attributes = NODES[activation]
        return self.graph.op(kind, states, **attributes)

    def product(self, linear: AnyLinear, states: str) -> str:
        """(..., inputs) -> (..., outputs), without bias."""
        if isinstance(linear, Grouped):
            return self._grouped(self.product, linear, states)
        linear, states = self.last_factor(linear, states)
        if linear.spec is None:
            return self.graph.op("MatMul", states, self._weight(linear))
        if linear.spec.block:
            return self._blocks(linear, states)
        return self.graph.op("DynamicQuantizeMatMul", states, *self._quantized(linear))

    def _grouped(self, product: Callable[[Linear, str], str], grouped: Grouped, states: str) -> str:
        """(..., inputs) -> (..., outputs), the groups side by side."""
        graph, linears = self.graph, grouped.linears
        parts = graph.ops("Split", len(linears), states, axis=-1, num_outputs=len(linears))
        return graph.op("Concat", *map(product, linears, parts), axis=-1)

    def last_factor(self, linear: Matrix, states: str) -> tuple[Linear | Kronecker, str]:
        """A linear layer and what it reads; of two factors the outer one, which reads the inner one's product."""
        return (linear.outer, self.product(linear.inner, states)) if isinstance(linear, LowRank) else (linear, states)

    def split(self, linear: Linear | Kronecker, states: str, parts: int, *, alone: bool) -> list[str]:
        """Query, key and, of three parts, value, without bias: (batch, sequence, outputs / parts) each, or the query of
        the first token `alone`.
        """
        graph = self.graph
        if linear.spec is None:
            weights = graph.ops("Split", parts, self._weight(linear), axis=1, num_outputs=parts)
            read = [graph.first(states) if alone else states, *[states] * (parts - 1)]
            return [graph.op("MatMul", *each) for each in zip(read, weights, strict=True)]
        if linear.spec.block:
            read = [graph.first(states) if alone else states, *[states] * (parts - 1)]
            return [self._blocks(linear, each, (part, parts)) for part, each in enumerate(read)]
        codes, scale, zero = graph.ops("DynamicQuantizeLinear", 3, states)
        weight, weight_scale, weight_zero = self._quantized(linear)
        weights = graph.ops("Split", parts, weight, axis=1, num_outputs=parts)
        scales = graph.ops("Split", parts, weight_scale, axis=0, num_outputs=parts)
        read = [graph.first(codes) if alone else codes, *[codes] * (parts - 1)]
        return [
            graph.op("MatMulIntegerToFloat", each, part, scale, part_scale, zero, weight_zero)
            for each, part, part_scale in zip(read, weights, scales, strict=True)
        ]

    def _weight(self, linear: Linear | Kronecker) -> str:
        """(inputs, outputs) float."""
        if isinstance(linear, Kronecker):
            return self._kronecker(linear)
        if linear in self.sparse:
            return dense(self.graph, linear, self.sparse[linear])
        return self.graph.floats(linear.effective_weight().T)

    def _kronecker(self, linear: Kronecker) -> str:
        """(inputs, outputs): the sum of the products, which onnxruntime folds once, when the file is loaded."""
        graph = self.graph
        terms, outputs, inputs = linear.large.shape
        size = linear.small.shape[1]
        large = graph.floats(linear.large.permute(2, 1, 0).reshape(-1, terms))
        small = graph.floats(linear.small.transpose(1, 2).reshape(terms, -1))
        apart = graph.op("Reshape", graph.op("MatMul", large, small), graph.integers(inputs, outputs, size, size))
        whole = graph.op("Transpose", apart, perm=[0, 2, 1, 3])
        return graph.op("Reshape", whole, graph.integers(linear.inputs, linear.outputs))

    def _quantized(self, linear: Linear) -> tuple[str, str, str]:
        """A weight's integers (inputs, outputs), scales (outputs,) and zero point ()."""
        assert linear.spec is not None
        graph = self.graph
        stored, scales = linear.stored()
        codes, spec = float_array(stored.T), linear.spec
        if linear in self.sparse:
            weight, kind = dense(graph, linear, self.sparse[linear]), np.uint8 if spec.bits == 8 else np.int8
            zero = np.array(-spec.lowest, kind)
        elif spec.bits != 8:
            weight = graph.op("Cast", packed_matrix(graph, codes, spec), to=TensorProto.INT8)
            zero = np.array(-spec.lowest, np.int8)
        elif np.abs(codes).max() <= _SAFE_SIGNED:
            weight, zero = graph.constant(codes.astype(np.int8)), np.array(0, np.int8)
        else:
            weight, zero = graph.constant((codes + 128).astype(np.uint8)), np.array(128, np.uint8)
        return weight, graph.floats(scales.flatten()), graph.constant(zero)

    def _blocks(self, linear: Linear, states: str, part: tuple[int, int] = (0, 1)) -> str:
        """(..., inputs) -> (..., outputs), without bias, with a scale a block; or one of equal parts of the outputs."""
        assert linear.spec is not None
        codes, scales = (float_array(each) for each in linear.stored())
        number, parts = part
        codes, scales = np.split(codes, parts)[number], np.split(scales, parts)[number]
        outputs, inputs = codes.shape
        block = linear.spec.block
        assert linear.spec.bits == 4  # older versions of onnxruntime cannot run others
        whole = np.pad(codes, ((0, 0), (0, -inputs % block))).reshape(outputs, -1, block)
        digits = (whole - linear.spec.lowest).astype(np.uint8)
        weight = self.graph.constant(digits[..., ::2] | digits[..., 1::2] << np.uint8(4))
        factors = self.graph.floats(scales.flatten())
        return self.graph.op("MatMulNBits", states, weight, factors, K=inputs, N=outputs, bits=4, block_size=block)
