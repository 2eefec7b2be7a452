import numpy as np
import pytest
import torch

from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import Bits, QuantSpec
from eicompress.errors import Inapplicable
from eicompress.strategies.quantization import Quantization, round_by_gptq
from eicompress.training.importance import Moments
from eicompress.training.teacher import answers_of
from tests.conftest import ContextMaker, tiny_candidate


def test_tables_and_layers_get_their_own_bits(make_context: ContextMaker) -> None:
    made = Quantization(embedding_bits=8, layer_bits=4).apply(tiny_candidate(), make_context())
    assert {table.spec for table in made.model.embedding_tables()} == {QuantSpec(8)}
    assert {linear.spec for _, linear in made.model.linears()} == {QuantSpec(4)}


def test_8_bits_of_a_layer_use_half_their_range(make_context: ContextMaker) -> None:
    made = Quantization(embedding_bits=8, layer_bits=8).apply(tiny_candidate(), make_context())
    assert all(linear.stored()[0].abs().max() <= 64 for _, linear in made.model.linears())
    assert made.model.words.stored()[0].abs().max() > 64


@pytest.mark.parametrize("bits", [2, "ternary"])
def test_fewer_than_4_bits_are_for_layers_and_words_alone(make_context: ContextMaker, bits: Bits) -> None:
    made = Quantization(embedding_bits=bits, layer_bits=bits).apply(tiny_candidate(embedding=10), make_context())
    assert (made.model.words.spec, made.model.positions.spec) == (QuantSpec(bits), QuantSpec(4))
    specs = {name.partition(".")[0]: linear.spec for name, linear in made.model.linears()}
    assert specs == {
        "layers": QuantSpec(bits),
        "projection": QuantSpec(4),
        "pooler": QuantSpec(4),
        "classifier": QuantSpec(4),
    }


def test_before_training_the_weights_learn_with_the_rounding_in_place(make_context: ContextMaker) -> None:
    made = Quantization().apply(tiny_candidate(), make_context())
    classifier = made.model.classifier
    integers, scales = classifier.stored()
    assert (classifier.effective_weight() == integers * scales).all()
    classifier.train()
    classifier.effective_weight().sum().backward()
    assert classifier.weight.grad is not None and classifier.scales.grad is not None


def test_blocks_are_of_4_bits(make_context: ContextMaker) -> None:
    made = Quantization(block=16).apply(tiny_candidate(), make_context())
    assert {linear.spec for _, linear in made.model.linears()} == {QuantSpec(4, block=16)}
    with pytest.raises(Inapplicable, match="is for 4 bits"):
        Quantization(layer_bits=2, block=16).apply(tiny_candidate(), make_context())


def test_gptq_changes_the_outputs_less_than_the_nearest_integers_do() -> None:
    chance = torch.Generator().manual_seed(0)
    states = torch.randn(1, 900, 300, generator=chance) @ torch.randn(300, 300, generator=chance)
    seen = Moments(300)
    seen.add(states, torch.ones(1, 900))
    torch.manual_seed(0)
    linear = Linear(300, 16)
    whole = linear.weight.detach().clone()
    linear.set_quantization(QuantSpec(4))

    def error() -> float:
        return float((states[0] @ (linear.effective_weight().detach() - whole).T).square().mean())

    nearest = error()
    round_by_gptq(linear, seen.products)
    assert error() < 0.5 * nearest
    integers, scales = linear.stored()
    assert torch.equal(linear.weight, integers * scales)


@pytest.mark.parametrize("bits", [2, 4])
def test_gptq_keeps_the_logits_nearer(make_context: ContextMaker, bits: Bits) -> None:
    context = make_context()
    whole, _ = answers_of(tiny_candidate(), context.train.texts, "cpu")
    away = {}
    for rounding in ("nearest", "gptq"):
        made = Quantization(8, bits, rounding=rounding).apply(tiny_candidate(), context)
        away[rounding] = float(np.square(answers_of(made, context.train.texts, "cpu")[0] - whole).mean())
    assert away["gptq"] < away["nearest"]


@pytest.mark.parametrize("clipping", ["mse", "percentile", "minmax"])
def test_an_outlier_is_clipped_unless_told_not_to(make_context: ContextMaker, clipping: str) -> None:
    candidate = tiny_candidate(layers=(), hidden=200, embedding=200)
    candidate.model.classifier.weight.data[0, 0] = 1.5
    made = Quantization(8, 4, clipping=clipping).apply(candidate, make_context())
    largest = made.model.classifier.effective_weight()[0].max().item()
    assert (largest > 1.39) == (clipping == "minmax")  # the last of 7.5 steps' middle
