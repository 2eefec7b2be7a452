"""`distillation`: the student learns what the teacher says, of the task's texts and of distortions of them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.augmentation import with_distortions
from eicompress.contracts import Candidate, Context, ModelStrategy, Training
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.losses import logit_kl
from eicompress.values import seed_of


@dataclass(frozen=True)
class Distillation(ModelStrategy):
    """Train the candidate on the teacher's logits and last state, and on the labels.

    The distorted texts have no label: the teacher says what they are.
    """

    epochs: Annotated[float, FloatDistribution(0.1, 100.0)] = 6.0
    """Passes over the texts and their distortions, at full fidelity."""
    distortions: Annotated[int, IntDistribution(0, 20)] = 3
    """Distorted copies of each training text."""
    learning_rate: Annotated[float, FloatDistribution(1e-6, 1e-2, log=True)] = 5e-4
    temperature: Annotated[float, FloatDistribution(0.5, 20.0, log=True)] = 2.0
    """Of the softmax in which teacher and student are compared."""
    label_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.2
    """Share of the label's loss; the rest is the teacher's."""
    state_weight: Annotated[float, FloatDistribution(0.0, 10.0)] = 1.0
    """Weight of the squared distance between the states that student's and teacher's heads read."""
    batch_size: Annotated[int, IntDistribution(1, 1024, log=True)] = 32
    max_steps: Annotated[int, IntDistribution(1, 10_000_000, log=True)] = 20_000
    """Steps at full fidelity, if `epochs` would take more; of text that they cannot read a random part is left out."""

    name: ClassVar[str] = "distillation"
    paper: ClassVar[str] = "Distilling the knowledge in a neural network, arXiv 1503.02531; TinyBERT, arXiv 1909.10351"
    trains: ClassVar[bool] = True

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        if context.preview:
            return subject
        model = subject.model
        if not isinstance(model, Encoder):
            raise Inapplicable(f"`{self.name}` acts on an encoder, but got {type(model).__name__}")
        most = self.max_steps * self.batch_size
        train, texts = with_distortions(context.train, self.distortions, most, context.seed)
        told = context.teacher.outputs(texts)
        aligned = context.teacher.aligned
        states = np.asarray(told.states[:, list(subject.origin.hidden)] if aligned else told.states, np.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(context.seed, "map"))
            # To states of other teachers than the baseline no dimension of the student corresponds.
            to_teacher = nn.Identity() if aligned else nn.Linear(model.config.hidden, states.shape[1])
        targets = _Targets(
            torch.from_numpy(np.asarray(told.logits, np.float32)),
            torch.from_numpy(states),
            to_teacher.to(context.device),
            torch.from_numpy(train.targets),
        )
        context.fit(
            subject,
            Training(
                texts,
                lambda batch: self._loss(model, batch, targets, context),
                epochs=min(self.epochs, self.max_steps * self.batch_size / len(texts)),
                learning_rate=self.learning_rate,
                batch_size=self.batch_size,
                extra=None if aligned else to_teacher,
            ),
        )
        return subject

    def _loss(self, model: Encoder, batch: Batch, targets: "_Targets", context: Context) -> Tensor:
        output = model.outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        rows = batch.rows.cpu()
        loss = (1 - self.label_weight) * logit_kl(
            output.logits, targets.logits[rows].to(context.device), self.temperature
        )
        if self.state_weight:
            loss = loss + self.state_weight * F.mse_loss(
                targets.to_teacher(output.pooled).float(), targets.states[rows].to(context.device)
            )
        labelled = rows < len(targets.labels)
        if self.label_weight and labelled.any():
            labels = targets.labels[rows[labelled]].to(context.device)
            share = labelled.float().mean().to(context.device)
            loss = loss + self.label_weight * share * context.task.loss(output.logits[labelled], labels)
        return loss


@dataclass(frozen=True)
class _Targets:
    logits: Tensor
    states: Tensor
    to_teacher: nn.Module
    """From the student's states to the teacher's."""
    labels: Tensor
