"""A linear classifier of states and the scale of its logits, against what is known of them."""

import numpy as np
import pytest

from eicompress.training.linear_probe import PENALTIES, calibrated, linear_classifiers
from tests.conftest import tiny_task


def test_a_smaller_penalty_separates_more_and_scales_of_the_states_do_not_matter() -> None:
    targets = np.array([0, 1] * 20)
    states = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    states[:, 0] += 2 * targets
    found = list(linear_classifiers(tiny_task(), states, targets))
    assert [penalty for penalty, _, _ in found] == list(PENALTIES)
    pulls = [float(weight[1, 0] - weight[0, 0]) for _, weight, _ in found]
    assert pulls == sorted(pulls) and pulls[0] > 0
    again = linear_classifiers(tiny_task(), 100 * states, targets)
    for (_, weight, bias), (_, scaled, same) in zip(found, again, strict=True):
        assert np.allclose(weight, 100 * scaled, rtol=0.05, atol=0.02) and np.allclose(bias, same, atol=0.05)


def test_logits_are_scaled_to_the_least_loss() -> None:
    """Of a classifier that says 0.98 and is right three times of four, the best scale says 0.75: log 3 / 4."""
    logits = np.array([[4.0, 0.0]] * 4)
    scale, loss = calibrated(tiny_task(), logits, np.array([0, 0, 0, 1]))
    assert scale == pytest.approx(np.log(3) / 4, rel=0.05)
    assert loss == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), rel=0.01)
