"""A linear classifier of the words of a text, and of its pairs of neighbouring words, as an ONNX graph.

`TfIdfVectorizer` counts the words and pairs that are known. Everything after it works on those that occur: their rows
of the weight table are gathered, unpacked and summed, so that time depends on the text and hardly on the table.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto

from eicompress.export.graph import Graph

Bits: TypeAlias = Literal[4, 8]

NOTHING = 1e-12
"""What a text's length is at least: one without a known word has the bias for logits."""


@dataclass(frozen=True)
class Ngrams:
    """Features with their weights: first the words (n1,), then the pairs of words (n2, 2); n of both.

    A word is its token's id; in the second text of a pair it is another feature, with the id plus `vocabulary`.
    """

    words: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]
    vocabulary: int
    idf: npt.NDArray[np.float16]
    """(n,) inverse document frequencies."""
    codes: npt.NDArray[np.int8]
    """(n, outputs) integers of `bits` bits."""
    scales: npt.NDArray[np.float16]
    """(n,) what a row's integers are multiplied by."""
    bias: npt.NDArray[np.float32]
    """(outputs,)"""
    bits: Bits


def emit_ngrams(model: Ngrams, *, pairs: bool) -> ModelProto:
    """The graph: `input_ids`, `attention_mask` and for pairs of texts `token_type_ids` in, `logits` out."""
    graph = Graph()
    counts = graph.op("TfIdfVectorizer", _ids(graph, model.vocabulary, pairs), **_pool(model))
    found = graph.op("NonZero", counts)  # (2, found): which text, and which feature
    texts, column = graph.ops("Split", 2, found, axis=0, num_outputs=2)
    features = graph.op("Squeeze", column, graph.integers(0))
    occurrences = graph.op("GatherND", counts, graph.op("Transpose", found, perm=[1, 0]))
    one = graph.constant(np.array(1, np.float32))
    values = graph.op("Mul", graph.op("Add", graph.op("Log", occurrences), one), _floats(graph, model.idf, features))
    owners = _owners(graph, texts)  # (batch, found): one where the feature is the text's
    length = graph.op(
        "Sqrt", graph.op("ReduceSumSquare", graph.op("Mul", owners, values), graph.integers(1), keepdims=1)
    )
    length = graph.op("Max", length, graph.constant(np.array(NOTHING, np.float32)))
    scaled = graph.op("Mul", owners, graph.op("Mul", values, _floats(graph, model.scales, features)))
    summed = graph.op("MatMul", scaled, _rows(graph, model, features))
    graph.group = "head"
    logits = graph.op("Add", graph.op("Div", summed, length), graph.constant(model.bias))
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if pairs else [])]
    return graph.model(inputs, logits, len(model.bias))


def _ids(graph: Graph, vocabulary: int, pairs: bool) -> str:
    """(batch, sequence): the words' numbers, and -1, which no feature has, for padding."""
    ids = "input_ids"
    if pairs:
        second = graph.op("Mul", "token_type_ids", graph.constant(np.array(vocabulary, np.int64)))
        ids = graph.op("Add", ids, second)
    real = graph.op("Cast", "attention_mask", to=TensorProto.BOOL)
    return graph.op("Where", real, ids, graph.constant(np.array(-1, np.int64)))


def _pool(model: Ngrams) -> dict[str, object]:
    return {
        "mode": "TF",
        "min_gram_length": 1,
        "max_gram_length": 2,
        "max_skip_count": 0,
        "ngram_counts": [0, len(model.words)],
        "ngram_indexes": list(range(len(model.idf))),
        "pool_int64s": [*model.words.tolist(), *model.pairs.flatten().tolist()],
    }


def _owners(graph: Graph, texts: str) -> str:
    """(batch, found) floats."""
    batch = graph.op("Squeeze", graph.op("Shape", "input_ids", start=0, end=1))
    zero, one = (graph.constant(np.array(value, np.int64)) for value in (0, 1))
    numbers = graph.op("Unsqueeze", graph.op("Range", zero, batch, one), graph.integers(1))
    return graph.op("Cast", graph.op("Equal", numbers, texts), to=TensorProto.FLOAT)


def _rows(graph: Graph, model: Ngrams, features: str) -> str:
    """(found, outputs) integers as floats; of four bits two stand in a byte, the first half of a row in the low one."""
    if model.bits == 8:
        return graph.op("Cast", graph.op("Gather", graph.constant(model.codes), features), to=TensorProto.FLOAT)
    outputs = model.codes.shape[1]
    digits = np.pad(model.codes + 8, ((0, 0), (0, outputs % 2))).astype(np.uint8)
    low, high = np.split(digits, 2, axis=1)
    packed = graph.op("Gather", graph.constant(low | high << np.uint8(4)), features)
    fifteen, four = (graph.constant(np.array(value, np.uint8)) for value in (15, 4))
    halves = graph.op("BitwiseAnd", packed, fifteen), graph.op("BitShift", packed, four, direction="RIGHT")
    whole = graph.op("Concat", *halves, axis=1)
    if outputs % 2:
        whole = graph.op("Slice", whole, graph.integers(0), graph.integers(outputs), graph.integers(1))
    return graph.op("Sub", graph.op("Cast", whole, to=TensorProto.FLOAT), graph.constant(np.array(8, np.float32)))


def _floats(graph: Graph, values: npt.NDArray[np.float16], features: str) -> str:
    """(found,) single-precision values of the features."""
    return graph.op("Cast", graph.op("Gather", graph.constant(values), features), to=TensorProto.FLOAT)
