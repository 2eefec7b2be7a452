import copy
import itertools
from dataclasses import replace

import pytest
import torch
from conftest import tiny_encoder

from eicompress.encoder.config import LayerConfig
from eicompress.encoder.elastic_ffn import BlockChoice, ElasticFeedForward, add_blocks, choose
from eicompress.encoder.expression import plain
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.errors import Inapplicable

IDS = torch.tensor([[2, 56, 64, 57, 3, 0], [2, 60, 61, 66, 62, 3]])
READ = (IDS, (IDS > 0).long(), torch.zeros_like(IDS))
CHOICES = [
    BlockChoice(expression, blocks, neurons)
    for expression, blocks, neurons in itertools.product(
        (plain("gelu"), "linear2(max(linear1(x), tanh(linear1(x))))", "mul(linear2(elu(linear1(x))), sigmoid(x))"),
        (1, 2, 3),
        (8, 24, 32),
    )
]


def super_network(*, bits: bool = False) -> Encoder:
    model = tiny_encoder()
    if bits:
        model.set_quantization(QuantSpec(4), QuantSpec(4))
    add_blocks(model, 3)
    return model


@pytest.mark.parametrize("bits", [False, True])
def test_a_choice_that_is_cut_out_answers_as_it_does_in_place(bits: bool) -> None:
    model = super_network(bits=bits)
    elastic = ElasticFeedForward(model)
    for chosen in (CHOICES[at : at + 3] for at in range(0, len(CHOICES) - 2, 7)):
        alone = copy.deepcopy(model)
        choose(alone, chosen)
        for training in (False, True):
            model.train(training)
            alone.train(training)
            assert torch.allclose(elastic.logits(chosen, *READ), alone(*READ), atol=1e-5), chosen
        written = [each.expression or plain("gelu") for each in alone.config.layers]
        assert written == [each.expression for each in chosen]
        assert [(each.ffn_blocks, each.ffn) for each in alone.config.layers] == [
            (each.blocks, each.neurons) for each in chosen
        ]
        again = Encoder(type(alone.config).from_json(alone.config.to_json()))
        again.load_state_dict(copy.deepcopy(alone).state_dict(), strict=not bits)


def test_layers_that_share_their_attention_have_blocks_of_their_own() -> None:
    first = LayerConfig(heads=4, head_size=6, ffn=32)
    model = tiny_encoder(layers=(first, replace(first, attention_of=0)), position_bias=True)
    add_blocks(model, 2)
    chosen = [BlockChoice(plain("gelu"), 2, 16), BlockChoice(plain("tanh"), 1, 8)]
    in_place = ElasticFeedForward(model).logits(chosen, *READ)
    choose(model, chosen)
    assert torch.allclose(in_place, model(*READ), atol=1e-5)


def test_new_blocks_add_a_small_share_of_what_the_first_one_does() -> None:
    states, mask = torch.randn(2, 5, 24), torch.ones(2, 5, dtype=torch.int64)
    first, *others = super_network().layer(1).ffn.blocks
    first.more = torch.nn.ModuleList()
    for block, share in zip(others, (0.1, 0.05), strict=True):
        assert torch.allclose(block(states, mask), share * first(states, mask), atol=1e-6)
        assert not torch.equal(block.input.weight, first.input.weight)


def test_gradients_reach_what_was_chosen_alone() -> None:
    model = super_network(bits=True).train()
    ElasticFeedForward(model).logits([BlockChoice(plain("relu"), 2, 8)] * 3, *READ).sum().backward()
    first, second, third = model.layer(1).ffn.blocks
    for block in (first, second):
        gradient = block.output.weight.grad
        assert gradient is not None and gradient[:, :8].abs().sum() > 0 and gradient[:, 8:].abs().sum() == 0
    assert third.output.weight.grad is None


def test_blocks_that_cannot_be_cut_are_not_chosen() -> None:
    blocks, pruned = tiny_encoder(), tiny_encoder()
    blocks.set_quantization(None, QuantSpec(4, block=16))
    pruned.layer(0).ffn.input.keep_weights(torch.ones(32, 24, dtype=torch.bool))
    shared = LayerConfig(heads=4, head_size=6, ffn=32, attention_of=0, ffn_of=0, norms_of=0)
    for model in (
        tiny_encoder(layers=()),
        tiny_encoder(layers=(LayerConfig(heads=4, head_size=6, ffn=32), shared)),
        tiny_encoder(layers=(LayerConfig(heads=4, head_size=6, ffn=32, ranks=(0, 0, 4, 0)),)),
        blocks,
        pruned,
    ):
        with pytest.raises(Inapplicable, match="in layers with blocks of their own, of whole matrices"):
            ElasticFeedForward(model)
