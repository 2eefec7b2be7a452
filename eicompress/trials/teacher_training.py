"""The training of a teacher: the pooling of its states, its classifier, and the training of all its weights."""

import copy
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from eicompress.contracts import Array, Candidate, Examples, Task, Training
from eicompress.encoder.heads import answer_words, head_modules
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch
from eicompress.training.teacher import ignore
from eicompress.training.trainer import Trainer
from eicompress.trials.taught import Attempt, Pooling
from eicompress.values import seed_of

LAYER_DECAY = 0.9
"""Each layer learns at this share of the rate of the one above it (ULMFiT, arXiv 1801.06146)."""
DROPOUT = 0.1
"""As in BERT's own fine-tuning (arXiv 1810.04805)."""
HELD_OUT_SHARE, MOST_HELD_OUT = 0.2, 2000
ENOUGH_HELD_OUT, MOST_FOLDS = 800, 5
"""Where one part of the rows is smaller than this, several are held out in turn."""
TIMED_STEPS = 8
"""From which the time of a training is estimated, until one was run."""


def folds_of(strata: Array, seed: int) -> list[Array]:
    """Rows that are held out, in several parts where they are few; each part has the share of each of the strata (n,),
    such as labels."""
    rows = len(strata)
    wanted = round(max(1 / HELD_OUT_SHARE, rows / MOST_HELD_OUT))
    parts = max(2, min(wanted, rows))
    order = np.random.default_rng(seed_of(seed, "teacher")).permutation(rows)
    order = order[np.argsort(strata[order], kind="stable")]
    folds = [np.sort(order[part::parts]) for part in range(parts)]
    return folds[: max(1, min(MOST_FOLDS, ENOUGH_HELD_OUT // max(1, len(folds[0]))))]


def pooled(source: Candidate, pooling: Pooling, word_outputs: int) -> Candidate:
    """A copy of the model that pools in this way: the mean, or the first token, through the model's own pooler where no
    words are answered; and whose last outputs read words."""
    candidate = replace(source, model=copy.deepcopy(source.model))
    model = candidate.encoder
    if pooling == "mean":
        model.pool_by_mean()
        model.drop_pooler()
    if word_outputs:
        answer_words(model, word_outputs)
    return candidate


def set_classifier(candidate: Candidate, weight: Array, bias: Array) -> None:
    """The classifier becomes that of these weights (outputs, width) and bias (outputs,)."""
    classifier = candidate.encoder.classifier
    with torch.no_grad():
        for part, values in zip((classifier.weight, classifier.bias), (weight, bias), strict=True):
            part.copy_(torch.from_numpy(values))


def scale_logits(candidate: Candidate, scale: float) -> None:
    classifier = candidate.encoder.classifier
    with torch.no_grad():
        classifier.weight.mul_(scale)
        classifier.bias.mul_(scale)


def training_of(candidate: Candidate, task: Task, learned: Examples, attempt: Attempt, rate_steps: int = 0) -> Training:
    """The training of all weights on these rows, as an attempt says; `rate_steps` as in `Training`."""
    model, targets = candidate.encoder, torch.from_numpy(learned.targets)

    def loss(batch: Batch) -> torch.Tensor:
        logits = batch.logits(model)
        return task.loss(logits, targets[batch.rows.cpu()].to(logits.device))

    return Training(
        learned.texts,
        loss,
        attempt.epochs,
        attempt.learning_rate,
        rates=rates_by_depth(model),
        rate_steps=rate_steps,
        dropout=DROPOUT,
    )


def timed_step_s(
    candidate: Candidate, training: Training, seed: int, device: str, clock: Callable[[], float] = time.monotonic
) -> float:
    """Seconds of a step, from a few of them; the candidate is trained by these."""
    begun: list[float] = []

    def loss(batch: Batch) -> torch.Tensor:
        begun.append(clock())
        return training.loss(batch)

    epochs = TIMED_STEPS * Training.batch_size / len(training.texts)
    Trainer(seed, 1.0, device, ignore)(candidate, replace(training, loss=loss, epochs=epochs))
    return float(np.median(np.diff(begun)))


def rates_by_depth(model: Encoder) -> dict[torch.nn.Parameter, float]:
    """Shares of the learning rate: all of it for the head, less for each layer below."""
    depth = len(model.layers)
    rates = {each: LAYER_DECAY ** (depth + 1) for each in model.parameters()}
    for number in range(depth):
        rates.update({each: LAYER_DECAY ** (depth - number) for each in model.layer(number).parameters()})
    for head in head_modules(model):
        rates.update(dict.fromkeys(head.parameters(), 1.0))
    return rates
