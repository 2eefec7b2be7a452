"""The graph finds the reference that the torch model finds, and reads of it what that reads."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from eicompress.encoder.config import LayerConfig
from eicompress.encoder.exits import EarlyExitEncoder
from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import Bits
from eicompress.export.emit import emit
from eicompress.export.exits import emit_exits
from eicompress.runtime import session
from eicompress.values import ExitRule
from tests.encoder.test_references import with_references
from tests.export.test_emit import differences, inputs, rounded, specs

SHAPES: dict[str, dict[str, object]] = {
    "plain": {},
    "mean": {"pooling": "mean"},
    "each token": {"word_outputs": 2, "pooler": False},
    "one layer": {"layers": (LayerConfig(4, 6, 32),)},
    "one layer, mean": {"layers": (LayerConfig(4, 6, 32),), "pooling": "mean"},
    "factorized words": {"embedding": 10},
    "attention of low rank": {"layers": (LayerConfig(4, 6, 32, ranks=(5, 5, 5, 5)), LayerConfig(4, 6, 32))},
}
BATCHES = [(1, 7, False), (1, 3, False), (3, 9, True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pairs", [False, True])
def test_logits_are_those_of_the_torch_model(shape: str, pairs: bool) -> None:
    model = with_references(**SHAPES[shape])
    for batch, length, padded in BATCHES:
        given = inputs(model, batch, length, pairs, padded=padded)
        assert differences(model, given, pairs).max() < 1e-4


@pytest.mark.parametrize("bits", [(8, 8), (4, 4), (2, "ternary"), (4, None), (None, 4)])
def test_quantized_logits_are_those_of_the_torch_model(bits: tuple[Bits | None, Bits | None]) -> None:
    model = rounded(with_references(pooling="mean"))
    model.set_quantization(*specs(bits))
    given = [inputs(model, 1, length, False, padded=False) for length in (3, 5, 9, 12, 15)]
    # Now and then an activation lies between two steps of its grid, and float rounding decides.
    assert np.median([differences(model, each, False).max() for each in given]) < 1e-5


def test_a_text_that_exits_early_has_read_its_reference() -> None:
    encoder = with_references(pooling="mean", layers=(LayerConfig(4, 6, 32),) * 2)
    model = EarlyExitEncoder(encoder, [Linear(24, 2)], ExitRule((1,), 2, "entropy", 0.5)).eval()
    given = inputs(encoder, 1, 8, False, padded=False)
    feeds = {name: given[name].numpy() for name in ("input_ids", "attention_mask")}
    file = session(emit_exits(model, pairs=False).SerializeToString())
    for threshold in (-1.0, 2.0):
        model.rule = ExitRule((1,), 2, "entropy", threshold)
        got = file.run(["logits"], {**feeds, "exit_threshold": np.array(threshold, np.float32)})[0]
        with torch.no_grad():
            assert np.abs(got - model(*given.values()).numpy()).max() < 1e-4


def test_what_references_are_found_by_is_computed_when_the_file_is_loaded(tmp_path: Path) -> None:
    model = with_references()
    model.set_quantization(*specs((4, 4)))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(emit(model, pairs=False).SerializeToString(), options)
    graph = onnx.load(tmp_path / "loaded.onnx").graph
    index = {each.name for each in graph.initializer if list(each.dims) == [24, 5]}
    (search,) = [node for node in graph.node if node.op_type == "ArgMax"]
    (product,) = [node for node in graph.node if search.input[0] in node.output]
    assert product.op_type == "MatMul" and product.input[1] in index
