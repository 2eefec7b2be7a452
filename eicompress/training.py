"""`fit`: the one training loop, for every strategy that trains."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from eicompress.contracts import Batch, Candidate, Training
from eicompress.encoder.model import Encoder
from eicompress.values import Progress, Text, seed_of

BUCKET_BATCHES = 64
"""Batches are cut from shuffled blocks of so many batches, sorted by length, so that little is padding."""


class Diverged(ArithmeticError):
    """A training's loss was no longer a number."""


@dataclass(frozen=True)
class Tokens:
    """Tokenized texts: `ids` and `types` concatenated, text i at [starts[i], starts[i + 1])."""

    ids: np.ndarray
    types: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def batch(self, rows: np.ndarray, padding_id: int, device: str) -> Batch:
        """The rows' tokens, padded to the longest of them."""
        lengths = self.lengths[rows]
        places = np.arange(int(lengths.max()))
        mask = places < lengths[:, None]
        index = np.where(mask, self.starts[rows][:, None] + places, 0)
        ids = np.where(mask, self.ids[index], padding_id)
        types = np.where(mask, self.types[index], 0)
        arrays = (ids, mask.astype(np.int64), types, rows)
        return Batch(*(torch.from_numpy(array.astype(np.int64)).to(device) for array in arrays))


def tokenize(tokenizer: Tokenizer, texts: Sequence[Text]) -> Tokens:
    """Every text, truncated as the tokenizer says."""
    encodings = tokenizer.encode_batch_fast(list(texts))
    lengths = [len(each.ids) for each in encodings]
    total = sum(lengths)
    ids = np.fromiter(chain.from_iterable(each.ids for each in encodings), np.int64, total)
    types = np.fromiter(chain.from_iterable(each.type_ids for each in encodings), np.int64, total)
    return Tokens(ids, types, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


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
    matrices, others = [], list(training.extra_parameters)
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
