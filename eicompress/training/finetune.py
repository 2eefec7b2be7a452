"""`recover`: a short training between or after rounds of pruning, which recovers some of the quality."""

import torch
from torch import Tensor, nn

from eicompress.contracts import Candidate, Context, Training
from eicompress.encoder.tokens import Batch
from eicompress.training.losses import answer_loss

LEARNING_RATE = 2e-4
TEMPERATURE = 2.0
LABEL_SHARE = 0.2
"""Of the loss; the rest is the teacher's."""


def recover(subject: Candidate, context: Context, epochs: float, frozen: tuple[nn.Parameter, ...] = ()) -> None:
    """Train on the teacher's logits and the labels of the training texts; `frozen` parameters stay as they are."""
    outputs = context.teacher.outputs(context.train.texts)
    labels = torch.from_numpy(context.train.targets).to(context.compute_device)

    def loss(batch: Batch) -> Tensor:
        logits = batch.logits(subject.model)
        by_label = context.task.loss(logits, labels[batch.rows])
        wanted = torch.from_numpy(outputs.take(batch.rows.cpu().numpy()).logits).to(logits.device).float()
        by_teacher = answer_loss(context.task.answer, logits, wanted, TEMPERATURE)
        return LABEL_SHARE * by_label + (1 - LABEL_SHARE) * by_teacher

    rates = dict.fromkeys(frozen, 0.0)
    context.fit(subject, Training(context.train.texts, loss, epochs, LEARNING_RATE, rates=rates))
