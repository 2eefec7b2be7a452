"""From an `Encoder` to an ONNX graph, written directly out of the operators that run fastest on onnxruntime's CPU.

What is not obvious, with what it brought (docs/export.md has the figures):

- Layer normalization is `InstanceNormalization` over each token, then gain and bias: as fast as
  `SkipLayerNormalization` is in onnxruntime 1.22, and five times as fast as what became of it in 1.31.
- Weights of 4 bits are stored two in a byte, of 2 bits four, and ternary ones five. They are unpacked by nodes that
  onnxruntime folds once, when the file is loaded: a quarter or less of half precision's bytes, with the speed of
  8 bits.
- Signed weights run faster than unsigned ones, but on x86 without VNNI two products of a signed weight beyond
  +-64 overflow, so larger ones are stored unsigned.
- Query, key and value read one quantized copy of the states, and the last layer computes only the first token
  where nothing else is read.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto
from torch import Tensor

from eicompress.encoder.blocks import FeedForward, Layer, LayerNorm, SelfAttention
from eicompress.encoder.config import Activation
from eicompress.encoder.embedding import BigramEmbedding, CodebookEmbedding, Embedding
from eicompress.encoder.linear import AnyLinear, Kronecker, Linear, LowRank
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.graph import Graph

_SPARSE_NODES = 1000
"""Bytes that the nodes take which put zeros back."""
_SAFE_SIGNED = 64
"""Two products of an 8-bit activation and a weight up to here fit 16 bits: 2 * 255 * 64 < 2 ** 15."""


def emit(encoder: Encoder, *, pairs: bool) -> ModelProto:
    """The graph of an encoder: `input_ids`, `attention_mask` and for pairs `token_type_ids` in, `logits` out."""
    graph = _EncoderGraph(encoder)
    graph.group = "layers"
    graph.expand_sparse(encoder)
    graph.group = "embedding"
    states = graph.embedding(encoder, pairs)
    bigrams = None if encoder.bigrams is None else graph.bigrams(encoder.bigrams)
    graph.group = "layers"
    for number, layer in enumerate(encoder.layers):
        assert isinstance(layer, Layer)
        last = number == len(encoder.layers) - 1
        states = graph.layer(layer, states, alone=last and encoder.config.pooling == "first")
    graph.group = "head"
    logits = graph.head(encoder, states, bigrams)
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if pairs else [])]
    return graph.model(inputs, logits, encoder.config.outputs)


class _EncoderGraph(Graph):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        specs = [each.spec for each in encoder.modules() if isinstance(each, Linear | Embedding)]
        self.half = any(spec is not None for spec in specs)
        """Whether floats are stored in half precision: once some weights are integers, nothing else needs more."""
        self.sparse: dict[Linear, tuple[str, int]] = {}
        """Where the weights of a matrix stand that is stored without its zeros: see `expand_sparse`."""

    def expand_sparse(self, encoder: Encoder) -> None:
        """Write the nodes that put the zeros back into all sparse matrices of a kind, as onnxruntime does at load.

        Stored are a bit a weight, and the weights that are not zero, of all the matrices in one: where the zeros are
        then changes no byte. Kinds that would not get smaller are left as they are, if they can say zero.
        """
        kinds: dict[QuantSpec | None, list[Linear]] = {}
        for _, linear in encoder.linears():
            if linear.kept is not None and not (linear.spec and linear.spec.block):
                kinds.setdefault(linear.spec, []).append(linear)
        for spec, linears in kinds.items():
            kept = np.concatenate([_array(each.kept.T.flatten()) for each in linears if each.kept is not None])
            a_weight = 1 / spec.a_byte if spec else 2 if self.half else 4
            smaller = len(kept) / 8 + kept.sum() * a_weight + _SPARSE_NODES < len(kept) * a_weight
            if not smaller and not (spec and spec.step == 2):  # which has no zero of its own
                continue
            whole = [each.effective_weight() if spec is None else each.stored()[0] for each in linears]
            values = np.concatenate([_array(each.T.flatten()) for each in whole])[kept]
            flat = self.op("Gather", self.with_zero_first(values, spec), self.places(kept))
            start = 0
            for each in linears:
                self.sparse[each] = flat, start
                start += each.weight.numel()

    def places(self, kept: npt.NDArray[np.bool_]) -> str:
        """Of each weight (n,) its place among those that are kept, counted from one; zero for the others."""
        bits = np.pad(kept, (0, -len(kept) % 8)).reshape(8, -1)
        packed = self.constant(np.packbits(bits, axis=0, bitorder="little"))
        shifts = self.constant(np.arange(8, dtype=np.uint8)[:, None])
        mask = self.op("BitwiseAnd", self.op("BitShift", packed, shifts, direction="RIGHT"), self.bytes(1))
        mask = self.op("Cast", self.op("Reshape", mask, self.integers(-1)), to=TensorProto.INT32)
        return self.op("Mul", mask, self.op("CumSum", mask, self.constant(np.array(0, np.int32))))

    def with_zero_first(self, values: npt.NDArray[np.float32], spec: QuantSpec | None) -> str:
        """A zero and these values, (1 + n, 1), as they stand in a matrix."""
        column = np.pad(values, (1, 0))[:, None]
        if spec is None:
            return self.floats(column)
        if spec.bits == 8:
            return self.constant((column - spec.lowest).astype(np.uint8))
        packed = self.op("Cast", self.packed_matrix(column[1:], spec), to=TensorProto.INT8)
        return self.op("Concat", self.constant(np.array([[-spec.lowest]], np.int8)), packed, axis=0)

    def dense(self, linear: Linear) -> str:
        """A sparse matrix's weights (inputs, outputs), zeros and all."""
        flat, start = self.sparse[linear]
        part = self.op("Slice", flat, self.integers(start), self.integers(start + linear.weight.numel()))
        return self.op("Reshape", part, self.integers(linear.inputs, linear.outputs))

    def embedding(self, encoder: Encoder, pairs: bool) -> str:
        """The states (batch, sequence, hidden) that the first layer reads."""
        states = self.words(encoder.words)
        if encoder.projection is not None and encoder.config.projection == "words":
            states = self.biased(encoder.projection, states)
        places = self.rows(encoder.positions, lambda table: table, picked=False)
        length = self.op("Shape", "input_ids", start=1, end=2)
        if encoder.token_types is not None and pairs:
            types = self.rows(encoder.token_types, lambda table: self.op("Gather", table, "token_type_ids"))
            states = self.op("Add", states, types)
        elif encoder.token_types is not None:
            places = self.op("Add", places, self.floats(encoder.token_types.weight[0]))
        places = self.op("Slice", places, self.integers(0), length, self.integers(0))
        states = self.norm(encoder.embedding_norm, self.op("Add", states, places))
        if encoder.projection is not None and encoder.config.projection == "embeddings":
            states = self.biased(encoder.projection, states)
        return states

    def words(self, table: Embedding | CodebookEmbedding) -> str:
        """The vectors (batch, sequence, embedding) of the words."""

        def read(stored: str) -> str:
            return self.op("Gather", stored, "input_ids")

        if isinstance(table, Embedding):
            return self.rows(table, read)
        codes = self.op("Cast", read(self.constant(table.codes.cpu().numpy())), to=TensorProto.INT32)
        if table.books > 1:
            codes = self.op("Add", codes, self.constant(table.first_entries.cpu().numpy().astype(np.int32)))
        pieces = self.floats(table.book, lambda book: self.op("Gather", book, codes))
        vectors = self.op("Reshape", pieces, self.integers(0, 0, -1))
        if table.codes.shape[1] * table.book.shape[1] > table.size:
            vectors = self.op("Slice", vectors, self.integers(0), self.integers(table.size), self.integers(-1))
        return self.op("Mul", vectors, self.floats(table.scales, read))

    def bigrams(self, bigrams: BigramEmbedding) -> str:
        """What pairs of tokens add to the pooled state (batch, hidden)."""
        earlier = self.op("Pad", "input_ids", self.integers(0, 1, 0, -1))
        hashed = self.op("Add", self.op("Mul", earlier, self.integers(bigrams.multiplier)), "input_ids")
        buckets = self.op("Mod", hashed, self.integers(len(bigrams.table.weight)))
        vectors = self.rows(bigrams.table, lambda table: self.op("Gather", table, buckets))
        return self.product(bigrams.output, self.mean(vectors))

    def layer(self, layer: Layer, states: str, *, alone: bool) -> str:
        """states (batch, sequence, hidden) -> the same, or (batch, 1, hidden) for the first token alone."""
        attended = self.attention(layer.attention, states, alone)
        states = self.first(states) if alone else states
        states = self.norm(layer.attention_norm, self.op("Add", states, attended), alone)
        changed = self.op("Add", states, self.ffn(layer.ffn, states))
        return self.norm(layer.ffn_norm, changed, alone)

    def attention(self, attention: SelfAttention, states: str, alone: bool) -> str:
        linear, states = self.last_factor(attention.qkv, states)
        if linear.spec is None:
            weights = self.ops("Split", 3, self.weight(linear), axis=1, num_outputs=3)
            read = [self.first(states) if alone else states, states, states]
            qkv = [self.op("MatMul", *each) for each in zip(read, weights, strict=True)]
        elif linear.spec.block:
            read = [self.first(states) if alone else states, states, states]
            qkv = [self.blocks(linear, each, third) for third, each in enumerate(read)]
        else:
            qkv = self.quantized_qkv(linear, states, alone)
        bias = self.floats(linear.bias)
        mask = self.op("Cast", "attention_mask", to=TensorProto.INT32)
        context = self.op("MultiHeadAttention", *qkv, bias, mask, num_heads=attention.heads)
        return self.biased(attention.output, context)

    def quantized_qkv(self, linear: Linear, states: str, alone: bool) -> list[str]:
        """Query, key and value out of one quantized copy of the states."""
        codes, scale, zero = self.ops("DynamicQuantizeLinear", 3, states)
        weight, weight_scale, weight_zero = self.quantized(linear)
        weights = self.ops("Split", 3, weight, axis=1, num_outputs=3)
        scales = self.ops("Split", 3, weight_scale, axis=0, num_outputs=3)
        read = [self.first(codes) if alone else codes, codes, codes]
        return [
            self.op("MatMulIntegerToFloat", each, part, scale, part_scale, zero, weight_zero)
            for each, part, part_scale in zip(read, weights, scales, strict=True)
        ]

    def ffn(self, ffn: FeedForward, states: str) -> str:
        return self.biased(ffn.output, self.activated(ffn.input, states, ffn.activation))

    def activated(self, linear: AnyLinear, states: str, activation: Activation) -> str:
        """(..., inputs) -> (..., outputs), bias, activation and all."""
        if activation in ("gelu", "gelu_tanh"):
            kind = "BiasGelu" if activation == "gelu" else "FastGelu"
            return self.op(kind, self.product(linear, states), self.floats(linear.bias))
        return self.op("Tanh" if activation == "tanh" else "Relu", self.biased(linear, states))

    def head(self, encoder: Encoder, states: str, bigrams: str | None) -> str:
        """states (batch, tokens, hidden), and what pairs of tokens add (batch, hidden) -> logits (batch, outputs)."""
        if encoder.config.pooling == "first":
            pooled = self.op("Gather", states, self.constant(np.array(0, np.int64)), axis=1)
        else:
            pooled = self.mean(states)
        if bigrams is not None:
            pooled = self.op("Add", pooled, bigrams)
        if encoder.pooler is not None:
            pooled = self.activated(encoder.pooler, pooled, encoder.config.pooler_activation)
        return self.biased(encoder.classifier, pooled)

    def mean(self, states: str) -> str:
        """states (batch, sequence, hidden) -> their mean over the real tokens (batch, hidden)."""
        mask = self.op("Cast", "attention_mask", to=TensorProto.FLOAT)
        count = self.op("ReduceSum", mask, self.integers(1))
        shares = self.op("Div", mask, self.op("Max", count, self.constant(np.array(1.0, np.float32))))
        mean = self.op("MatMul", self.op("Unsqueeze", shares, self.integers(1)), states)
        return self.op("Squeeze", mean, self.integers(1))

    def first(self, states: str) -> str:
        """(batch, sequence, size) -> (batch, 1, size)."""
        return self.op("Slice", states, self.integers(0), self.integers(1), self.integers(1))

    def norm(self, norm: LayerNorm, states: str, alone: bool = False) -> str:
        """Layer normalization: each token is an instance with a gain of one and a bias of zero, then our own."""
        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        if alone:
            gain, bias = self.constant(one), self.constant(zero)
        else:
            length = self.op("Shape", "input_ids", start=1, end=2)
            gain = self.op("ConstantOfShape", length, value=_tensor(one))
            bias = self.op("ConstantOfShape", length, value=_tensor(zero))
        normed = self.op("InstanceNormalization", states, gain, bias, epsilon=norm.eps)
        return self.op("Add", self.op("Mul", normed, self.floats(norm.weight)), self.floats(norm.bias))

    def last_factor(self, linear: AnyLinear, states: str) -> tuple[Linear | Kronecker, str]:
        """A linear layer and what it reads; of two factors the outer one, which reads the inner one's product."""
        return (linear.outer, self.product(linear.inner, states)) if isinstance(linear, LowRank) else (linear, states)

    def biased(self, linear: AnyLinear, states: str) -> str:
        """(..., inputs) -> (..., outputs), bias and all."""
        linear, states = self.last_factor(linear, states)
        bias = self.floats(linear.bias)
        if linear.spec is None or linear.spec.block:
            return self.op("Add", self.product(linear, states), bias)
        return self.op("DynamicQuantizeMatMul", states, *self.quantized(linear), bias)

    def product(self, linear: AnyLinear, states: str) -> str:
        """(..., inputs) -> (..., outputs), without bias."""
        linear, states = self.last_factor(linear, states)
        if linear.spec is None:
            return self.op("MatMul", states, self.weight(linear))
        if linear.spec.block:
            return self.blocks(linear, states)
        return self.op("DynamicQuantizeMatMul", states, *self.quantized(linear))

    def weight(self, linear: Linear | Kronecker) -> str:
        """(inputs, outputs) float."""
        if isinstance(linear, Kronecker):
            return self.kronecker(linear)
        return self.dense(linear) if linear in self.sparse else self.floats(linear.effective_weight().T)

    def kronecker(self, linear: Kronecker) -> str:
        """(inputs, outputs): the sum of the products, which onnxruntime folds once, when the file is loaded."""
        terms, outputs, inputs = linear.large.shape
        size = linear.small.shape[1]
        large = self.floats(linear.large.permute(2, 1, 0).reshape(-1, terms))
        small = self.floats(linear.small.transpose(1, 2).reshape(terms, -1))
        apart = self.op("Reshape", self.op("MatMul", large, small), self.integers(inputs, outputs, size, size))
        whole = self.op("Transpose", apart, perm=[0, 2, 1, 3])
        return self.op("Reshape", whole, self.integers(linear.inputs, linear.outputs))

    def quantized(self, linear: Linear) -> tuple[str, str, str]:
        """A weight's integers (inputs, outputs), scales (outputs,) and zero point ()."""
        assert linear.spec is not None
        stored, scales = linear.stored()
        codes, spec = _array(stored.T), linear.spec
        if linear in self.sparse:
            weight, kind = self.dense(linear), np.uint8 if spec.bits == 8 else np.int8
            zero = np.array(-spec.lowest, kind)
        elif spec.bits != 8:
            weight = self.op("Cast", self.packed_matrix(codes, spec), to=TensorProto.INT8)
            zero = np.array(-spec.lowest, np.int8)
        elif np.abs(codes).max() <= _SAFE_SIGNED:
            weight, zero = self.constant(codes.astype(np.int8)), np.array(0, np.int8)
        else:
            weight, zero = self.constant((codes + 128).astype(np.uint8)), np.array(128, np.uint8)
        return weight, self.floats(scales.flatten()), self.constant(zero)

    def packed_matrix(self, codes: npt.NDArray[np.float32], spec: QuantSpec) -> str:
        """Integers (rows, columns) of a spec, less its lowest one. A byte holds one of each part of the rows, to which
        some are added and cut off where they are no multiple.
        """
        rows, columns = codes.shape
        even = np.pad(codes, ((0, -rows % spec.a_byte), (0, 0)), constant_values=spec.highest)
        parts = self.unpacked(self.constant(_packed(even, spec, axis=0)[None]), spec, trailing=2)
        whole = self.op("Reshape", parts, self.integers(-1, columns))
        if len(even) > rows:
            whole = self.op("Slice", whole, self.integers(0), self.integers(rows), self.integers(0))
        return whole

    def unpacked(self, packed: str, spec: QuantSpec, trailing: int) -> str:
        """Bytes (..., 1, `trailing` sizes) -> integers less the lowest one (..., weights a byte, `trailing` sizes)."""
        shape = (spec.a_byte, *[1] * trailing)
        if spec.bits == "ternary":
            powers = (3 ** np.arange(spec.a_byte, dtype=np.int32)).reshape(shape)
            whole = self.op("Div", self.op("Cast", packed, to=TensorProto.INT32), self.constant(powers))
            return self.op("Mod", whole, self.constant(np.array(3, np.int32)))
        shifts = np.arange(0, 8, spec.bits, dtype=np.uint8).reshape(shape)
        digits = self.op("BitShift", packed, self.constant(shifts), direction="RIGHT")
        digits = self.op("BitwiseAnd", digits, self.bytes(spec.levels - 1))
        if spec.step == 1:
            return digits
        return self.op("BitShift", digits, self.bytes(1), direction="LEFT")

    def blocks(self, linear: Linear, states: str, third: int | None = None) -> str:
        """(..., inputs) -> (..., outputs), without bias, with a scale a block; or a third of the outputs."""
        assert linear.spec is not None
        codes, scales = (_array(each) for each in linear.stored())
        if third is not None:
            codes, scales = np.split(codes, 3)[third], np.split(scales, 3)[third]
        outputs, inputs = codes.shape
        block = linear.spec.block
        assert linear.spec.bits == 4  # older versions of onnxruntime cannot run others
        whole = np.pad(codes, ((0, 0), (0, -inputs % block))).reshape(outputs, -1, block)
        digits = (whole - linear.spec.lowest).astype(np.uint8)
        weight = self.constant(digits[..., ::2] | digits[..., 1::2] << np.uint8(4))
        factors = self.floats(scales.flatten())
        return self.op("MatMulNBits", states, weight, factors, K=inputs, N=outputs, bits=4, block_size=block)

    def rows(self, table: Embedding, pick: Callable[[str], str], *, picked: bool = True) -> str:
        """The rows of a table that `pick` takes out of what is stored, as floats; all of them unless `picked`."""
        if table.spec is None:
            return self.floats(table.weight, pick)
        codes, scales = (_array(each) for each in table.stored())
        if table.spec.bits == 8:
            numbers = self.op("Cast", pick(self.constant(codes.astype(np.int8))), to=TensorProto.FLOAT)
        else:
            numbers = self.packed_rows(codes, table.spec, pick, leading=2 if picked else 1)
        return self.op("Mul", numbers, pick(self.floats(scales)))

    def packed_rows(
        self, codes: npt.NDArray[np.float32], spec: QuantSpec, pick: Callable[[str], str], leading: int
    ) -> str:
        """Rows of a spec's integers as floats: packed in parts of a row, and unpacked once they are picked.

        Picked, a row stands at a place of `leading` dimensions.
        """
        size = codes.shape[1]
        even = np.pad(codes, ((0, 0), (0, -size % spec.a_byte)), constant_values=spec.highest)
        parts = self.unpacked(pick(self.constant(_packed(even, spec, axis=1)[:, None])), spec, trailing=1)
        numbers = self.op("Reshape", parts, self.integers(*[0] * leading, -1))
        if even.shape[1] > size:
            numbers = self.op("Slice", numbers, self.integers(0), self.integers(size), self.integers(-1))
        numbers = self.op("Cast", numbers, to=TensorProto.FLOAT)
        return self.op("Add", numbers, self.constant(np.array(spec.lowest, np.float32)))

    def bytes(self, value: int) -> str:
        """The name of a uint8 initializer of no dimensions."""
        return self.constant(np.array(value, np.uint8))

    def floats(self, values: Tensor | npt.NDArray[np.float32], pick: Callable[[str], str] | None = None) -> str:
        """Single-precision values, stored in half precision where that is enough; `pick` as in `rows`."""
        array = values if isinstance(values, np.ndarray) else _array(values)
        stored = self.constant(array.astype(np.float16) if self.half else array)
        taken = stored if pick is None else pick(stored)
        return self.op("Cast", taken, to=TensorProto.FLOAT) if self.half else taken


def _array(values: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.detach().cpu().contiguous().numpy()
    return array


def _packed(codes: npt.NDArray[np.float32], spec: QuantSpec, axis: int) -> npt.NDArray[np.uint8]:
    """Integers of a spec as digits of bytes: the first part along the axis is the lowest digit."""
    digits = ((codes - spec.lowest) / spec.step).astype(np.uint8)
    parts = np.stack(np.split(digits, spec.a_byte, axis=axis))
    powers = (spec.levels ** np.arange(spec.a_byte)).astype(np.uint8).reshape(-1, 1, 1)
    packed: npt.NDArray[np.uint8] = (parts * powers).sum(axis=0, dtype=np.uint8)
    return packed


def _tensor(values: npt.NDArray[np.float32]) -> TensorProto:
    return TensorProto(data_type=TensorProto.FLOAT, dims=values.shape, raw_data=values.tobytes())
