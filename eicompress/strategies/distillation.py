"""`distillation`: the student learns from the teacher's outputs for the task's texts and for distortions of them.

Logits and the state that the head reads are those of any teacher, and need no common tokens. Layers are compared by
`layer_distillation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.answers.vector import halves
from eicompress.contracts import Candidate, Context, ModelStrategy, Training
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.training.augmentation import with_distortions
from eicompress.training.losses import answer_loss, label_loss, logit_mse, where_answered
from eicompress.training.nested_vectors import axes_of, nested_distance, turn
from eicompress.training.teacher import LazyAnswers
from eicompress.training.trainer import RATE_STEPS
from eicompress.values import Text, seed_of


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
    """The highest learning rate, of up to 1,000 steps; n times as many have it over the square root of n."""
    logits: Annotated[Literal["kl", "mse"], CategoricalDistribution(("kl", "mse"))] = "kl"
    """How logits of student and teacher are compared; in regression always by their squared distance."""
    temperature: Annotated[float, FloatDistribution(0.5, 20.0, log=True)] = 2.0
    """Temperature of the softmax in which logits are compared, with "kl"."""
    label_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.2
    """Share of the label's loss; the rest is the teacher's."""
    state_weight: Annotated[float, FloatDistribution(0.0, 10.0)] = 0.0
    """Weight of the squared distance between the states that student's and teacher's heads read."""
    halvings: Annotated[int, IntDistribution(0, 6)] = 0
    """Of an embedder: how often its vectors can be cut in half. They are turned to their principal axes, and the first
    half of them, the first quarter and so on learn the teacher's cosines too (Matryoshka, arXiv 2205.13147)."""
    held_out: Annotated[float, FloatDistribution(0.0, 0.5)] = 0.0
    """Share of the training texts that are not learned from, so that the training can stop when their loss no longer
    falls, at the weights where it was lowest."""
    batch_size: Annotated[int, IntDistribution(1, 1024, log=True)] = 32
    """Texts in a batch."""
    max_steps: Annotated[int, IntDistribution(1, 10_000_000, log=True)] = 20_000
    """Steps at full fidelity, if `epochs` would take more; of text that they cannot read a random part is left out."""

    name: ClassVar[str] = "distillation"
    paper: ClassVar[str] = "Hinton et al., arXiv 1503.02531"
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"epochs": 1.0, "distortions": 1}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        cuts = self._cuts(context)
        if context.preview:
            return subject
        most = self.max_steps * self.batch_size
        train, texts = with_distortions(context.train, subject.texts, self.distortions, most, context.seed)
        epochs = min(self.epochs, most / len(texts))
        lesson = _Lesson(self, subject, context, texts, train.targets)
        if cuts:
            lesson.nest(cuts, axes_of(context))
            if self.name not in subject.facts:
                turn(subject.encoder, axes_of(context))
        context.fit(subject, lesson.training(epochs))
        return replace(subject, facts={**subject.facts, self.name: {"cuts": list(cuts)}}) if cuts else subject

    def _cuts(self, context: Context) -> tuple[int, ...]:
        """At which dimensions the vectors can be cut. Raises `Inapplicable`."""
        answer = context.task.answer
        if not self.halvings:
            return ()
        if not answer.unit or answer.outputs < 2**self.halvings:
            raise Inapplicable(
                f"`{self.name}.halvings` must be 0 where the answer is no vector of that many dimensions, but is "
                f"{self.halvings} for a {answer.kind} of {answer.outputs}: leave it out"
            )
        return halves(answer.outputs, self.halvings)


class _Lesson:
    """The losses of a student on its texts, and the modules that are trained beside it."""

    def __init__(
        self, knobs: Distillation, subject: Candidate, context: Context, texts: Sequence[Text], targets: np.ndarray
    ) -> None:
        self.knobs, self.context, self.texts = knobs, context, texts
        self.model = subject.encoder
        self.answers = LazyAnswers(context.teacher, texts)
        if knobs.state_weight and self.model.config.per_word:
            raise Inapplicable(
                f"`{knobs.name}.state_weight` must be 0 where each word is answered, since the head then reads the "
                "last layer's states: compare these by `layer_distillation`"
            )
        if knobs.state_weight and not self.answers.width:
            raise Inapplicable(
                f"`{knobs.name}.state_weight` must be 0 where each task has its own teacher, since their states do not "
                "correspond to each other: leave it out"
            )
        # Of the baseline's own states, the dimensions that the student kept.
        self.kept = list(subject.origin.hidden) if context.teacher.aligned else slice(None)
        self.targets = torch.from_numpy(targets)
        self.cuts: tuple[int, ...] = ()
        self.axes: Tensor | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(context.seed, "map"))
            # To states of other teachers than the baseline no dimension of the student corresponds.
            width = self.answers.width
            same = context.teacher.aligned or not width
            self.to_teacher = nn.Identity() if same else nn.Linear(self.model.config.hidden, width)

    def nest(self, cuts: tuple[int, ...], axes: Tensor) -> None:
        """Compare the first dimensions too, of vectors that are turned to these axes (width, width)."""
        self.cuts, self.axes = cuts, axes

    def training(self, epochs: float) -> Training:
        count = len(self.targets)
        drawn = np.random.default_rng(seed_of(self.context.seed, "held out")).permutation(count)
        held_out = drawn[: round(self.knobs.held_out * count)]
        copies = np.arange(count * (1 + self.knobs.distortions))
        rows = np.flatnonzero(np.isin(copies % count, held_out))
        return Training(
            self.texts,
            self._loss,
            epochs=epochs,
            learning_rate=self.knobs.learning_rate,
            rate_steps=RATE_STEPS,
            batch_size=self.knobs.batch_size,
            extra=self.to_teacher,
            held_out=rows.tolist(),
            prepare=self.answers.ask,
        )

    def _loss(self, batch: Batch) -> Tensor:
        knobs, device = self.knobs, batch.input_ids.device
        rows = batch.rows.cpu()
        output = self.model.outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        logits = batch.answers(output.logits)
        wanted = self.answers.logits(rows.numpy()).to(device)
        wanted = wanted if self.axes is None else wanted @ self.axes.to(device)
        if knobs.logits == "kl":
            compared = answer_loss(self.context.task.answer, logits, wanted, knobs.temperature)
        else:
            compared = logit_mse(where_answered(self.context.task.answer, logits, wanted), wanted)
        if self.cuts:
            compared = compared + nested_distance(logits, wanted, self.cuts)
        loss = (1 - knobs.label_weight) * compared
        if knobs.label_weight:
            loss = loss + knobs.label_weight * label_loss(self.context.task.loss, logits, rows, self.targets)
        if knobs.state_weight:
            own = self.to_teacher(output.pooled).float()
            states = self.answers.states(rows.numpy())[:, self.kept].to(device)
            loss = loss + knobs.state_weight * F.mse_loss(own, states)
        return loss
