"""What is packed comes back as it was, whatever the number of bits and however the sizes divide."""

import numpy as np
import pytest
import torch

from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import Bits, QuantSpec
from eicompress.export.graph import Graph
from eicompress.export.packing import packed_matrix, packed_rows
from eicompress.export.sparse import dense, expand_sparse
from eicompress.runtime import session

PACKED = [4, 2, "ternary"]


def drawn(spec: QuantSpec, *shape: int) -> np.ndarray:
    levels = np.arange(spec.lowest, spec.highest + 1, spec.step)
    return np.random.default_rng(0).choice(levels, shape).astype(np.float32)


def computed(graph: Graph, output: str) -> np.ndarray:
    """What a graph says, run on a text of two tokens."""
    model = graph.model(["input_ids"], graph.op("Cast", output, to=1), 1)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    found: np.ndarray = session(model.SerializeToString()).run(None, {"input_ids": np.array([[3, 0]])})[0]
    return found


@pytest.mark.parametrize("bits", PACKED)
@pytest.mark.parametrize("rows", [1, 5, 20, 23])
def test_a_packed_matrix_is_unpacked_less_its_lowest_integer(bits: Bits, rows: int) -> None:
    spec, graph = QuantSpec(bits), Graph()
    codes = drawn(spec, rows, 3)
    assert np.array_equal(computed(graph, packed_matrix(graph, codes, spec)), codes - spec.lowest)


@pytest.mark.parametrize("bits", PACKED)
@pytest.mark.parametrize("size", [1, 5, 20, 23])
def test_packed_rows_are_unpacked_where_they_are_picked(bits: Bits, size: int) -> None:
    spec, graph = QuantSpec(bits), Graph()
    codes = drawn(spec, 4, size)
    picked = packed_rows(graph, codes, spec, lambda table: graph.op("Gather", table, "input_ids"), leading=2)
    assert np.array_equal(computed(graph, picked), codes[[[3, 0]]])


def sparse_linears(share: float) -> list[Linear]:
    linears = [Linear(50, 40), Linear(40, 60)]
    for each in linears:
        each.keep_weights(torch.rand(each.weight.shape, generator=torch.Generator().manual_seed(0)) < share)
    return linears


def test_the_zeros_of_sparse_matrices_are_put_back() -> None:
    graph, linears = Graph(), sparse_linears(0.2)
    spans = expand_sparse(graph, linears)
    assert [each.start for each in spans.values()] == [0, 2000]
    last = dense(graph, linears[1], spans[linears[1]])
    assert np.array_equal(computed(graph, last), linears[1].weight.detach().numpy().T)


def test_matrices_with_few_zeros_are_stored_whole() -> None:
    assert expand_sparse(Graph(), sparse_linears(0.95)) == {}
