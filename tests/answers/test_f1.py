import numpy as np
import pytest
from sklearn.metrics import f1_score

from eicompress.answers.f1 import half_width, macro_f1


@pytest.mark.parametrize("labels", [2, 5, 40])
def test_macro_f1_is_that_of_scikit_learn(labels: int) -> None:
    generator = np.random.default_rng(labels)
    targets, answers = generator.integers(labels, size=(2, 60))
    assert macro_f1(targets, answers, labels) == pytest.approx(f1_score(targets, answers, average="macro"))


def test_a_label_that_neither_occurs_nor_is_answered_does_not_count() -> None:
    assert macro_f1(np.array([0, 0]), np.array([0, 0]), 3) == 1.0


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = half_width(lambda rows: float(values[rows].mean()), len(values))
    assert found == pytest.approx(1.96 * values.std() / 20, rel=0.1)
