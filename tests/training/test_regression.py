import numpy as np
import pytest
from conftest import tiny_task

from eicompress.answers import Labels, LabelSet, MultiTask, Number, Part
from eicompress.training.regression import ABSENT, divided, least_squares, trained, tuned


def answer(labels: int) -> Labels:
    return Labels(tuple(map(str, range(labels))))


VECTORS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
TARGETS = (VECTORS[:, 0] > 0).astype(np.int64)


@pytest.mark.parametrize("labels", [2, 3])
def test_the_regression_is_at_its_minimum(labels: int) -> None:
    targets = (np.arange(60) % labels).astype(np.int64)
    logits = trained(answer(labels), VECTORS, targets, 1.0).logits(VECTORS)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # Where the gradient of an unpenalised bias is zero, the predicted shares of the labels are the counted ones.
    assert shares.mean(axis=0) == pytest.approx(np.full(labels, 1 / labels), abs=1e-3)


def test_a_label_without_rows_is_never_answered() -> None:
    found = trained(answer(4), VECTORS, 2 * TARGETS, 1.0)
    assert set(found.logits(VECTORS).argmax(axis=1)) == {0, 2}
    assert found.bias[[1, 3]] == pytest.approx(found.bias[[0, 2]].min() - ABSENT)


def test_the_strength_is_chosen_on_held_out_rows() -> None:
    rows = divided(TARGETS, 0)
    assert len(rows.held_out) == 12 and not set(rows.held_out) & set(rows.learned)
    wrong = TARGETS.copy()
    wrong[rows.held_out] = 1 - wrong[rows.held_out]
    strong, weak = (tuned(tiny_task(), VECTORS, each, rows, (1e-6, 10.0)) for each in (TARGETS, wrong))
    assert (strong.strength, weak.strength) == (10.0, 1e-6)


def test_numbers_are_learned_by_ridge_regression() -> None:
    numbers = VECTORS @ np.array([1.0, -2.0, 0.5]) + 3
    found = trained(Number(), VECTORS, numbers.astype(np.float32), 1e6)
    assert found.weights[:, 0] == pytest.approx([1.0, -2.0, 0.5], abs=1e-3) and found.bias == pytest.approx([3.0])
    assert found.logits(VECTORS)[:, 0] == pytest.approx(numbers, abs=1e-3)
    # The closed form, with the bias left free.
    centred, wanted = VECTORS - VECTORS.mean(axis=0), numbers - numbers.mean()
    expected = np.linalg.solve(centred.T @ centred + 50 * np.eye(3), centred.T @ wanted)
    assert trained(Number(), VECTORS, numbers, 1 / 50).weights[:, 0] == pytest.approx(expected, abs=1e-4)


def test_rows_that_leave_one_label_to_learn_are_not_divided() -> None:
    assert len(divided(np.array([0, 1]), 0).learned) == 2
    assert len(divided(np.array([0, 0, 0, 0, 1]), 0).held_out) in (1, 5)


PENALTIES = (0.1, 1.0, 10.0, 100.0)


def test_least_squares_finds_the_map_and_shrinks_what_is_noise() -> None:
    generator = np.random.default_rng(0)
    states, true = generator.normal(size=(4000, 8)), generator.normal(size=(3, 8))
    weight, bias, penalty = least_squares(states, states @ true.T + 5.0, PENALTIES)
    assert penalty == pytest.approx(0.1)
    np.testing.assert_allclose(weight, true / 1.1, rtol=0.05, atol=0.02)  # the least penalty takes a tenth
    np.testing.assert_allclose(bias, 5.0, atol=0.05)
    noise = least_squares(generator.normal(size=(20, 15)), generator.normal(size=(20, 3)), PENALTIES)
    assert noise[2] > penalty and np.abs(noise[0]).max() < 0.5


def test_each_label_is_learned_against_the_rest() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 4))
    targets = np.stack([vectors[:, 0] > 0, vectors[:, 1] > 1, np.zeros(200), np.ones(200)], axis=1)
    targets = targets.astype(np.int64)
    found = trained(LabelSet(("a", "b", "never", "always")), vectors, targets, 100.0)
    assert ((found.logits(vectors) >= 0) == targets).mean() > 0.97


def test_each_of_several_tasks_has_a_regression_of_its_own_rows() -> None:
    parts = (Part("a", Labels(("n", "y")), False), Part("b", Labels(("n", "y")), False), Part("c", Number(), False))
    answer, generator = MultiTask(parts), np.random.default_rng(0)
    vectors, tasks = generator.normal(size=(90, 3)).astype(np.float32), np.arange(90) % 3
    own = vectors[np.arange(90), tasks]
    targets = np.stack([tasks, np.ones(90), np.where(tasks < 2, own > 0, own)], axis=1).astype(np.float32)
    found = trained(answer, vectors, targets, 1.0)
    for at, (part, outputs) in enumerate(zip(parts, [each.own for each in answer.places], strict=True)):
        rows = tasks == at
        wanted = targets[rows, 2].astype(np.int64 if at < 2 else np.float32)
        alone = trained(part.answer, vectors[rows], wanted, 1.0)
        np.testing.assert_array_equal(found.weights[:, outputs], alone.weights)
        np.testing.assert_array_equal(found.bias[outputs], alone.bias)
    targets[tasks == 1, 2] = 1
    one_label = trained(answer, vectors, targets, 1.0)
    assert (one_label.logits(vectors)[:, 2:4].argmax(axis=1) == 1).all()
