"""The embedding of an encoder in a graph: vectors of words and of pairs of tokens, positions, token types."""

import numpy as np
from onnx import TensorProto

from eicompress.encoder.embedding import BigramEmbedding, CodebookEmbedding, Embedding
from eicompress.encoder.model import Encoder
from eicompress.export.graph import Graph, Pick, float_array
from eicompress.export.linear_layers import LinearLayers
from eicompress.export.norms import normed
from eicompress.export.packing import packed_rows


def embedded(linears: LinearLayers, encoder: Encoder, pairs: bool) -> str:
    """The states (batch, sequence, hidden) that the first layer reads."""
    graph = linears.graph
    states = words(graph, encoder.words)
    if encoder.projection is not None and encoder.config.projection != "embeddings":
        read = _with_neighbours(graph, states) if encoder.config.projection == "trigrams" else states
        states = linears.biased(encoder.projection, read)
    places = None
    if encoder.positions is not None:
        places = rows(graph, encoder.positions, lambda table: table, picked=False)
        length = graph.op("Shape", "input_ids", start=1, end=2)
    if encoder.token_types is not None and pairs:
        types = rows(graph, encoder.token_types, lambda table: graph.op("Gather", table, "token_type_ids"))
        states = graph.op("Add", states, types)
    elif encoder.token_types is not None:
        same = graph.floats(encoder.token_types.weight[0])
        places = same if places is None else graph.op("Add", places, same)
    if places is not None and encoder.positions is not None:
        places = graph.op("Slice", places, graph.integers(0), length, graph.integers(0))
    states = states if places is None else graph.op("Add", states, places)
    states = normed(graph, encoder.embedding_norm, states)
    if encoder.projection is not None and encoder.config.projection == "embeddings":
        states = linears.biased(encoder.projection, states)
    return states


def _with_neighbours(graph: Graph, vectors: str) -> str:
    """Word vectors (batch, sequence, size) -> those of the next token, the token and the one before it, 3 * size."""
    mask = graph.op("Unsqueeze", graph.op("Cast", "attention_mask", to=TensorProto.FLOAT), graph.integers(2))
    padded = graph.op("Pad", graph.op("Mul", vectors, mask), graph.integers(0, 1, 0, 0, 1, 0))
    end, axis = np.iinfo(np.int64).max, graph.integers(1)
    spans = ((2, end), (1, -1), (0, -2))
    cut = [graph.op("Slice", padded, graph.integers(start), graph.integers(stop), axis) for start, stop in spans]
    return graph.op("Concat", *cut, axis=2)


def words(graph: Graph, table: Embedding | CodebookEmbedding, ids: str = "input_ids") -> str:
    """The vectors (batch, sequence, embedding) of the words with these numbers (batch, sequence)."""

    def read(stored: str) -> str:
        return graph.op("Gather", stored, ids)

    if isinstance(table, Embedding):
        return rows(graph, table, read)
    codes = graph.op("Cast", read(graph.constant(table.codes.cpu().numpy())), to=TensorProto.INT32)
    if table.books > 1:
        codes = graph.op("Add", codes, graph.constant(table.first_entries.cpu().numpy().astype(np.int32)))
    pieces = graph.floats(table.book, lambda book: graph.op("Gather", book, codes))
    vectors = graph.op("Reshape", pieces, graph.integers(0, 0, -1))
    if table.codes.shape[1] * table.book.shape[1] > table.size:
        vectors = graph.op("Slice", vectors, graph.integers(0), graph.integers(table.size), graph.integers(-1))
    return graph.op("Mul", vectors, graph.floats(table.scales, read))


def pairs_of_tokens(linears: LinearLayers, bigrams: BigramEmbedding) -> str:
    """What pairs of tokens add to the pooled state (batch, hidden)."""
    graph = linears.graph
    earlier = graph.op("Pad", "input_ids", graph.integers(0, 1, 0, -1))
    hashed = graph.op("Add", graph.op("Mul", earlier, graph.integers(bigrams.multiplier)), "input_ids")
    buckets = graph.op("Mod", hashed, graph.integers(len(bigrams.table.weight)))
    vectors = rows(graph, bigrams.table, lambda table: graph.op("Gather", table, buckets))
    return linears.product(bigrams.output, mean_of_tokens(graph, vectors))


def rows(graph: Graph, table: Embedding, pick: Pick, *, picked: bool = True) -> str:
    """The rows of a table that `pick` takes out of what is stored, as floats; all of them unless `picked`."""
    if table.spec is None:
        return graph.floats(table.weight, pick)
    codes, scales = (float_array(each) for each in table.stored())
    if table.spec.bits == 8:
        numbers = graph.op("Cast", pick(graph.constant(codes.astype(np.int8))), to=TensorProto.FLOAT)
    else:
        numbers = packed_rows(graph, codes, table.spec, pick, leading=2 if picked else 1)
    return graph.op("Mul", numbers, pick(graph.floats(scales)))


def mean_of_tokens(graph: Graph, states: str, mask: str = "attention_mask") -> str:
    """states (batch, sequence, hidden) -> their mean over the real tokens (batch, hidden)."""
    real = graph.op("Cast", mask, to=TensorProto.FLOAT)
    count = graph.op("ReduceSum", real, graph.integers(1))
    shares = graph.op("Div", real, graph.op("Max", count, graph.constant(np.array(1.0, np.float32))))
    summed = graph.op("MatMul", graph.op("Unsqueeze", shares, graph.integers(1)), states)
    return graph.op("Squeeze", summed, graph.integers(1))
