"""Layers in a narrow width, norms that do not normalize, and ReLU: each begins near to what was there."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.config import BottleneckConfig, LayerConfig
from eicompress.encoder.norms import LayerNorm, NoNorm
from eicompress.encoder.swaps import read_neighbours, use_activation, use_no_norm
from eicompress.errors import Inapplicable
from eicompress.strategies.bottleneck import BottleneckLayers
from eicompress.strategies.embedding_factorization import EmbeddingFactorization
from eicompress.strategies.fast_parts import SwapActivation, SwapNorm
from eicompress.strategies.layer_distillation import LayerDistillation
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.quantization import Quantization
from eicompress.training.reconstruction import batches_of, fit_norm, least_squares, real
from eicompress.trials.candidate import load, save
from tests.conftest import ContextMaker, tiny_candidate
from tests.strategies.test_svd import difference

NARROW: Sequence[ModelStrategy] = (
    BottleneckLayers(width=16),
    BottleneckLayers(width=16, attention="all", blocks=2),
    BottleneckLayers(width=16, attention="none", blocks=4),
)


@torch.no_grad()
def states(candidate: Candidate, context: Context) -> torch.Tensor:
    """The last layer's (tokens, hidden), of the training texts."""
    batches = batches_of(candidate, context)
    found = [candidate.encoder.states(each.input_ids, each.attention_mask, each.token_type_ids)[-1] for each in batches]
    return real(found, [each.attention_mask for each in batches])


def error(made: Candidate, of: Candidate, context: Context) -> float:
    """Share of the variance of states that is lost."""
    wanted = states(of, context)
    return float((states(made, context) - wanted).square().sum() / (wanted - wanted.mean(dim=0)).square().sum())


@pytest.mark.parametrize("step", NARROW, ids=str)
@pytest.mark.parametrize("norm", ["layer_norm", "no_norm"])
def test_a_narrow_layer_inherits_what_the_layer_computed(
    make_context: ContextMaker, step: BottleneckLayers, norm: str
) -> None:
    whole = tiny_candidate()
    context = make_context(whole)
    made, drawn = (tiny_candidate() for _ in range(2))
    if norm == "no_norm":
        made, drawn = (SwapNorm().apply(each, context) for each in (made, drawn))
    made = step.apply(made, context)
    drawn = step.apply(drawn, replace(context, preview=True))
    assert made.encoder.config == drawn.encoder.config
    assert [each.bottleneck for each in made.encoder.config.layers] == [
        BottleneckConfig(16, step.attention) for _ in range(3)
    ]
    assert {each.ffn * each.ffn_blocks for each in made.encoder.config.layers} == {32}
    assert error(made, whole, context) < 0.5 < error(drawn, whole, context)
    assert difference(made.encoder) < 1e-4


def test_least_squares_find_the_map_that_made_the_numbers() -> None:
    read, weight = torch.randn(400, 5), torch.randn(3, 5)
    found, bias = least_squares(read, read @ weight.T + 2.0)
    assert (found - weight).abs().max() < 0.02
    assert (bias - 2.0).abs().max() < 0.02


def test_a_norm_is_fitted_dimension_by_dimension() -> None:
    norm = NoNorm(2)
    read = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 5.0]])
    fit_norm(norm, read, read * torch.tensor([3.0, -0.5]) + torch.tensor([1.0, 2.0]))
    assert norm.weight.tolist() == pytest.approx([3.0, -0.5])
    assert norm.bias.tolist() == pytest.approx([1.0, 2.0])


def test_without_normalization_states_begin_near_to_what_they_were(make_context: ContextMaker) -> None:
    whole, unfitted = tiny_candidate(), tiny_candidate()
    context = make_context(whole)
    made = SwapNorm().apply(tiny_candidate(), context)
    use_no_norm(unfitted.encoder)
    assert made.encoder.config.norm == "no_norm"
    assert not any(isinstance(each, LayerNorm) for each in made.encoder.modules())
    assert error(made, whole, context) < 0.5 < error(unfitted, whole, context)
    assert difference(made.encoder) < 1e-4


def test_with_relu_states_begin_near_to_what_they_were(make_context: ContextMaker) -> None:
    whole, unfitted = tiny_candidate(), tiny_candidate()
    context = make_context(whole)
    made = SwapActivation().apply(tiny_candidate(), context)
    use_activation(unfitted.encoder, "relu")
    assert made.encoder.config.activation == "relu"
    assert error(made, whole, context) < error(unfitted, whole, context)
    assert difference(made.encoder) < 1e-4


def test_layers_that_share_their_norms_share_them_afterwards(make_context: ContextMaker) -> None:
    whole = tiny_candidate()
    made = LayerSharing(groups=1).apply(tiny_candidate(), make_context(whole))
    made = SwapActivation().apply(SwapNorm().apply(made, make_context(whole)), make_context(whole))
    assert len({made.encoder.layer(number).ffn_norm for number in range(3)}) == 1
    assert [each.norms_of for each in made.encoder.config.layers] == [None, 0, 0]
    assert difference(made.encoder) < 1e-4


def test_trigrams_change_nothing_before_a_training(make_context: ContextMaker) -> None:
    made = tiny_candidate(embedding=8)
    context = make_context(tiny_candidate(embedding=8))
    before = states(made, context)
    read_neighbours(made.encoder)
    assert made.encoder.config.projection == "trigrams"
    assert (states(made, context) - before).abs().max() < 1e-5


def test_all_of_it_is_quantized_trained_stored_and_exported(make_context: ContextMaker, tmp_path: Path) -> None:
    whole = tiny_candidate()
    context = make_context(whole, fidelity=0.0)
    made = tiny_candidate()
    steps = (
        EmbeddingFactorization(size=8),
        BottleneckLayers(width=16, blocks=2, trigrams=True),
        SwapNorm(),
        SwapActivation(),
        Quantization(embedding_bits=4, layer_bits=8),
        LayerDistillation(
            feature_map_weight=100.0, mean_weight=5000.0, variance_weight=5.0, attention_weight=1.0, progressive=True
        ),
    )
    for step in steps:
        made = step.apply(made, context)
    model = made.encoder.eval()
    model.round_floats()
    assert difference(model) < 1e-2
    save(made, tmp_path)
    again = load(tmp_path).encoder
    assert again.config == model.config
    assert all(torch.equal(each, again.state_dict()[name]) for name, each in model.state_dict().items())


@pytest.mark.parametrize(
    ("step", "changes", "said"),
    [
        (BottleneckLayers(width=16), {"norm_first": True}, "normalize after each sum"),
        (BottleneckLayers(width=16, blocks=3), {}, "must divide the 32 neurons of a layer, but is 3"),
        (BottleneckLayers(width=16, trigrams=True), {}, "put `embedding_factorization` before it"),
        (BottleneckLayers(width=16), {"layers": ()}, "acts on layers of whole matrices"),
        (SwapNorm(), {"norm_first": True}, "grow from layer to layer"),
        (SwapActivation(), {"layers": ()}, "the model has no layers"),
        (
            SwapActivation(),
            {"layers": (LayerConfig(4, 6, 32, expression="linear2(tanh(linear1(x)))"),)},
            "put it before what chooses expressions",
        ),
    ],
)
def test_what_does_not_fit_is_inapplicable(
    make_context: ContextMaker, step: ModelStrategy, changes: dict[str, object], said: str
) -> None:
    made = tiny_candidate(**changes)
    with pytest.raises(Inapplicable, match=said):
        step.apply(made, make_context(tiny_candidate()))
