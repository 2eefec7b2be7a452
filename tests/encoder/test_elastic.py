import copy
import itertools
from dataclasses import replace

import pytest
import torch
from conftest import sampled, tiny_encoder

from eicompress.encoder.config import BigramConfig, LayerConfig
from eicompress.encoder.elastic import Elastic, Part, extract, sloping, spread, sub_network
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.errors import Inapplicable

IDS = torch.tensor([[2, 56, 64, 57, 3, 0], [2, 60, 61, 66, 62, 3]])
READ = (IDS, (IDS > 0).long(), torch.zeros_like(IDS))

PARTS = [
    (layers, heads, neurons, embedding)
    for layers, heads, neurons, embedding in itertools.product((1, 2, 3), (0.25, 1.0), (0.25, 0.5, 1.0), (0.5, 1.0))
]


UNEVEN = [(3, (0.25, 0.5, 1.0), (1.0, 0.25, 0.75), 0.5), (2, (1.0, 0.25), 0.5, 1.0)]


def super_network(*, bits: bool = False, pooling: str = "first") -> Encoder:
    model = tiny_encoder(embedding=16, pooling=pooling)
    if bits:
        model.set_quantization(QuantSpec(4), QuantSpec(2))
    return model


@pytest.mark.parametrize(("bits", "pooling"), sampled(3, (False, True), ("first", "mean")))
def test_a_part_that_is_cut_out_answers_as_it_does_in_place(bits: bool, pooling: str) -> None:
    model = super_network(bits=bits, pooling=pooling)
    elastic = Elastic(model)
    for shares in (*PARTS, *UNEVEN):
        part = sub_network(model.config, *shares)
        alone = copy.deepcopy(model)
        extract(alone, part)
        for training in (False, True):
            model.train(training)
            alone.train(training)
            in_place = elastic.logits(part, *READ)
            assert torch.allclose(in_place, alone(*READ), atol=1e-5), shares
    model.eval()
    whole = sub_network(model.config, 3, 1.0, 1.0, 1.0)
    assert torch.equal(elastic.logits(whole, *READ), model(*READ))


def test_a_slope_gives_the_last_layers_more_within_bounds() -> None:
    assert sloping(0.5, 0.5, 3) == (0.25, 0.5, 0.75)
    assert sloping(0.5, -1.0, 2, least=0.25) == (1.0, 0.25)
    assert sloping(0.5, 1.0, 1) == (0.5,)
    part = sub_network(super_network().config, 3, sloping(0.5, 1.0, 3, least=0.25), 0.5, 1.0)
    assert part.heads == (1, 2, 4)


def test_parts_differ_and_are_smaller() -> None:
    model = super_network()
    elastic = Elastic(model)
    small = sub_network(model.config, 1, 0.25, 0.25, 0.5)
    assert small == Part(layers=(2,), heads=(1,), neurons=(8,), embedding=8)
    assert not torch.allclose(elastic.logits(small, *READ), model(*READ), atol=1e-3)
    extract(model, small)
    assert model.config.layers == (LayerConfig(heads=1, head_size=6, ffn=8),)
    assert (model.config.embedding, model.words.weight.shape[1]) == (8, 8)


def test_gradients_reach_the_weights_of_the_super_network() -> None:
    model = super_network(bits=True).train()
    part = sub_network(model.config, 1, 0.5, 0.25, 0.5)
    Elastic(model).logits(part, *READ).sum().backward()
    used = model.layer(2)
    for gradient, read in (
        (model.words.weight.grad, slice(0, 8)),
        (used.ffn.output.weight.grad, slice(0, 8)),
        (used.attention.output.weight.grad, slice(0, 12)),
    ):
        assert gradient is not None
        assert gradient[:, read].abs().sum() > 0
        assert gradient[:, read.stop :].abs().sum() == 0
    assert used.ffn.input.scales is not None and used.ffn.input.scales.grad is not None
    assert model.layer(0).ffn.input.weight.grad is None


def test_layers_are_spread_up_to_the_last() -> None:
    assert [spread(6, kept) for kept in (0, 1, 2, 3, 6)] == [[], [5], [2, 5], [1, 3, 5], [0, 1, 2, 3, 4, 5]]


def test_what_cannot_be_cut_at_any_width_is_no_super_network() -> None:
    shared = LayerConfig(heads=4, head_size=6, ffn=32, attention_of=0, ffn_of=0, norms_of=0)
    blocks, pruned = super_network(), super_network()
    blocks.set_quantization(None, QuantSpec(4, block=16))
    pruned.layer(0).ffn.input.keep_weights(torch.ones(32, 24, dtype=torch.bool))
    for model in (
        tiny_encoder(layers=()),
        tiny_encoder(layers=(LayerConfig(heads=4, head_size=6, ffn=32), shared)),
        tiny_encoder(layers=(LayerConfig(heads=4, head_size=6, ffn=32, ranks=(0, 0, 4, 0)),)),
        tiny_encoder(bigrams=BigramConfig(8, 4)),
        blocks,
        pruned,
    ):
        with pytest.raises(Inapplicable, match="a super-network must be an encoder with layers of whole matrices"):
            Elastic(model)


def test_word_vectors_of_full_width_have_no_parts() -> None:
    with pytest.raises(Inapplicable, match="put `embedding_factorization` before `super_network`"):
        sub_network(tiny_encoder().config, 3, 1.0, 1.0, 0.5)


def test_word_vectors_that_cannot_be_cut_stay_whole_at_any_width() -> None:
    config = replace(tiny_encoder().config, embedding=10, projection="embeddings")
    assert sub_network(config, 3, 1.0, 0.5, 1.0).embedding == 10
