"""The training of a super-network by the sandwich rule (BigNAS, arXiv 2003.11142)."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from eicompress.contracts import Candidate, Context, Training
from eicompress.encoder.tokens import Batch
from eicompress.training.augmentation import with_distortions
from eicompress.training.losses import answer_loss, label_loss
from eicompress.training.teacher import LazyAnswers
from eicompress.training.trainer import RATE_STEPS
from eicompress.values import seed_of

Part = TypeVar("Part", bound=Hashable)


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


@dataclass(frozen=True)
class SubNetworks(Generic[Part]):
    """The sub-networks of an encoder, as the training needs them."""

    logits: Callable[[Part, Tensor, Tensor, Tensor], Tensor]
    """A part, and ids, mask and token types (B, T) -> logits (B, outputs)."""
    largest: Part
    smallest: Part
    draw: Callable[[np.random.Generator], Part]
    random: int
    """Random ones of a step, beside the largest and the smallest."""


def train_sandwich(subject: Candidate, context: Context, lessons: Lessons, parts: SubNetworks[Part]) -> None:
    """At each step the largest sub-network learns from the teacher and the labels, the others from the largest."""
    most = lessons.max_steps * lessons.batch_size
    train, texts = with_distortions(context.train, subject.texts, lessons.distortions, most, context.seed)
    targets = torch.from_numpy(train.targets)
    answers = LazyAnswers(context.teacher, texts)

    def compared(logits: Tensor, wanted: Tensor) -> Tensor:
        return answer_loss(context.task.answer, logits, wanted, lessons.temperature)

    def run(part: Part, batch: Batch) -> Tensor:
        return batch.answers(parts.logits(part, batch.input_ids, batch.attention_mask, batch.token_type_ids))

    def loss(batch: Batch) -> Tensor:
        rows = batch.rows.cpu()
        logits = run(parts.largest, batch)
        total = (1 - lessons.label_weight) * compared(logits, answers.logits[rows].to(logits.device))
        if lessons.label_weight:
            total = total + lessons.label_weight * label_loss(context.task.loss, logits, rows, targets)
        others = [parts.smallest, *drawn(parts, context.seed, batch.step)]
        for part in others:
            total = total + compared(run(part, batch), logits.detach())
        return total / (1 + len(others))

    training = Training(
        texts,
        loss,
        epochs=min(lessons.epochs, most / len(texts)),
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
