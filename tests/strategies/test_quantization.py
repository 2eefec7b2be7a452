import numpy as np
import pytest
import torch

from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import Bits, QuantSpec
from eicompress.errors import Inapplicable
from eicompress.strategies import quantization
from eicompress.strategies.quantization import Quantization, round_by_gptq
from eicompress.training.importance import Moments, watch_inputs
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
    linear.set_quantization(QuantSpec(4), "minmax")

    def error() -> float:
        return float((states[0] @ (linear.effective_weight().detach() - whole).T).square().mean())

    nearest = error()
    round_by_gptq(linear, seen.products)
    assert error() < 0.5 * nearest
    integers, scales = linear.stored()
    assert torch.equal(linear.weight, integers * scales)


def correlated(size: int) -> Moments:
    chance = torch.Generator().manual_seed(0)
    seen = Moments(size)
    states = torch.randn(1, 500, size, generator=chance) + 2.0 * torch.randn(1, 500, 1, generator=chance)
    seen.add(states, torch.ones(1, 500))
    return seen


def test_gptq_makes_up_for_rounding_and_not_for_clipping() -> None:
    torch.manual_seed(0)
    linear = Linear(40, 1)
    linear.weight.data[0, 0] = 2.0
    whole = linear.weight.detach().clone()
    linear.set_quantization(QuantSpec(4), "percentile")
    linear.scales.data.fill_(0.01)  # the grid ends at 0.075
    round_by_gptq(linear, correlated(40).products)
    assert linear.weight[0, 0].item() == pytest.approx(0.07, abs=1e-3)
    others = (linear.weight - whole)[0, 1:].detach()
    assert others.abs().max() < 0.03 and abs(float(others.sum())) < 0.05


def test_gptq_leaves_pruned_weights_out_and_makes_up_for_them() -> None:
    torch.manual_seed(0)
    linear = Linear(40, 8)
    linear.keep_weights(torch.rand(8, 40) > 0.5)
    whole = linear.weight.detach().clone()
    linear.set_quantization(QuantSpec(4), "minmax")
    products = correlated(40).products.float()

    def error() -> float:
        away = linear.effective_weight().detach() - whole
        return float(((away @ products) * away).sum())

    nearest = error()
    round_by_gptq(linear, products.double())
    assert (linear.weight[~linear.kept] == 0).all()
    assert error() < 0.8 * nearest


def test_gptq_goes_layer_by_layer(make_context: ContextMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate, measured = tiny_candidate(), []
    names = {linear: name for name, linear in candidate.model.linears()}

    def noted(hooks: list[tuple[Linear, object]]) -> object:
        measured.append([names[linear] for linear, _ in hooks])
        done = [name for part in measured[:-1] for name in part]
        assert all((linear.spec is not None) == (name in done) for linear, name in names.items())
        return watch_inputs(hooks)  # type: ignore[arg-type]

    monkeypatch.setattr(quantization, "watch_inputs", noted)
    Quantization(8, 2, rounding="gptq").apply(candidate, make_context())
    assert [name for part in measured for name in part] == list(names.values())
    assert [len(part) for part in measured] == [4, 4, 4, 1, 1]


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_is_refused_where_it_is_no_better(make_context: ContextMaker, bits: Bits) -> None:
    with pytest.raises(Inapplicable, match=f"must be `nearest` where `layer_bits` is {bits}"):
        Quantization(8, bits, rounding="gptq").apply(tiny_candidate(), make_context(preview=True))


@pytest.mark.parametrize("bits", [2, "ternary"])
def test_gptq_keeps_the_logits_nearer(make_context: ContextMaker, bits: Bits) -> None:
    context = make_context()
    whole, _ = answers_of(tiny_candidate(), context.train.texts, "cpu")
    away = {}
    for rounding in ("nearest", "gptq"):
        made = Quantization(8, bits, rounding=rounding).apply(tiny_candidate(), context)
        away[rounding] = float(np.square(answers_of(made, context.train.texts, "cpu")[0] - whole).mean())
    assert away["gptq"] < away["nearest"]


@pytest.mark.parametrize("clipping", ["mse", "percentile", "minmax"])
def test_an_outlier_is_clipped_by_default(make_context: ContextMaker, clipping: str) -> None:
    candidate = tiny_candidate(layers=(), hidden=200, embedding=200)
    candidate.model.classifier.weight.data[0, 0] = 1.5
    made = Quantization(8, 4, clipping=clipping).apply(candidate, make_context())
    largest = made.model.classifier.effective_weight()[0].max().item()
    assert (largest > 1.39) == (clipping == "minmax")  # the last of 7.5 steps' middle
