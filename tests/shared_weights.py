"""A super-network in small, as a plug-in file: `elastic` trains an encoder whose feed-forward networks may be cut at
any width, once for all candidates, and `take` cuts them.

Every step of the training is written to the file that `$SHARED_WEIGHTS_LOG` names, for tests to count.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from optuna.distributions import FloatDistribution, IntDistribution

from eicompress import Batch, Candidate, Context, Encoder, ModelStrategy, Origin, Strategy, Training, hookimpl
from eicompress.encoder.blocks import FeedForward
from eicompress.training.trainer import Checkpoints

LOG = "SHARED_WEIGHTS_LOG"
PAUSE = "SHARED_WEIGHTS_PAUSE"
"""Seconds that a step takes, so that a test has time to end it."""

# Kept at every step: tests have no minute to wait for the first checkpoint.
Checkpoints.__init__.__defaults__ = (0.0,)  # type: ignore[misc]


@dataclass(frozen=True)
class Elastic(ModelStrategy):
    """Train all weights so that the first neurons of each layer do without the others (slimmable networks)."""

    epochs: Annotated[float, FloatDistribution(0.1, 100.0)] = 8.0
    """Rounds of the training rows."""

    name: ClassVar[str] = "elastic"
    paper: ClassVar[str] = "Slimmable neural networks, arXiv 1812.08928"
    trains: ClassVar[bool] = True
    shares_training: ClassVar[bool] = True

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        targets = torch.as_tensor(context.train.targets)

        def loss(batch: Batch) -> torch.Tensor:
            noted(batch.step, batch.steps)
            with narrowed(model, 1.0 if batch.step % 2 else 0.5):
                logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            return context.task.loss(logits, targets[batch.rows])

        context.fit(subject, Training(context.train.texts, loss, self.epochs, 3e-3, batch_size=8))
        return subject


@dataclass(frozen=True)
class Take(ModelStrategy):
    """Keep the first neurons of each layer."""

    first: Annotated[int, IntDistribution(1, 32)] = 32
    second: Annotated[int, IntDistribution(1, 32)] = 32
    third: Annotated[int, IntDistribution(1, 32)] = 32
    layers: Annotated[int, IntDistribution(1, 3)] = 3

    name: ClassVar[str] = "take"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        for layer, neurons in enumerate((self.first, self.second, self.third)):
            model.keep_neurons(layer, torch.arange(neurons))
        model.keep_layers(list(range(self.layers)))
        origin = Origin(subject.origin.layers[: self.layers], subject.origin.hidden)
        return replace(subject, origin=origin)


def noted(step: int, steps: int) -> None:
    time.sleep(float(os.environ.get(PAUSE, 0.0)))
    with Path(os.environ[LOG]).open("a") as file:
        file.write(f"{os.getpid()} {step} {steps}\n")


@contextmanager
def narrowed(model: Encoder, share: float) -> Iterator[None]:
    """All feed-forward networks without their last neurons."""

    def cut(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        kept = torch.zeros(inputs[0].shape[-1])
        kept[: round(share * len(kept))] = 1.0
        return inputs[0] * kept, *inputs[1:]

    handles = [
        block.output.register_forward_pre_hook(cut) for block in model.modules() if isinstance(block, FeedForward)
    ]
    try:
        yield
    finally:
        for each in handles:
            each.remove()


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [Elastic, Take]
