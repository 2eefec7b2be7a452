"""The training of a super-network by the sandwich rule (BigNAS, arXiv 2003.11142)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from torch import Tensor

from eicompress.contracts import Candidate, Context, Examples, ModelStrategy, Training
from eicompress.encoder.tokens import Batch
from eicompress.training.augmentation import with_distortions
from eicompress.training.losses import answer_loss, label_loss
from eicompress.training.teacher import LazyAnswers
from eicompress.training.trainer import RATE_STEPS
from eicompress.values import Text, seed_of

Part = TypeVar("Part")


@dataclass(frozen=True)
class SandwichTraining(ModelStrategy):
    """A strategy that trains a super-network; its own knobs say how long and from whom sub-networks learn."""

    epochs: Annotated[float, FloatDistribution(0.01, 100.0)] = 6.0
    """Passes over the texts and their distortions."""
    distortions: Annotated[int, IntDistribution(0, 20)] = 3
    """Distorted copies of each training text."""
    learning_rate: Annotated[float, FloatDistribution(1e-6, 1e-2, log=True)] = 5e-4
    """The highest learning rate, of up to 1,000 steps; n times as many have it over the square root of n."""
    temperature: Annotated[float, FloatDistribution(0.5, 20.0, log=True)] = 2.0
    """Of the softmax in which logits are compared."""
    label_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.2
    """Share of the label's loss for the largest sub-network; the rest is the teacher's."""
    random: Annotated[int, IntDistribution(0, 8)] = 2
    """Random sub-networks of a step, beside the largest and the smallest one."""
    batch_size: Annotated[int, IntDistribution(1, 1024, log=True)] = 32
    """Texts of a step."""
    max_steps: Annotated[int, IntDistribution(1, 10_000_000, log=True)] = 20_000
    """Steps, if `epochs` would take more."""

    trains: ClassVar[bool] = True
    shares_training: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"epochs": 1.0, "distortions": 1, "random": 1}

    def rows(self, subject: Candidate, context: Context) -> tuple[Examples, Sequence[Text]]:
        """The training rows, and the texts to learn from: theirs, the subject's own and their distortions."""
        return with_distortions(context.train, subject.texts, self.distortions, self.most_texts, context.seed)

    @property
    def most_texts(self) -> int:
        return self.max_steps * self.batch_size


@dataclass(frozen=True)
class SubNetworks(Generic[Part]):
    """The sub-networks of an encoder, as the training needs them."""

    logits: Callable[[Part, Batch], Tensor]
    """A part's logits (B, outputs) for a batch."""
    largest: Part
    smallest: Part
    draw: Callable[[np.random.Generator], Part]


def train_sandwich(
    subject: Candidate,
    context: Context,
    knobs: SandwichTraining,
    rows: tuple[Examples, Sequence[Text]],
    parts: SubNetworks[Part],
) -> None:
    """At each step the largest sub-network learns from the teacher and the labels, the others from the largest.

    `rows` are those of `knobs.rows`.
    """
    train, texts = rows
    targets = torch.from_numpy(train.targets)
    answers = LazyAnswers(context.teacher, texts)

    def compared(logits: Tensor, wanted: Tensor) -> Tensor:
        return answer_loss(context.task.answer, logits, wanted, knobs.temperature)

    def loss(batch: Batch) -> Tensor:
        at = batch.rows.cpu()
        logits = parts.logits(parts.largest, batch)
        total = (1 - knobs.label_weight) * compared(logits, answers.logits(at.numpy()).to(logits.device))
        if knobs.label_weight:
            total = total + knobs.label_weight * label_loss(context.task.loss, logits, at, targets)
        others = [parts.smallest, *drawn(parts, knobs.random, context.seed, batch.step)]
        for part in others:
            total = total + compared(parts.logits(part, batch), logits.detach())
        return total / (1 + len(others))

    training = Training(
        texts,
        loss,
        epochs=min(knobs.epochs, knobs.most_texts / len(texts)),
        learning_rate=knobs.learning_rate,
        rate_steps=RATE_STEPS,
        batch_size=knobs.batch_size,
        sparse=False,
        prepare=answers.ask,
    )
    context.fit(subject, training)


def drawn(parts: SubNetworks[Part], count: int, seed: int, step: int) -> Sequence[Part]:
    """The random sub-networks of a step, the same whenever a training goes on from there."""
    generator = np.random.default_rng(seed_of(seed, f"sub-networks of step {step}"))
    return [parts.draw(generator) for _ in range(count)]
