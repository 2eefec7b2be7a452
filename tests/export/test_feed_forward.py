"""Every expression says in the graph what it says in torch."""

import numpy as np
import pytest
import torch

from eicompress.encoder.config import LayerConfig
from eicompress.encoder.expression import FUNCTIONS, plain
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.emit import emit
from eicompress.runtime import session
from tests.conftest import tiny_encoder
from tests.export.test_emit import rounded

UNARY = [name for name in FUNCTIONS if name not in ("add", "mul", "max")]
EXPRESSIONS = [
    *(plain(name) for name in UNARY),
    *(f"linear2({name}(linear1(x), tanh(linear1(x))))" for name in ("add", "mul", "max")),
    "linear2(max(gelu(linear1(x)), linear1(x)))",
    "gelu(linear2(linear1(max(x, relu(x)))))",
    "add(mul(linear2(gelu_tanh(linear1(x))), sigmoid(x)), tanh(linear2(gelu_tanh(linear1(x)))))",
    "linear2(gelu(linear1(gelu(x))))",
]


def with_blocks(expression: str, blocks: int) -> Encoder:
    shape = LayerConfig(heads=2, head_size=6, ffn=20, expression=expression, ffn_blocks=blocks)
    return tiny_encoder(layers=(shape, shape)).eval()


def difference(encoder: Encoder) -> float:
    ids = torch.tensor([[2, 56, 64, 57, 3]])
    feeds = {"input_ids": ids.numpy(), "attention_mask": np.ones((1, 5), np.int64)}
    said = session(emit(encoder, pairs=False).SerializeToString()).run(["logits"], feeds)[0]
    with torch.no_grad():
        return float(np.abs(encoder(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy() - said).max())


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_the_same_in_the_graph(expression: str) -> None:
    for blocks in (1, 3):
        assert difference(with_blocks(expression, blocks)) < 1e-5
        assert difference(with_bits(with_blocks(expression, blocks))) < 2e-3


def with_bits(encoder: Encoder) -> Encoder:
    encoder.set_quantization(QuantSpec(4), QuantSpec(8))
    return rounded(encoder)


def test_the_matrices_of_every_block_are_quantized() -> None:
    graph = emit(with_bits(with_blocks(EXPRESSIONS[-2], 3)), pairs=False).graph
    products = [each.op_type for each in graph.node]
    assert "MatMul" not in products
    assert products.count("DynamicQuantizeMatMul") == 2 * (1 + 3 * 2) + 2  # attention's output, blocks; the head
    assert products.count("FastGelu") == 2 * 3


def test_gelu_of_a_linear_map_is_one_node_where_nothing_else_reads_the_map() -> None:
    kinds = {
        each: [node.op_type for node in emit(with_blocks(each, 1), pairs=False).graph.node] for each in EXPRESSIONS
    }
    assert kinds[plain("gelu")].count("BiasGelu") == 2 and "Gelu" not in kinds[plain("gelu")]
    shared = kinds["linear2(max(gelu(linear1(x)), linear1(x)))"]
    assert shared.count("Gelu") == 2 and "BiasGelu" not in shared
