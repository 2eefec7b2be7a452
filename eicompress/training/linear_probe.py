"""A linear classifier of a frozen model's states, and the scale of a classifier's logits.

A student learns from probabilities, and those of a classifier that is too sure, or not sure enough, say little: logits
are scaled so that the loss on rows that were held out is least (arXiv 1706.04599).
"""

from collections.abc import Iterator

import numpy as np
import torch

from eicompress.answers.entities import NONE
from eicompress.contracts import Array, Task
from eicompress.tasks.multi_task import SeveralTasks

PENALTIES = (2e-2, 6e-3, 2e-3, 6e-4, 2e-4)
"""Of the sum of a linear classifier's squared weights, on standardized states; the flattest answers first."""
LEAST_DEVIATION = 0.1
"""Dimensions that deviate less than this share of the median are not scaled up to the others."""
PENALTY_STEPS = 100
"""L-BFGS iterations at each penalty, which begins where the one before it ended."""
WORDS = 20_000
"""From which a linear classifier of words is learned, at most."""
SCALES = np.geomspace(0.25, 4.0, 33)
"""What logits are multiplied by, to choose from."""


def linear_classifiers(task: Task, features: Array, targets: Array) -> Iterator[tuple[float, Array, Array]]:
    """Each penalty, least free first, with weights (outputs, width) and bias (outputs,) for features (n, width), or of
    words (n, W, width); of several tasks each learns from what its head reads of its own texts."""
    if isinstance(task, SeveralTasks):
        yield from _of_each_task(task, features, targets)
        return
    if task.answer.per_word:
        features, targets = of_words(features, targets)
    features = features.astype(np.float32, copy=False)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    # What hardly varies in the model may vary in its students, so it must not weigh much.
    deviation = deviation.clip(LEAST_DEVIATION * np.median(deviation))
    states, wanted = torch.from_numpy((features - mean) / deviation), torch.from_numpy(targets)
    weight = torch.zeros(task.answer.outputs, states.shape[1], requires_grad=True)
    bias = torch.zeros(task.answer.outputs, requires_grad=True)
    for penalty in PENALTIES:
        _descend(task, states, wanted, weight, bias, penalty)
        scaled = weight.detach().numpy() / deviation
        yield penalty, scaled, bias.detach().numpy() - scaled @ mean


def _of_each_task(task: SeveralTasks, features: Array, targets: Array) -> Iterator[tuple[float, Array, Array]]:
    places = [each.place for _, each in task.divided(targets)]
    found = [
        linear_classifiers(own, each.place.rows(features)[each.rows], each.targets)
        for own, each in task.divided(targets)
    ]
    for of_penalty in zip(*found, strict=True):
        weight = np.zeros((task.answer.outputs, features.shape[-1]), np.float32)
        bias = np.zeros(len(weight), np.float32)
        for place, (_, of_task, of_bias) in zip(places, of_penalty, strict=True):
            weight[place.own], bias[place.own] = of_task, of_bias
        yield of_penalty[0][0], weight, bias


def of_words(states: Array, targets: Array, most: int = WORDS) -> tuple[Array, Array]:
    """States (n, W, width) of words and targets (n, W) -> (words, width) and (words,), `most` of them at most, evenly
    spread; what is no word is left out."""
    rows, places = np.nonzero(targets != NONE)
    kept = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))
    rows, places = rows[kept], places[kept]
    there = places < states.shape[1]
    rows, places = rows[there], places[there]
    return states[rows, places].astype(np.float32), targets[rows, places]


def calibrated(task: Task, logits: Array, targets: Array) -> tuple[float, float]:
    """The scale of the logits with the least loss, and that loss."""
    given, wanted = torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(targets)
    losses = [float(task.loss(given * float(scale), wanted)) for scale in SCALES]
    least = int(np.argmin(losses))
    return float(SCALES[least]), losses[least]


def _descend(
    task: Task, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, penalty: float
) -> None:
    """Minimise the task's loss with a ridge penalty, from the weights as they are."""
    solver = torch.optim.LBFGS([weight, bias], max_iter=PENALTY_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = task.loss(states @ weight.T + bias, targets) + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
