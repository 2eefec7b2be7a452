"""Each loss against a value worked out by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from eicompress.answers import LabelSet
from eicompress.encoder.blocks import attention_map
from eicompress.training import losses

MASK = torch.tensor([[1, 1, 0]])
"""One text of two tokens, padded to three."""
STUDENT = torch.tensor([[[1.0, 3.0], [0.0, 4.0], [9.0, 9.0]]])
TEACHER = torch.tensor([[[1.0, 1.0], [0.0, 2.0], [5.0, 0.0]]])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_softened_divergence_of_logits() -> None:
    # Two classes, temperature 2: T^2 * sum p log(p/q), p and q softened.
    p = [sigmoid(1), sigmoid(-1)]
    expected = 2.0**2 * sum(a * math.log(a / b) for a, b in zip(p, reversed(p), strict=True))
    loss = losses.logit_kl(torch.tensor([[0.0, 2.0]]), torch.tensor([[2.0, 0.0]]), temperature=2.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_squared_distance_of_logits() -> None:
    assert losses.logit_mse(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])).item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.state_mse, ((0 + 4) / 2 + (0 + 4) / 2) / 2),
        # Normalized, a state of two dimensions is (-1, 1), or (0, 0) where both are the same.
        (losses.feature_map, (1.0 + 0.0) / 2),
        (losses.mean_gap, ((2 - 1) ** 2 + (2 - 1) ** 2) / 2),
        (losses.variance_gap, (abs(1 - 0) + abs(4 - 1)) / 2),
    ],
)
def test_losses_of_states_see_the_real_tokens_alone(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], expected: float
) -> None:
    assert loss(STUDENT, TEACHER, MASK).item() == pytest.approx(expected, rel=1e-4)


def test_divergence_of_maps_is_the_mean_over_heads_and_real_queries() -> None:
    teacher = torch.tensor([[[[0.5, 0.5, 0.0]] * 3, [[1.0, 0.0, 0.0]] * 3]])
    student = torch.tensor([[[[0.25, 0.75, 0.0]] * 3, [[0.5, 0.5, 0.0]] * 3]])
    expected = ((0.5 * math.log(2) + 0.5 * math.log(2 / 3)) + math.log(2)) / 2
    assert losses.map_kl(student, teacher, MASK).item() == pytest.approx(expected, rel=1e-5)


def test_an_attention_map_is_a_softmax_over_the_real_keys() -> None:
    queries = torch.tensor([[[[2.0], [0.0], [1.0]]]])
    keys = torch.tensor([[[[1.0], [0.5], [7.0]]]])
    made = attention_map(queries, keys, MASK[:, None, None, :].bool())
    assert made[0, 0, 0].tolist() == pytest.approx([sigmoid(1), sigmoid(-1), 0.0])
    assert made[0, 0, 1].tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_a_relation_compares_every_token_with_every_other_in_each_head() -> None:
    vectors = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]]])
    made = losses.relation(vectors, 2, MASK)
    assert made[0, 0, 0].tolist() == pytest.approx([sigmoid(1 - 3), sigmoid(3 - 1), 0.0])  # 1 x (1, 3)
    assert made[0, 1, 1].tolist() == pytest.approx([sigmoid(0 - 4), sigmoid(4 - 0), 0.0])  # 2 x (0, 2)


def test_where_the_two_agree_every_loss_is_zero() -> None:
    logits, maps = torch.randn(3, 4), torch.rand(1, 2, 3, 3).softmax(dim=-1)
    same = [losses.logit_kl(logits, logits, 3.0), losses.logit_mse(logits, logits), losses.map_kl(maps, maps, MASK)]
    of_states = (losses.state_mse, losses.feature_map, losses.mean_gap, losses.variance_gap)
    same += [loss(STUDENT, STUDENT, MASK) for loss in of_states]
    assert torch.stack(same).abs().max() < 1e-6


def test_labels_that_are_answered_alone_are_compared_alone() -> None:
    student, teacher = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[1.0, -2.0], [2.0, 0.0]])
    p, q = teacher.sigmoid(), student.sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(dim=1)
    answer = LabelSet(("a", "b"))
    assert torch.allclose(losses.answer_losses(answer, student, teacher), expected, atol=1e-6)
    assert torch.allclose(losses.answer_loss(answer, student, teacher, 1.0), expected.mean(), atol=1e-6)
    assert losses.answer_loss(answer, teacher, teacher, 2.0).item() == pytest.approx(0.0, abs=1e-6)
    soft = 4 * losses.answer_losses(answer, student / 2, teacher / 2).mean()
    assert torch.allclose(losses.answer_loss(answer, student, teacher, 2.0), soft)
