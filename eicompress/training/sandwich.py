"""The training of a super-network by the sandwich rule (BigNAS, arXiv 2003.11142)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from eicompress.contracts import Candidate, Context, Examples, Strategy, Training
from eicompress.encoder.tokens import Batch
from eicompress.training.augmentation import with_distortions
from eicompress.training.losses import answer_loss, label_loss
from eicompress.training.teacher import LazyAnswers
from eicompress.training.trainer import RATE_STEPS
from eicompress.values import Text, seed_of

Part = TypeVar("Part")


@dataclass(frozen=True)
class Lessons:
    """How long and from whom sub-networks learn."""

    epochs: float
    distortions: int
    learning_rate: float
    temperature: float
    label_weight: float
    """Share of the label's loss for the largest sub-network; the rest is the teacher's."""
    batch_size: int
    max_steps: int

    @classmethod
    def of(cls, strategy: Strategy) -> Self:
        """Those that the knobs of these names say."""
        return cls(**{each.name: getattr(strategy, each.name) for each in fields(cls)})

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
    random: int
    """Random ones of a step, beside the largest and the smallest."""


def train_sandwich(
    subject: Candidate,
    context: Context,
    lessons: Lessons,
    rows: tuple[Examples, Sequence[Text]],
    parts: SubNetworks[Part],
) -> None:
    """At each step the largest sub-network learns from the teacher and the labels, the others from the largest.

    `rows` are those of the lessons.
    """
    train, texts = rows
    targets = torch.from_numpy(train.targets)
    answers = LazyAnswers(context.teacher, texts)

    def compared(logits: Tensor, wanted: Tensor) -> Tensor:
        return answer_loss(context.task.answer, logits, wanted, lessons.temperature)

    def loss(batch: Batch) -> Tensor:
        at = batch.rows.cpu()
        logits = parts.logits(parts.largest, batch)
        total = (1 - lessons.label_weight) * compared(logits, answers.logits[at].to(logits.device))
        if lessons.label_weight:
            total = total + lessons.label_weight * label_loss(context.task.loss, logits, at, targets)
        others = [parts.smallest, *drawn(parts, context.seed, batch.step)]
        for part in others:
            total = total + compared(parts.logits(part, batch), logits.detach())
        return total / (1 + len(others))

    training = Training(
        texts,
        loss,
        epochs=min(lessons.epochs, lessons.most_texts / len(texts)),
        learning_rate=lessons.learning_rate,
        rate_steps=RATE_STEPS,
        batch_size=lessons.batch_size,
        sparse=False,
        prepare=answers.ask,
    )
    context.fit(subject, training)


def drawn(parts: SubNetworks[Part], seed: int, step: int) -> Sequence[Part]:
    """The random sub-networks of a step, the same whenever a training goes on from there."""
    generator = np.random.default_rng(seed_of(seed, f"sub-networks of step {step}"))
    return [parts.draw(generator) for _ in range(parts.random)]
