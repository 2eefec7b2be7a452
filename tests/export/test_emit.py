"""The graph says what the torch model says, in every shape that a strategy can make."""

import numpy as np
import onnx
import pytest
import torch

from eicompress.encoder.config import BigramConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import Bits, QuantSpec
from eicompress.export.emit import emit
from eicompress.export.graph import group_of
from eicompress.runtime import session
from tests.conftest import sampled, tiny_encoder

SHAPES: dict[str, dict[str, object]] = {
    "plain": {},
    "factorized": {"embedding": 10},
    "odd": {"embedding": 9, "hidden": 15, "layers": (LayerConfig(3, 5, 11), LayerConfig(1, 5, 7)), "outputs": 3},
    "mean": {"pooling": "mean"},
    "static": {"layers": (), "pooling": "mean"},
    "static, odd": {"layers": (), "pooling": "mean", "embedding": 7, "pooler": False},
    "first of no layers": {"layers": ()},
    "relu, no pooler": {"activation": "relu", "pooler": False},
    "as ELECTRA": {"embedding": 10, "projection": "embeddings", "pooler_activation": "gelu"},
    "as ALBERT": {"embedding": 7, "projection": "embeddings", "activation": "gelu_tanh"},
    "as DistilBERT": {"token_types": 0, "pooler_activation": "relu"},
    "with bigrams": {"bigrams": BigramConfig(buckets=30, width=8)},
    "static, odd bigrams": {"layers": (), "pooling": "mean", "pooler": False, "bigrams": BigramConfig(29, 7)},
}
QUANTIZED = [(None, 8), (8, None), (8, 4), (4, 8), (4, 2), (2, "ternary"), ("ternary", 4), (2, None)]


def rounded(encoder: Encoder) -> Encoder:
    """With every float that a quantized file keeps in half precision rounded so, to leave no other difference."""
    for name, parameter in encoder.named_parameters():
        if "scales" not in name:
            parameter.data = parameter.data.half().float()
    return encoder


def specs(bits: tuple[Bits | None, Bits | None]) -> list[QuantSpec | None]:
    return [None if each is None else QuantSpec(each) for each in bits]


def inputs(encoder: Encoder, batch: int, length: int, pairs: bool, *, padded: bool) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(length)
    ids = torch.randint(0, encoder.config.vocabulary, (batch, length), generator=chance)
    mask = torch.ones_like(ids)
    if padded:
        mask[0, length // 2 :] = 0
    types = torch.randint(0, 2, ids.shape, generator=chance) if pairs else torch.zeros_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def differences(encoder: Encoder, given: dict[str, torch.Tensor], pairs: bool) -> np.ndarray:
    return all_differences(encoder, [given], pairs)[0]


def all_differences(encoder: Encoder, given: list[dict[str, torch.Tensor]], pairs: bool) -> list[np.ndarray]:
    """Of one file, for each of the inputs."""
    run = session(emit(encoder, pairs=pairs).SerializeToString()).run
    found = []
    for each in given:
        feeds = {name: values.numpy() for name, values in each.items() if pairs or name != "token_type_ids"}
        got = run(["logits"], feeds)[0]
        with torch.no_grad():
            expected = encoder(*each.values()).numpy()
        assert got.shape == expected.shape
        found.append(np.abs(got - expected))
    return found


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("batch", "length"), [(1, 9), (3, 20), (1, 2), (1, 1)])
def test_floats_are_equal_at_any_batch_and_length(shape: str, pairs: bool, batch: int, length: int) -> None:
    encoder = tiny_encoder(**SHAPES[shape])
    given = inputs(encoder, batch, length, pairs, padded=batch > 1)
    assert differences(encoder, given, pairs).max() < 1e-5


@pytest.mark.parametrize(("shape", "bits"), sampled(3, SHAPES, QUANTIZED))
def test_the_simulated_quantization_is_exact_at_batch_one(shape: str, bits: tuple[Bits | None, Bits | None]) -> None:
    pairs = ([*SHAPES].index(shape) + QUANTIZED.index(bits)) % 2 == 0
    encoder = rounded(tiny_encoder(**SHAPES[shape]))
    encoder.set_quantization(*specs(bits))
    given = [inputs(encoder, 1, length, pairs, padded=False) for length in (2, 5, 9, 14, 20)]
    largest = [each.max() for each in all_differences(encoder, given, pairs)]
    # Now and then an activation lies between two steps of its grid, and float rounding decides.
    assert np.median(largest) < 1e-5


@pytest.mark.parametrize("bits", QUANTIZED)
def test_quantized_batches_run_too(bits: tuple[Bits | None, Bits | None]) -> None:
    encoder = tiny_encoder()
    encoder.set_quantization(*specs(bits))
    given = inputs(encoder, 3, 9, False, padded=True)
    with torch.no_grad():
        spread = encoder(*given.values()).std().item()
    assert differences(encoder, given, False).max() < 0.2 * spread


@pytest.mark.parametrize("bits", [(None, None), (8, 8), (4, 4)])
def test_graphs_pass_the_checker_and_claim_an_old_version(bits: tuple[Bits | None, Bits | None]) -> None:
    encoder = tiny_encoder()
    encoder.set_quantization(*specs(bits))
    model = emit(encoder, pairs=True)
    onnx.checker.check_model(model)
    assert {each.domain: each.version for each in model.opset_import} == {"": 18, "com.microsoft": 1}
    assert [each.name for each in model.graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [each.name for each in model.graph.output] == ["logits"]


@pytest.mark.parametrize("bits", [None, 8, 4, 2])
def test_a_shared_layer_is_stored_once(bits: Bits | None) -> None:
    encoder = tiny_encoder()
    once = tiny_encoder()
    once.keep_layers([0])
    encoder.layers = torch.nn.ModuleList([encoder.layers[0]] * 3)
    for each in (encoder, once):
        each.set_quantization(*specs((None if bits == 2 else bits, bits)))
    stored, alone = (len(emit(each, pairs=False).graph.initializer) for each in (encoder, once))
    assert stored == alone
    given = inputs(encoder, 1, 9, False, padded=False)
    assert differences(rounded(encoder), given, False).max() < 1e-4


def test_four_bits_take_half_a_byte_a_weight() -> None:
    def weights(bits: Bits | None) -> int:
        encoder = tiny_encoder(layers=(LayerConfig(4, 6, 256),), embedding=64, hidden=64)
        encoder.set_quantization(*specs((bits, bits)))
        return sum(len(each.raw_data) for each in emit(encoder, pairs=False).graph.initializer)

    assert weights(8) < 0.3 * weights(None)
    assert weights(4) < 0.57 * weights(8)


@pytest.mark.parametrize(("bits", "a_byte"), [(2, 4), ("ternary", 5)])
def test_a_byte_holds_several_weights(bits: Bits, a_byte: int) -> None:
    encoder = tiny_encoder(layers=(LayerConfig(4, 6, 256),), embedding=64, hidden=64)
    encoder.set_quantization(None, QuantSpec(bits))
    stored = [each for each in emit(encoder, pairs=False).graph.initializer if each.data_type == onnx.TensorProto.UINT8]
    matrices = sum(len(each.raw_data) for each in stored if len(each.raw_data) > 8)
    assert matrices == sum(-(-linear.inputs // a_byte) * linear.outputs for _, linear in encoder.linears())


def test_every_constant_belongs_to_a_part_of_the_model() -> None:
    groups = [group_of(each.name) for each in emit(tiny_encoder(), pairs=False).graph.initializer]
    assert set(groups) == {"embedding", "layers", "head"}
    assert group_of("embeddings.word") is None


def test_two_exports_give_the_same_bytes() -> None:
    first, second = (emit(tiny_encoder(), pairs=True).SerializeToString() for _ in range(2))
    assert first == second


def test_large_weights_are_stored_unsigned_and_small_ones_signed() -> None:
    """Two products of an activation and a signed weight beyond 64 overflow where a CPU has no VNNI."""
    encoder = tiny_encoder(layers=(), pooler=False)
    encoder.set_quantization(None, QuantSpec(8))
    kinds = {each.data_type for each in emit(encoder, pairs=False).graph.initializer if len(each.dims) == 2}
    unsigned = onnx.TensorProto.UINT8 in kinds
    largest = encoder.classifier.stored()[0].abs().max()
    assert unsigned == bool(largest > 64)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_blocks_have_scales_of_their_own(pooling: str) -> None:
    encoder = tiny_encoder(pooling=pooling)
    encoder.layers[1].ffn.input.weight.data[:, 16:] *= 50
    encoder.set_quantization(None, QuantSpec(4, block=16))
    assert {linear.scales.shape[1] for _, linear in encoder.linears()} == {2}
    given = inputs(encoder, 2, 9, False, padded=True)
    assert differences(rounded(encoder), given, False).max() < 1e-4
    kinds = [node.op_type for node in emit(encoder, pairs=False).graph.node]
    assert kinds.count("MatMulNBits") == 3 * 6 + 2 and "DynamicQuantizeMatMul" not in kinds
