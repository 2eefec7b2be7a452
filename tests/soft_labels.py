"""A strategy that trains, as a plug-in file: `docs/write-a-plugin.md` shows it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from optuna.distributions import FloatDistribution
from torch.nn import functional as F

from eicompress import Batch, Candidate, Context, Inapplicable, ModelStrategy, Strategy, Training, hookimpl


@dataclass(frozen=True)
class SoftLabels(ModelStrategy):
    """Train all weights on the labels and on the teacher's logits."""

    epochs: Annotated[float, FloatDistribution(0.1, 100.0)] = 3.0
    """Rounds of the training texts."""
    share: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.5
    """Share of the teacher's logits in the loss; the labels have the rest."""

    name: ClassVar[str] = "soft_labels"
    paper: ClassVar[str] = "Do Deep Nets Really Need to be Deep?, arXiv 1312.6184"
    trains: ClassVar[bool] = True

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        if context.task.answer.per_word:  # a batch has as many logits as its longest text has words
            raise Inapplicable("`soft_labels` compares an answer a text, but this task answers each word: leave it out")
        if context.preview:  # nothing is trained, so no teacher has to be asked
            return subject
        model, texts = subject.encoder, context.train.texts
        targets = torch.as_tensor(context.train.targets)
        answers = torch.as_tensor(np.array(context.teacher.outputs(texts).logits, np.float32))

        def loss(batch: Batch) -> torch.Tensor:
            logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            rows = batch.rows.cpu()  # which of `texts` these are
            labels = context.task.loss(logits, targets[rows].to(logits.device))
            teacher = F.mse_loss(logits, answers[rows].to(logits.device))
            return (1 - self.share) * labels + self.share * teacher

        context.fit(subject, Training(texts, loss, self.epochs, learning_rate=1e-3))
        return subject


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [SoftLabels]
