"""`fit`: the one training loop, for every strategy that trains."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from eicompress.contracts import Candidate, Training
from eicompress.encoder.model import Encoder
from eicompress.encoder.precision import fast_products
from eicompress.encoder.tokens import tokenize
from eicompress.values import Progress, seed_of

BUCKET_BATCHES = 64
"""Batches are cut from shuffled blocks of so many batches, sorted by length, so that little is padding."""


class Diverged(ArithmeticError):
    """A training's loss was no longer a number."""


def batches(lengths: np.ndarray, size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Row numbers of one epoch's batches, of near lengths each, in random order."""
    order = generator.permutation(len(lengths))
    block = size * BUCKET_BATCHES
    cut = []
    for start in range(0, len(order), block):
        rows = order[start : start + block]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        cut += [rows[at : at + size] for at in range(0, len(rows), size)]
    return [cut[number] for number in generator.permutation(len(cut))]


@dataclass(frozen=True)
class Trainer:
    """Trains candidates at a fidelity (the share of the full length), from a seed, on a device."""

    seed: int
    fidelity: float
    device: str
    progress: Callable[[Progress], None]

    def __call__(self, candidate: Candidate, training: Training) -> None:
        model = candidate.model.to(self.device)
        tokens = tokenize(candidate.tokenizer, training.texts)
        padding_id = model.config.padding_id if isinstance(model, Encoder) else 0
        steps = max(1, round(training.epochs * self.fidelity * len(training.texts) / training.batch_size))
        optimizer = _optimizer(model, training)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _triangle(steps, training.warmup))
        generator = np.random.default_rng(seed_of(self.seed, "batches"))
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        model.train()
        step, told = 0, 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.seed, "training"))
            while step < steps:
                for rows in batches(tokens.lengths, training.batch_size, generator)[: steps - step]:
                    with fast_products(self.device):
                        loss = training.loss(tokens.batch(rows, padding_id, self.device))
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    nn.utils.clip_grad_norm_(parameters, 1.0)
                    optimizer.step()
                    schedule.step()
                    step += 1
                    if time.monotonic() - told > 0.5 or step == steps:
                        told = time.monotonic()
                        self.progress(Progress("training", step, steps, _finite(loss.item(), step)))
        model.eval()


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise Diverged(f"the loss must stay a finite number, but is {loss} at step {step}: lower the learning rate")
    return loss


def _optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    matrices: list[nn.Parameter] = []
    others = list(training.extra_parameters)
    for name, parameter in model.named_parameters():
        decays = parameter.ndim == 2 and not name.endswith("scales")
        (matrices if decays else others).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)


def _triangle(steps: int, warmup: float) -> Callable[[int], float]:
    rising = max(1, round(steps * warmup))

    def share(step: int) -> float:
        return min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))

    return share


def fit_nothing(candidate: Candidate, training: Training) -> None:
    """The `fit` of a preview."""
