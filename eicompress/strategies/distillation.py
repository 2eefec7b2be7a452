"""`distillation`: the student learns from the teacher's outputs for the task's texts and for distortions of them.

Logits and the state that the head reads are those of any teacher, and need no common tokens. Losses between
layers, of embeddings, hidden states, attention maps and relations, are those of the model that the student was cut out
of; where their tokens differ, words are compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.contracts import Candidate, Context, ModelStrategy, Training
from eicompress.encoder.device import moved
from eicompress.encoder.tokens import Batch, Tokens, tokenize
from eicompress.errors import Inapplicable
from eicompress.training.augmentation import with_distortions
from eicompress.training.layer_loss import LayerStates, Matching, Weights
from eicompress.training.losses import answer_loss, label_loss, logit_mse
from eicompress.training.teacher import LazyAnswers
from eicompress.training.token_alignment import Alignment, align
from eicompress.training.trainer import RATE_STEPS
from eicompress.values import Text, seed_of

SLOWER = 0.1
"""Share of the learning rate for layers whose phase of the progressive transfer is over, as in MobileBERT."""


@dataclass(frozen=True)
class Distillation(ModelStrategy):
    """Train the candidate on the teacher's logits and last state, on the labels, and on the baseline's layers.

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
    hidden_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 0.0
    """Weight of the squared distance between hidden states, layer by layer (TinyBERT)."""
    attention_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 0.0
    """Weight of the divergence of attention maps, head by head, or of their means where the numbers of heads differ."""
    relation_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 0.0
    """Weight of the divergence of the relations among queries, among keys and among values (MiniLMv2)."""
    relation_heads: Annotated[int, IntDistribution(1, 64)] = 12
    """Heads of these relations; of those that both widths can be split into, the largest divisor of this is taken."""
    embedding_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 0.0
    """Weight of the squared distance between the inputs of the first layers."""
    feature_map_weight: Annotated[float, FloatDistribution(0.0, 1000.0)] = 0.0
    """Weight of the squared distance between normalized hidden states (MobileBERT: 100)."""
    mean_weight: Annotated[float, FloatDistribution(0.0, 10_000.0)] = 0.0
    """Weight of the squared distance between the means of hidden states (MobileBERT: 5000)."""
    variance_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 0.0
    """Weight of the distance between the variances of hidden states (MobileBERT: 5)."""
    layer_map: Annotated[
        Literal["origin", "uniform", "last", "learned"],
        CategoricalDistribution(("origin", "uniform", "last", "learned")),
    ] = "origin"
    """Which layers are compared: each with the one that it came from, with evenly spread ones, the last with the last,
    or each with a learned mixture of all."""
    hidden_map: Annotated[Literal["kept", "learned"], CategoricalDistribution(("kept", "learned"))] = "kept"
    """Whether hidden states are compared in the dimensions that the student kept, or through a learned linear map."""
    progressive: Annotated[float, FloatDistribution(0.0, 0.9)] = 0.0
    """Share of the epochs in which, before all else, one layer after the other learns from its own losses alone."""
    held_out: Annotated[float, FloatDistribution(0.0, 0.5)] = 0.0
    """Share of the training texts that are not learned from, so that the training can stop when their loss no longer
    falls, at the weights where it was lowest."""
    batch_size: Annotated[int, IntDistribution(1, 1024, log=True)] = 32
    """Texts in a batch."""
    max_steps: Annotated[int, IntDistribution(1, 10_000_000, log=True)] = 20_000
    """Steps at full fidelity, if `epochs` would take more; of text that they cannot read a random part is left out."""

    name: ClassVar[str] = "distillation"
    paper: ClassVar[str] = (
        "Hinton et al., arXiv 1503.02531; TinyBERT, arXiv 1909.10351; MobileBERT, arXiv 2004.02984; "
        "MiniLMv2, arXiv 2012.15828"
    )
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"epochs": 1.0, "distortions": 1}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        if context.preview:
            return subject
        most = self.max_steps * self.batch_size
        train, texts = with_distortions(context.train, subject.texts, self.distortions, most, context.seed)
        epochs = min(self.epochs, most / len(texts))
        lesson = _Lesson(self, subject, context, texts, train.targets)
        with moved(context.baseline.model, context.compute_device):
            phases = lesson.phases()
            for layer in phases:
                share = self.progressive / len(phases)
                context.fit(subject, lesson.of_layer(layer, epochs * share))
            context.fit(subject, lesson.whole(epochs * (1 - self.progressive if phases else 1)))
        return subject

    def weights(self) -> Weights:
        return Weights(
            hidden=self.hidden_weight,
            feature_map=self.feature_map_weight,
            mean=self.mean_weight,
            variance=self.variance_weight,
            attention=self.attention_weight,
            relation=self.relation_weight,
            embedding=self.embedding_weight,
        )


class _Lesson:
    """The losses of a student on its texts, and the modules that are trained beside it."""

    def __init__(
        self, knobs: Distillation, subject: Candidate, context: Context, texts: Sequence[Text], targets: np.ndarray
    ) -> None:
        self.knobs, self.context, self.texts = knobs, context, texts
        self.model, self.baseline = subject.encoder, context.baseline.encoder
        self.answers = LazyAnswers(context.teacher, texts)
        if knobs.state_weight and self.model.config.per_word:
            raise Inapplicable(
                f"`{knobs.name}.state_weight` must be 0 where each word is answered, since the head then reads the "
                "last layer's states: compare these by `hidden_weight`"
            )
        # Of the baseline's own states, the dimensions that the student kept.
        self.kept = list(subject.origin.hidden) if context.teacher.aligned else slice(None)
        self.targets = torch.from_numpy(targets)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(context.seed, "map"))
            # To states of other teachers than the baseline no dimension of the student corresponds.
            width = self.answers.states.shape[1]
            same = context.teacher.aligned or not width
            to_teacher = nn.Identity() if same else nn.Linear(self.model.config.hidden, width)
        self.matching = Matching(
            subject,
            self.baseline,
            knobs.weights(),
            layer_map=knobs.layer_map,
            learned_map=knobs.hidden_map == "learned",
            relation_heads=knobs.relation_heads,
        )
        self.extra = nn.ModuleDict({"to_teacher": to_teacher, "matching": self.matching})
        self.slots: Alignment | None = None
        self.tokens: Tokens | None = None
        if knobs.weights() != Weights():
            if not self.matching.layers:
                raise Inapplicable(f"`{knobs.name}` compares layers with some weight, but the student has none")
            self.slots = align(subject.tokenizer, context.baseline.tokenizer, texts)
            self.tokens = tokenize(context.baseline.tokenizer, texts)

    def phases(self) -> list[int]:
        """The layers that learn one after the other before all else."""
        return self.matching.layers if self.knobs.progressive and self.slots else []

    def of_layer(self, layer: int, epochs: float) -> Training:
        """A training in which one layer learns, those before it slowly, and nothing after it."""
        rates = dict.fromkeys(self.model.parameters(), SLOWER)
        learning = [self.model.layer(layer)] if layer else [self.model]
        rates.update({each: 1.0 for part in learning for each in part.parameters()})

        def loss(batch: Batch) -> Tensor:
            states = self.model.states(batch.input_ids, batch.attention_mask, batch.token_type_ids, layer + 1)
            return self._matched(batch, states, [layer])

        return self._training(loss, epochs, rates)

    def whole(self, epochs: float) -> Training:
        return self._training(self._loss, epochs, {})

    def _training(self, loss: Callable[[Batch], Tensor], epochs: float, rates: dict[nn.Parameter, float]) -> Training:
        count = len(self.targets)
        drawn = np.random.default_rng(seed_of(self.context.seed, "held out")).permutation(count)
        held_out = drawn[: round(self.knobs.held_out * count)]
        copies = np.arange(count * (1 + self.knobs.distortions))
        rows = np.flatnonzero(np.isin(copies % count, held_out))
        return Training(
            self.texts,
            loss,
            epochs=epochs,
            learning_rate=self.knobs.learning_rate,
            rate_steps=RATE_STEPS,
            batch_size=self.knobs.batch_size,
            extra=self.extra,
            rates=rates,
            held_out=rows.tolist(),
            prepare=self.answers.ask,
        )

    def _loss(self, batch: Batch) -> Tensor:
        knobs, device = self.knobs, batch.input_ids.device
        rows = batch.rows.cpu()
        read = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        if self.slots:
            states = self.model.states(*read)
            pooled = self.model.pool(states[-1], batch.input_ids, batch.attention_mask)
            logits = batch.answers(self.model.head(pooled, batch.attention_mask))
        else:
            output = self.model.outputs(*read)
            logits, pooled = batch.answers(output.logits), output.pooled
        wanted = self.answers.logits[rows].to(device)
        if knobs.logits == "kl":
            compared = answer_loss(self.context.task.answer, logits, wanted, knobs.temperature)
        else:
            compared = logit_mse(logits, wanted)
        loss = (1 - knobs.label_weight) * compared
        if knobs.label_weight:
            loss = loss + knobs.label_weight * label_loss(self.context.task.loss, logits, rows, self.targets)
        if knobs.state_weight:
            own = self.extra["to_teacher"](pooled).float()
            loss = loss + knobs.state_weight * F.mse_loss(own, self.answers.states[rows][:, self.kept].to(device))
        if self.slots:
            loss = loss + self._matched(batch, states, self.matching.layers)
        return loss

    def _matched(self, batch: Batch, states: list[Tensor], layers: Sequence[int]) -> Tensor:
        """The losses of some layers."""
        assert self.slots is not None and self.tokens is not None
        rows, device = batch.rows.cpu().numpy(), str(batch.input_ids.device)
        slots = self.slots.batch(rows, device)
        theirs = self.tokens.batch(rows, self.baseline.config.padding_id, device)
        deepest = 1 + max(number for layer in layers for number in self.matching.targets[layer])
        with torch.no_grad():
            taught = self.baseline.states(theirs.input_ids, theirs.attention_mask, theirs.token_type_ids, deepest)
        student = LayerStates(self.model, states, batch.attention_mask, slots.first, slots)
        teacher = LayerStates(self.baseline, taught, theirs.attention_mask, slots.second, slots)
        loss: Tensor = self.matching(student, teacher, layers)
        return loss
