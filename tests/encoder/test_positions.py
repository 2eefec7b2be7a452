from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_encoder
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from eicompress.encoder.blocks import SelfAttention
from eicompress.encoder.config import LayerConfig
from eicompress.encoder.elastic import Elastic, extract, sub_network
from eicompress.encoder.model import Encoder
from eicompress.encoder.positions import bucket, near, rotated
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.emit import emit
from eicompress.runtime import session

IDS = torch.tensor([[2, 56, 64, 57, 3, 0], [2, 60, 61, 66, 62, 3]])
READ = (IDS, (IDS > 0).long(), torch.zeros_like(IDS))


def biased(model: Encoder | None = None) -> Encoder:
    """With a bias for distances that is large enough to matter."""
    model = model or tiny_encoder(position_bias=True)
    for each in model.modules():
        if isinstance(each, SelfAttention) and each.position_bias is not None:
            torch.nn.init.normal_(each.position_bias.weight, generator=torch.Generator().manual_seed(0))
    return model


def test_distances_fall_into_the_buckets_of_mpnet() -> None:
    distances = torch.arange(-600, 601)
    assert torch.equal(bucket(distances), MPNetEncoder.relative_position_bucket(distances))


def test_a_head_keeps_its_bias_when_others_go() -> None:
    model = biased()
    before = model.layer(0).attention.position_bias
    assert before is not None
    model.keep_heads(0, torch.tensor([1, 3]))
    after = model.layer(0).attention.position_bias
    assert after is not None and torch.equal(after(6, 6), before(6, 6)[:, [1, 3]])


def test_a_map_is_what_attention_reads() -> None:
    attention = biased().layer(0).attention
    states = torch.randn(2, 6, 24, generator=torch.Generator().manual_seed(0))
    read = attention.attention_map(states, READ[1]) @ attention.projections(states, READ[1])[2]
    expected = attention.output(read.transpose(1, 2).flatten(2), READ[1])
    assert torch.allclose(attention(states, READ[1], 6), expected, atol=1e-6)


@pytest.mark.parametrize("heads", [0.5, 1.0])
def test_a_part_of_a_super_network_takes_its_heads_bias(heads: float) -> None:
    model = biased()
    part = sub_network(model.config, 2, heads, 0.5, 1.0)
    in_place = Elastic(model).logits(part, *READ)
    extract(model, part)
    assert torch.allclose(in_place, model(*READ), atol=1e-5)


MODERN = {"position_vectors": False, "norm_first": True, "gated": True, "pooler_norm": True}
LAYER = LayerConfig(heads=4, head_size=6, ffn=32, rotary_base=100.0)


def modern(pooling: str = "first") -> Encoder:
    layers = (replace(LAYER, attention_norm=False), replace(LAYER, window=2), replace(LAYER, window=1))
    return tiny_encoder(layers=layers, pooling=pooling, **MODERN)


def test_scores_of_rotated_vectors_depend_on_distance_alone() -> None:
    query, key = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(0)).expand(2, 10, 6)
    scores = rotated(query, 100.0) @ rotated(key, 100.0).T
    for distance in range(-9, 10):
        assert scores.diagonal(distance).std(correction=0) < 1e-5
    assert scores.diagonal(3)[0] != pytest.approx(scores.diagonal(-3)[0].item(), abs=1e-2)


def test_a_window_hides_keys_that_are_far() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    assert near(mask, 3, 1)[0, 0].int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0]]
    assert near(mask, 5, 1)[0, 0, 4].tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_padding_changes_nothing(pooling: str) -> None:
    model = modern(pooling)
    ids = torch.cat([IDS[:1, :5], torch.zeros(1, 6, dtype=torch.int64)], dim=1)
    padded = model(ids, (ids > 0).long(), ids * 0)
    assert torch.allclose(padded, model(IDS[:1, :5], torch.ones(1, 5).long(), IDS[:1, :5] * 0), atol=1e-6)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("bits", [False, True])
def test_the_graph_says_what_the_model_says_of_any_length(pooling: str, bits: bool) -> None:
    model = modern(pooling)
    if bits:
        model.set_quantization(QuantSpec(4), QuantSpec(8))
        model.round_floats()
    run = session(emit(model, pairs=False).SerializeToString())
    for length in (1, 2, 3, 7, 20):
        ids = torch.arange(4, 4 + length)[None]
        expected = model(ids, torch.ones_like(ids), ids * 0)
        feeds = {"input_ids": ids.numpy(), "attention_mask": np.ones((1, length), np.int64)}
        assert np.abs(run.run(["logits"], feeds)[0] - expected.detach().numpy()).max() < (0.05 if bits else 1e-4)


def test_a_neuron_keeps_its_gate_when_others_go() -> None:
    ffn = modern().layer(0).ffn
    states, mask = torch.randn(1, 5, 24, generator=torch.Generator().manual_seed(0)), torch.ones(1, 5)
    ffn.output.weight.data[:, ::2] = 0
    expected = ffn(states, mask)
    ffn.keep_neurons(torch.arange(1, 32, 2))
    assert ffn.input.outputs == 32 and torch.allclose(ffn(states, mask), expected, atol=1e-6)


def test_a_part_of_a_gated_super_network_answers_in_place_as_alone() -> None:
    model = modern()
    part = sub_network(model.config, 2, 0.5, 0.5, 1.0)
    in_place = Elastic(model).logits(part, *READ)
    extract(model, part)
    assert torch.allclose(in_place, model(*READ), atol=1e-5)
