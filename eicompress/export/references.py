"""References in a graph: the one that is most similar to a text is found, and its vectors are gathered.

The file has the references' tokens. What they are found by, the means of their word vectors, has only constants before
it: onnxruntime computes it once, when the file is loaded.
"""

import numpy as np
from onnx import TensorProto

from eicompress.encoder.embedding import CodebookEmbedding, Embedding
from eicompress.encoder.references import References
from eicompress.export.embedding import mean_of_tokens, rows, words
from eicompress.export.linear_layers import LinearLayers


def nearest_reference(linears: LinearLayers, table: Embedding | CodebookEmbedding, references: References) -> str:
    """The vectors of the reference that is nearest to a text, times its gate (batch, vectors, hidden)."""
    graph, shape = linears.graph, references.shape
    numbers = references.ids.cpu().numpy()
    small = np.uint16 if numbers.max() <= np.iinfo(np.uint16).max else np.int32
    ids = graph.op("Cast", graph.constant(numbers.astype(small)), to=TensorProto.INT64)
    padding = graph.op("Equal", ids, graph.constant(np.array(references.padding_id, np.int64)))
    index = mean_of_tokens(graph, words(graph, table, ids), graph.op("Not", padding))
    middle = graph.op("ReduceMean", index, graph.integers(0), keepdims=1)
    own = mean_of_tokens(graph, words(graph, table))
    own, index = (graph.op("LpNormalization", graph.op("Sub", each, middle), axis=-1, p=2) for each in (own, index))
    similarities = graph.op("MatMul", own, graph.op("Transpose", index, perm=[1, 0]))
    nearest = graph.op("ArgMax", similarities, axis=1, keepdims=1)
    stored = rows(graph, references.table, lambda each: graph.op("Gather", each, nearest))
    vectors = graph.op("Reshape", stored, graph.integers(0, shape.vectors, shape.width))
    similarity = graph.op("ReduceMax", similarities, graph.integers(1), keepdims=1)
    above = graph.op("Sub", similarity, graph.floats(references.threshold))
    gate = graph.op("Sigmoid", graph.op("Mul", above, graph.floats(references.sharpness)))
    return graph.op("Mul", linears.biased(references.output, vectors), graph.op("Unsqueeze", gate, graph.integers(2)))
