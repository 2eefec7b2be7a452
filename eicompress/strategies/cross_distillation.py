"""`cross_distillation`: the student gets the teacher's own task head, and both may learn from each other.

The student's last state passes a projector P into the teacher's classifier W, which is frozen, tied or a copy:
logits = W P f + b. The product W P is the student's classifier, so that of the projector no byte is left.

    student's loss  (1 - a) T^2 KL(teacher || student) + a label's + feature_weight MSE(P f, teacher's features)
    teacher's loss  label's + teacher_kl T^2 KL(student || teacher) + teacher_feature MSE(teacher's features, P f)

Each sees the other's side without its gradient. EI-BERT publishes the idea, but not which layers, weights and turns;
all of them are knobs here. With a teacher that stays as it is (SimKD), or of which the head alone learns, its answers
are looked up, and the strategy costs what `distillation` costs.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from eicompress.contracts import Candidate, Context, Examples, ModelStrategy, Origin, Training
from eicompress.encoder.heads import head_modules
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch, Tokens, in_order_of_length, tokenize
from eicompress.errors import Inapplicable
from eicompress.training.augmentation import with_distortions
from eicompress.training.losses import answer_loss, label_loss, same_answers, where_answered
from eicompress.training.teacher import LazyAnswers
from eicompress.training.trainer import RATE_STEPS
from eicompress.values import Text, seed_of

LOOKS = 20
"""How often in a training the teacher's quality is measured."""
HELD_OUT_MOST = 500


@dataclass(frozen=True)
class CrossDistillation(ModelStrategy):
    """Put the teacher's head into the candidate and train it there, with the teacher learning slowly or not at all."""

    epochs: Annotated[float, FloatDistribution(0.1, 100.0)] = 6.0
    """The student's passes over the texts and their distortions, at full fidelity."""
    distortions: Annotated[int, IntDistribution(0, 20)] = 3
    """Distorted copies of each training text. They have no label, and the teacher does not learn from them."""
    learning_rate: Annotated[float, FloatDistribution(1e-6, 1e-2, log=True)] = 5e-4
    """The student's highest learning rate, of up to 1,000 steps; n times as many have it over the square root of n."""
    temperature: Annotated[float, FloatDistribution(0.5, 20.0, log=True)] = 2.0
    """Temperature of the softmax in which teacher and student are compared."""
    label_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.2
    """Share of the label's loss in the student's; the rest is the teacher's."""
    feature_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 10.0
    """Weight of the squared distance between the inputs of the two classifiers."""
    head: Annotated[Literal["frozen", "tied", "copy"], CategoricalDistribution(("frozen", "tied", "copy"))] = "frozen"
    """The teacher's classifier in the student: as it was, the one that the teacher learns with, or one of its own."""
    teacher_updates: Annotated[
        Literal["none", "joint", "alternating"], CategoricalDistribution(("none", "joint", "alternating"))
    ] = "none"
    """Whether the teacher learns too: in the same steps as the student, or in steps of its own."""
    teacher_layers: Annotated[int, IntDistribution(0, 24)] = 0
    """Last layers of the teacher that learn with its head. From one on it reads each text again, which is slow."""
    teacher_rate: Annotated[float, FloatDistribution(1e-4, 1.0, log=True)] = 0.02
    """The teacher's learning rate, as a share of the student's."""
    student_steps: Annotated[int, IntDistribution(1, 20)] = 1
    """The student's steps for each one of the teacher's, where they alternate."""
    teacher_kl: Annotated[float, FloatDistribution(0.0, 10.0)] = 0.5
    """Weight of the divergence from the student in the teacher's loss."""
    teacher_feature: Annotated[float, FloatDistribution(0.0, 100.0)] = 1.0
    """Weight of the distance between the features in the teacher's loss."""
    start: Annotated[float, FloatDistribution(0.0, 0.9)] = 0.3
    """Share of the training before the teacher begins to learn."""
    floor: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.99
    """A teacher whose quality on held-out training texts falls under this share of what it was goes back to where it
    was last above, and learns no more."""
    held_out: Annotated[float, FloatDistribution(0.01, 0.5)] = 0.05
    """Share of the training texts, at most 500, that a learning teacher is judged by and does not learn from."""
    batch_size: Annotated[int, IntDistribution(1, 1024, log=True)] = 32
    """Texts in a batch."""
    max_steps: Annotated[int, IntDistribution(1, 10_000_000, log=True)] = 20_000
    """The student's steps at full fidelity, if `epochs` would take more."""

    name: ClassVar[str] = "cross_distillation"
    paper: ClassVar[str] = "EI-BERT, arXiv 2507.04636; SimKD, arXiv 2203.14001; deep mutual learning, arXiv 1706.00384"
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"epochs": 1.0, "distortions": 1, "teacher_updates": "joint"}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        if not context.teacher.aligned:
            raise Inapplicable(f"`{self.name}` lends the head of the model itself: it needs no other teacher beside it")
        if context.preview:
            return subject
        most = self.max_steps * self.batch_size
        train, texts = with_distortions(context.train, subject.texts, self.distortions, most, context.seed)
        teacher = _Teacher(self, context, train, texts)
        head = teacher.model.classifier if self.head == "tied" else copy.deepcopy(teacher.model.classifier)
        projector = _lend(head, model, subject.origin)
        both = _Both(self, context, model, projector, teacher, torch.from_numpy(train.targets))
        epochs = min(self.epochs, most / len(texts))
        if self.teacher_updates == "alternating":  # of the steps in turns, the student has its share
            epochs /= 1 - (1 - self.start) / (self.student_steps + 1)
        frozen = dict.fromkeys(head.parameters(), 0.0) if self.head == "frozen" else {}
        training = Training(
            texts,
            both.loss,
            epochs=epochs,
            learning_rate=self.learning_rate,
            rate_steps=RATE_STEPS,
            batch_size=self.batch_size,
            extra=teacher,
            rates={**teacher.rates(), **frozen},
            prepare=teacher.answers.ask,
        )
        try:
            context.fit(subject, training)
        finally:
            _fold(model)
        return replace(subject, facts={**subject.facts, self.name: teacher.facts()})


def _lend(head: Linear, model: Encoder, origin: Origin) -> nn.Parameter:
    """Make a projector the parameter of the model's classifier, and its weight that of the head times the projector.

    The projector begins with the dimensions that the model kept of its teacher.
    """
    kept = torch.tensor(origin.hidden)
    projector = nn.Parameter(torch.zeros(head.inputs, len(kept)))
    with torch.no_grad():
        projector[kept, torch.arange(len(kept))] = 1.0
    classifier = model.classifier
    classifier.weight, classifier.bias = projector, head.bias
    parametrize.register_parametrization(classifier, "weight", _LentHead(head.weight), unsafe=True)
    classifier.set_quantization(classifier.spec)
    return projector


def _fold(model: Encoder) -> None:
    """Let the product of head and projector be the classifier's own weight."""
    parametrize.remove_parametrizations(model.classifier, "weight", leave_parametrized=True)
    model.classifier.bias = nn.Parameter(model.classifier.bias.detach().clone())


class _LentHead(nn.Module):
    """A classifier's weight as the product of a lent one (outputs, teacher's width) and a projector."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, projector: Tensor) -> Tensor:
        """(teacher's width, student's width) -> (outputs, student's width)"""
        return self.weight @ projector


@dataclass(frozen=True)
class _Side:
    """The outputs of student or teacher for a batch."""

    logits: Tensor
    """(B, outputs)"""
    features: Tensor
    """(B, teacher's width): the input of the teacher's classifier."""

    def detached(self) -> "_Side":
        return _Side(self.logits.detach(), self.features.detach())


@dataclass(frozen=True)
class _Both:
    """The loss of student and teacher together, step by step."""

    knobs: CrossDistillation
    context: Context
    student: Encoder
    projector: nn.Parameter
    teacher: "_Teacher"
    labels: Tensor

    def loss(self, batch: Batch) -> Tensor:
        learns = self._who_learns(batch)
        with torch.set_grad_enabled("teacher" in learns):
            teacher = self.teacher(batch)
        with torch.set_grad_enabled("student" in learns):
            student = self._said(batch)
        parts = []
        if "student" in learns:
            parts.append(self._student_loss(student, teacher.detached(), batch.rows))
        if "teacher" in learns:
            parts.append(self._teacher_loss(teacher, student.detached(), batch.rows))
        return torch.stack(parts).sum()

    def _who_learns(self, batch: Batch) -> tuple[str, ...]:
        knobs = self.knobs
        if not self.teacher.learns(batch):
            return ("student",)
        if knobs.teacher_updates == "joint":
            return ("student", "teacher")
        return ("teacher",) if batch.step % (knobs.student_steps + 1) == knobs.student_steps else ("student",)

    def _said(self, batch: Batch) -> _Side:
        pooled = self.student.outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids).pooled
        return _side(self.student, batch, pooled, self.projector)

    def _student_loss(self, student: _Side, teacher: _Side, rows: Tensor) -> Tensor:
        knobs = self.knobs
        return (
            (1 - knobs.label_weight)
            * answer_loss(self.context.task.answer, student.logits, teacher.logits, knobs.temperature)
            + knobs.label_weight * label_loss(self.context.task.loss, student.logits, rows, self.labels)
            + knobs.feature_weight * F.mse_loss(*same_answers(student.features, teacher.features))
        )

    def _teacher_loss(self, teacher: _Side, student: _Side, rows: Tensor) -> Tensor:
        """Over the texts that the teacher may learn from."""
        knobs = self.knobs
        may = self.teacher.learns_from[rows.cpu()].to(rows.device)
        labels = self.labels[rows[may].cpu()].to(rows.device)
        return (
            self.context.task.loss(teacher.logits[may], labels)
            + knobs.teacher_kl
            * answer_loss(self.context.task.answer, teacher.logits[may], student.logits[may], knobs.temperature)
            + knobs.teacher_feature * F.mse_loss(*same_answers(teacher.features[may], student.features[may]))
        )


class _Teacher(nn.Module):
    """The baseline as a teacher that may learn: its head alone, over the states that are known, or its last layers.

    All that decides how it goes on is in its parameters and buffers, so that a killed training can be resumed.
    """

    learning: Tensor
    quality: Tensor

    def __init__(self, knobs: CrossDistillation, context: Context, train: Examples, texts: list[Text]) -> None:
        super().__init__()
        baseline = context.baseline.encoder
        self.knobs, self.task = knobs, context.task
        self.updates = knobs.teacher_updates != "none"
        self.model = copy.deepcopy(baseline)
        self.reads = self.updates and knobs.teacher_layers > 0
        self.always = baseline.config.per_word  # states of words are not kept
        self.tokens: Tokens | None = None
        if self.reads or self.always:
            self.tokens = tokenize(context.baseline.tokenizer, texts, reads=baseline.config.reads)
        else:
            _strip_to_head(self.model)
        self.answers = LazyAnswers(context.teacher, texts)
        rows = np.random.default_rng(seed_of(context.seed, "held out")).permutation(len(train))
        self.judged = np.sort(rows[: max(1, min(HELD_OUT_MOST, round(knobs.held_out * len(train))))])
        self.targets = train.targets[self.judged]
        if self.updates:
            self.answers.ask(self.judged)
        self.learns_from = torch.arange(len(texts)) < len(train)
        self.learns_from[self.judged] = False
        self.register_buffer("learning", torch.tensor(self.updates))
        self.register_buffer("quality", torch.tensor([-1.0, -1.0]))
        for number, each in enumerate(self._learned()):
            self.register_buffer(f"good_{number}", each.detach().clone())

    def _learned(self) -> list[nn.Parameter]:
        if not self.updates:
            return []
        layers = len(self.model.layers)
        parts = [self.model.layer(number) for number in range(max(0, layers - self.knobs.teacher_layers), layers)]
        return [each for part in (*parts, *head_modules(self.model)) for each in part.parameters()]

    def rates(self) -> dict[nn.Parameter, float]:
        """What does not learn does so at rate 0."""
        learned = dict.fromkeys(self._learned(), self.knobs.teacher_rate)
        return {each: learned.get(each, 0.0) for each in self.model.parameters()}

    def learns(self, batch: Batch) -> bool:
        """Whether it learns from a batch, after a look at its quality where one is due."""
        if batch.step < self.knobs.start * batch.steps or not self.learning:
            return False
        if batch.step % max(1, batch.steps // LOOKS) == 0 or self.quality[0] < 0:
            self._look()
        return bool(self.learning) and bool(self.learns_from[batch.rows.cpu()].any())

    def forward(self, batch: Batch) -> _Side:
        rows, begun = batch.rows.cpu().numpy(), self.reads and batch.step >= self.knobs.start * batch.steps
        side, asked = self._side(rows, reads=begun), self.answers.logits(rows).to(batch.input_ids.device)
        return replace(side, logits=where_answered(self.task.answer, side.logits, asked))

    def _side(self, rows: np.ndarray, *, reads: bool) -> _Side:
        device = str(self.learning.device)
        if (reads or self.always) and self.tokens is not None:
            own = self.tokens.batch(rows, self.model.config.padding_id, device)
            pooled = self.model.outputs(own.input_ids, own.attention_mask, own.token_type_ids).pooled
            return _side(self.model, own, pooled)
        features = self.model.features(self.answers.states(rows).to(device))
        return _Side(self.model.classify(features), features)

    @torch.no_grad()
    def _look(self) -> None:
        """Keep what is good, or go back to it and stop."""
        quality = self._judged()
        if self.quality[0] < 0:
            self.quality[0] = quality
        good = quality >= self.knobs.floor * float(self.quality[0])
        for number, each in enumerate(self._learned()):
            kept = self.get_buffer(f"good_{number}")
            if good:
                kept.copy_(each)
            else:
                each.copy_(kept)
        if good:
            self.quality[1] = quality
        self.learning.fill_(good)

    @torch.no_grad()
    def _judged(self) -> float:
        """Its quality on the held-out texts."""
        outputs = self.model.config.outputs
        shape = (1, outputs) if self.tokens is None else self.tokens.of_answers(outputs)
        logits = np.zeros((len(self.judged), *shape[1:]), np.float32)
        lengths = np.zeros(len(self.judged)) if self.tokens is None else self.tokens.lengths[self.judged]
        for places in in_order_of_length(lengths):
            side = self._side(self.judged[places], reads=self.reads)
            answers = side.logits.float().cpu().numpy()
            logits[places, : answers.shape[1]] = answers
        return self.task.best_score(logits, self.targets)

    def facts(self) -> dict[str, float | bool]:
        """The teacher's quality on held-out training texts, first and last."""
        if not self.updates or self.quality[0] < 0:
            return {}
        first, last = self.quality.tolist()
        learning = bool(self.learning)
        return {"teacher_before": round(first, 4), "teacher_after": round(last, 4), "teacher_stopped": not learning}


def _side(model: Encoder, batch: Batch, pooled: Tensor, projector: Tensor | None = None) -> _Side:
    """What a model says of a batch's texts, or of their words; a projector turns its features into the teacher's."""
    features = model.features(pooled)
    logits = batch.answers(model.classify(features, batch.attention_mask))
    return _Side(logits, batch.features(features if projector is None else features @ projector.T))


def _strip_to_head(model: Encoder) -> None:
    """Remove all parts except the head."""
    model.keep_tokens(torch.tensor([model.config.padding_id]))
    model.keep_positions(1)
    model.use_layers([])
