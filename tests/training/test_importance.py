from dataclasses import replace

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate, Context
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.training.importance import WAYS, kept_parts, measure_importance, most_important
from eicompress.training.token_importance import token_importance
from tests.conftest import ContextMaker, tiny_candidate


def loss_of(candidate: Candidate, context: Context) -> float:
    encoding = candidate.tokenizer.encode(context.train.texts[0])
    ids = torch.tensor([encoding.ids])
    with torch.no_grad():
        logits = candidate.model(ids, torch.ones_like(ids), torch.zeros_like(ids))
    return float(context.task.loss(logits.double(), torch.from_numpy(context.train.targets)))


def slope(make_context: ContextMaker, weights: str, columns: slice) -> float:
    """How fast the loss of one text changes with the columns of an output matrix: |dL/dm| at m = 1, numerically."""
    context = one_text(make_context())
    losses = []
    for factor in (1.001, 0.999):
        candidate = tiny_candidate()
        candidate.model.get_submodule(weights).weight.data[:, columns] *= factor
        losses.append(loss_of(candidate, context))
    return abs(losses[0] - losses[1]) / 0.002


def one_text(context: Context) -> Context:
    return replace(context, train=context.train.take([0]))


def test_taylor_is_the_slope_of_the_loss_by_what_a_part_says(make_context: ContextMaker) -> None:
    found = measure_importance(tiny_candidate(), one_text(make_context()))
    head = slope(make_context, "layers.1.attention.output", slice(12, 18))
    neuron = slope(make_context, "layers.2.ffn.output", slice(5, 6))
    assert found["heads.1"][2] == pytest.approx(head, rel=0.05, abs=1e-4)
    assert found["neurons.2"][5] == pytest.approx(neuron, rel=0.05, abs=1e-4)


@pytest.mark.parametrize("by", WAYS)
def test_what_says_nothing_is_worth_nothing(make_context: ContextMaker, by: str) -> None:
    baseline = tiny_candidate()
    baseline.model.layers[2].attention.output.weight.data[:, 6:12] = 0  # head 1
    baseline.model.layers[2].ffn.output.weight.data[:, 8:] = 0  # neurons 8 and above
    importance = measure_importance(baseline, make_context(), by)
    assert importance["heads.2"][1] == 0 and (np.delete(importance["heads.2"], 1) > 0).all()
    assert (importance["neurons.2"][8:] == 0).all() and (importance["neurons.2"][:8] > 0).all()
    assert importance["hidden"].shape == (24,)
    assert all(each.shape == (1,) and each > 0 for name, each in importance.items() if name.startswith("layers"))


@pytest.mark.parametrize("by", WAYS)
def test_parts_of_a_quantized_and_shared_model_are_listed_once(make_context: ContextMaker, by: str) -> None:
    candidate = tiny_candidate()
    candidate.model.keep_layers([0, 0, 1])
    candidate.model.set_quantization(QuantSpec(4), QuantSpec(4))
    importance = measure_importance(candidate, make_context(), by)
    assert set(importance) == {
        "hidden", "heads.0", "heads.2", "neurons.0", "neurons.2", "layers.0", "layers.1", "layers.2"
    }  # fmt: skip
    assert all(each.any() for each in importance.values())
    assert not candidate.model.training


def test_neighbours_in_a_batch_and_padding_change_nothing(make_context: ContextMaker) -> None:
    context = make_context()
    rows = [3, 0, 7]  # of different lengths
    together = measure_importance(tiny_candidate(), replace(context, train=context.train.take(rows)))
    alone = [measure_importance(tiny_candidate(), replace(context, train=context.train.take([row]))) for row in rows]
    for name, each in together.items():
        assert np.allclose(each, np.mean([one[name] for one in alone], axis=0), rtol=1e-3, atol=1e-5)


def test_the_most_important_are_listed_in_their_order() -> None:
    assert most_important(np.array([3.0, 9.0, 1.0, 4.0]), 2).tolist() == [1, 3]


def test_with_a_uniform_budget_every_layer_loses_the_same() -> None:
    kept = kept_parts({0: np.arange(8.0), 1: np.ones(8)}, 0.5, "uniform")
    assert {layer: each.tolist() for layer, each in kept.items()} == {0: [4, 5, 6, 7], 1: [0, 1, 2, 3]}


def test_with_a_global_budget_layers_compete_and_keep_one_part() -> None:
    one_does_all = np.array([0.0, 5.0, 0.0, 0.0])
    kept = kept_parts({0: one_does_all, 1: np.ones(4)}, 0.375, "global")
    assert {layer: each.tolist() for layer, each in kept.items()} == {0: [1], 1: [0, 1, 2, 3]}
    kept = kept_parts({0: one_does_all, 1: np.ones(4)}, 0.95, "global")
    assert [len(each) for each in kept.values()] == [1, 1]


@pytest.mark.parametrize("budget", ["global", "uniform"])
def test_parts_stay_in_blocks(budget: str) -> None:
    chance = np.random.default_rng(0)
    kept = kept_parts({0: chance.random(32), 1: chance.random(32)}, 0.5, budget, multiple=8)
    assert sum(len(each) for each in kept.values()) == 32 and all(len(each) % 8 == 0 for each in kept.values())
    whole = kept_parts({0: chance.random(11)}, 0.0, budget, multiple=8)
    assert len(whole[0]) in (8, 11)


def test_attention_received_is_a_share_of_all_attention(make_context: ContextMaker) -> None:
    context = one_text(make_context())
    model, tokenizer = context.baseline.model, context.baseline.tokenizer
    assert isinstance(model, Encoder)
    ids = torch.tensor([tokenizer.encode(context.train.texts[0]).ids])
    mask = torch.ones_like(ids)
    received, states = [], model.embed(ids, mask, ids * 0)
    for number, shape in enumerate(model.config.layers):
        layer, queries = model.layer(number), ids.shape[1]
        q, k, _ = layer.attention.qkv(states, mask).chunk(3, dim=-1)
        heads = [each.reshape(-1, shape.heads, shape.head_size) for each in (q[0], k[0])]
        scores = torch.einsum("qhd,khd->hqk", heads[0][:queries], heads[1]) / shape.head_size**0.5
        received.append(scores.softmax(dim=-1).mean(dim=(0, 1)))
        states = layer(states, mask, queries)
    expected = torch.stack(received).mean(dim=0)
    found = token_importance(context, "attention")
    assert expected.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert found[ids[0, 1]] == pytest.approx(expected[1].item(), rel=1e-4)
    unseen = tokenizer.token_to_id("weather")
    assert found[unseen] == pytest.approx(1 / ids.shape[1], rel=1e-4)


def test_a_gradient_is_the_slope_of_the_loss_by_a_word_vector(make_context: ContextMaker) -> None:
    context = one_text(make_context())
    song = context.baseline.tokenizer.token_to_id("song")
    losses = []
    for factor in (1.001, 0.999):
        candidate = tiny_candidate()
        assert isinstance(candidate.model, Encoder)
        candidate.model.words.weight.data[song] *= factor
        losses.append(loss_of(candidate, context))
    slope = abs(losses[0] - losses[1]) / 0.002
    assert token_importance(context, "gradient")[song] == pytest.approx(slope, rel=0.05, abs=1e-4)
