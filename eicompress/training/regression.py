"""Linear models: softmax and ridge regression by scikit-learn, and least squares in closed form."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eicompress.answers import Answer, LabelSet, MultiTask, Number
from eicompress.contracts import Array, Task
from eicompress.values import seed_of

Matrix: TypeAlias = Any
"""(n, features): an array, or one of scipy's sparse matrices."""

HELD_OUT = 0.2
"""Share of the training rows on which the strength is chosen."""
MOST_HELD_OUT = 2_000
STEPS = 100
TOLERANCE = 1e-4
ABSENT = 30.0
"""How far the bias of a label that no row has is below all others."""


@dataclass(frozen=True)
class Rows:
    """Training rows to learn from, and rows to choose by."""

    learned: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Regression:
    """A linear model."""

    weights: npt.NDArray[np.float32]
    """(features, outputs)"""
    bias: npt.NDArray[np.float32]
    """(outputs,)"""
    strength: float
    """The inverse of the ridge penalty on the weights, over all rows: scikit-learn's `C`."""

    def logits(self, vectors: Matrix) -> Array:
        """(n, outputs)"""
        found: Array = np.asarray(vectors @ self.weights) + self.bias
        return found


def divided(targets: Array, seed: int) -> Rows:
    """The rows in two parts, drawn with the seed. Both are all rows where what is left to learn has one label."""
    order = np.random.default_rng(seed_of(seed, "held out for regression")).permutation(len(targets))
    count = min(round(HELD_OUT * len(targets)), MOST_HELD_OUT)
    rows = Rows(np.sort(order[count:]), np.sort(order[:count]))
    if not count or len(np.unique(targets[rows.learned])) < 2:
        everything = np.arange(len(targets))
        return Rows(everything, everything)
    return rows


def tuned(task: Task, vectors: Matrix, targets: Array, rows: Rows, strengths: Sequence[float]) -> Regression:
    """The regression, trained on the rows to learn from, whose strength is the best on those held out."""
    learned, held_out = vectors[rows.learned], vectors[rows.held_out]
    found = [trained(task.answer, learned, targets[rows.learned], strength) for strength in strengths]
    # Of equal ones the first, which is regularised most.
    return max(found, key=lambda each: task.best_score(each.logits(held_out), targets[rows.held_out]))


def trained(answer: Answer, vectors: Matrix, targets: Array, strength: float) -> Regression:
    """The linear model of a kind of answer, with a ridge penalty."""
    if isinstance(answer, Number):
        return _ridge(vectors, targets, strength)
    if isinstance(answer, LabelSet):
        return _each_against_the_rest(vectors, targets, strength)
    if isinstance(answer, MultiTask):
        return _each_task(answer, vectors, targets, strength)
    return _softmax(vectors, targets, answer.outputs, strength)


def _each_task(answer: MultiTask, vectors: Matrix, targets: Array, strength: float) -> Regression:
    """The linear model of each task, on its own rows."""
    weights = np.zeros((vectors.shape[1], answer.outputs), np.float32)
    bias = np.zeros(answer.outputs, np.float32)
    for each in answer.divided(targets):
        found = trained(each.part.answer, vectors[each.rows], each.targets, strength)
        weights[:, each.place.own], bias[each.place.own] = found.weights, found.bias
    return Regression(weights, bias, strength)


def _ridge(vectors: Matrix, targets: Array, strength: float) -> Regression:
    from sklearn.linear_model import Ridge  # late, as below

    model = Ridge(alpha=1 / strength).fit(vectors, targets)
    weights = np.asarray(model.coef_, np.float32).reshape(-1, 1)
    return Regression(weights, np.array([model.intercept_], np.float32), strength)


def _each_against_the_rest(vectors: Matrix, targets: Array, strength: float) -> Regression:
    """A logistic regression for each label, of targets (n, labels); one that no row has, or each, is never in doubt."""
    weights, biases = np.zeros((vectors.shape[1], targets.shape[1]), np.float32), []
    for label, there in enumerate(targets.T):
        if there.min() == there.max():
            biases.append(ABSENT if there[0] else -ABSENT)
            continue
        of_both = _softmax(vectors, there, 2, strength)
        weights[:, label] = of_both.weights[:, 1] - of_both.weights[:, 0]
        biases.append(float(of_both.bias[1] - of_both.bias[0]))
    return Regression(weights, np.array(biases, np.float32), strength)


def _softmax(vectors: Matrix, targets: Array, labels: int, strength: float) -> Regression:
    """Where the rows have one label, it is always answered."""
    if len(np.unique(targets)) < 2:
        always = np.full(labels, -ABSENT, np.float32)
        always[targets] = 0.0
        return Regression(np.zeros((vectors.shape[1], labels), np.float32), always, strength)
    # Imported here, since it takes a second, and processes that build candidates train no baseline.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=STEPS, tol=TOLERANCE)
    with warnings.catch_warnings():
        # The last steps change no answer, so their number is bounded.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(vectors, targets)
    rows, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn gives the difference of the two
        rows, bias = np.concatenate([-rows, rows]) / 2, np.concatenate([-bias, bias]) / 2
    weights = np.zeros((vectors.shape[1], labels), np.float32)
    weights[:, model.classes_] = rows.T
    biases = np.full(labels, bias.min() - ABSENT, np.float32)
    biases[model.classes_] = bias
    return Regression(weights, biases, strength)


def least_squares(states: Array, wanted: Array, penalties: Sequence[float]) -> tuple[Array, Array, float]:
    """(n, width), (n, outputs) -> weight (outputs, width), bias (outputs,), and the penalty that was chosen.

    Ridge regression of the centred values. A penalty is a share of the mean squared length of the columns of `states`;
    the one with the least generalized cross-validation error is taken (Golub, Heath and Wahba, 1979).
    """
    centre, mean = states.mean(axis=0), wanted.mean(axis=0)
    left, values, right = np.linalg.svd(states - centre, full_matrices=False)
    projected = left.T @ (wanted - mean)
    residual = np.square(wanted - mean).sum() - np.square(projected).sum()
    scale = np.square(values).sum() / states.shape[1]

    def error(penalty: float) -> float:
        lost = penalty * scale / (values**2 + penalty * scale)
        freedom = len(states) - (1 - lost).sum()
        return float((residual + np.square(lost[:, None] * projected).sum()) / freedom**2)

    penalty = min(penalties, key=error)
    weight = (right.T @ (projected * (values / (values**2 + penalty * scale))[:, None])).T
    return weight, mean - weight @ centre, penalty
