"""`early_exit`: off-ramps after some layers, at which a text exits that is answered with enough confidence.

After DeeBERT (arXiv 2004.12993): the model is trained first, by the steps before this one; then its weights stay as
they are, and the off-ramps learn alone, with the sum of their losses. Here they learn from the model's own head too,
and the threshold is chosen for a loss of quality, on training texts that the off-ramps have not seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor

from eicompress.answers import Labels
from eicompress.contracts import Array, Candidate, Context, ModelStrategy, Task, TextDomain, Training
from eicompress.encoder.exits import EarlyExitEncoder, confidences, first_exits, read_by_ramps, taken
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.pooling import apply_to_pooled
from eicompress.encoder.quantization import half
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.training.losses import answer_loss, label_loss
from eicompress.training.teacher import LazyAnswers
from eicompress.values import ExitRule, seed_of

ALL = "all"
NEVER = 1.0
"""A threshold that no confidence is above."""
TRIED = 200
"""Thresholds."""
_DIGITS = 6
"""Of a threshold, as the artifact's config says it."""


def _refusal(text: str) -> str:
    """Why a text does not say after which layers there are off-ramps; empty if it does."""
    if text == ALL:
        return ""
    parts = [each.strip() for each in text.split(",")]
    if not all(each.isascii() and each.isdigit() and len(each) < 5 for each in parts):
        return f'it must be "{ALL}", or numbers of layers with commas between them'
    numbers = [int(each) for each in parts]
    if numbers[0] < 1 or any(first >= second for first, second in pairwise(numbers)):
        return "the numbers must be at least 1, and rise"
    return ""


LAYERS = TextDomain(f'"{ALL}", or numbers of layers such as "2, 4"', _refusal)


@dataclass(frozen=True)
class EarlyExit(ModelStrategy):
    """Give the encoder off-ramps after some of its layers, train them, and choose from which confidence on texts exit.

    The encoder's weights stay as they are, so whatever edits an encoder must stand before this step.
    """

    after: Annotated[str, LAYERS] = ALL
    """How many layers stand before each off-ramp, such as "2, 4"; "all" for one after each layer but the last."""
    criterion: Annotated[
        Literal["entropy", "margin", "patience"], CategoricalDistribution(("entropy", "margin", "patience"))
    ] = "margin"
    """What the confidence of an answer is: one less its entropy as a share of the largest possible one, the margin
    between the two largest probabilities, or which share of all answers the last ones that are the same make up."""
    loss: Annotated[float, FloatDistribution(0.0, 20.0)] = 0.3
    """Points of quality that the exits may cost, 100 being a quality of 1, on the held-out training texts. Of the
    thresholds that cost no more, the one that runs the fewest layers is taken."""
    threshold: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.0
    """The confidence above which a text exits; 0 for the one that `loss` allows."""
    held_out: Annotated[float, FloatDistribution(0.05, 0.5)] = 0.2
    """Share of the training texts that the off-ramps do not learn from: the threshold is chosen on them."""
    soft: Annotated[Literal["head", "teacher"], CategoricalDistribution(("head", "teacher"))] = "head"
    """Whose answers the off-ramps learn, beside the labels: the model's own, or the teacher's."""
    label_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.5
    """Share of the label's loss; the rest is that of the answers."""
    epochs: Annotated[float, FloatDistribution(0.1, 100.0)] = 15.0
    """Passes over the texts, at full fidelity. Layers are computed in the first one alone."""
    learning_rate: Annotated[float, FloatDistribution(1e-6, 1e-1, log=True)] = 3e-3
    """The highest learning rate."""
    batch_size: Annotated[int, IntDistribution(1, 1024, log=True)] = 64
    """Texts in a batch."""

    name: ClassVar[str] = "early_exit"
    paper: ClassVar[str] = "DeeBERT, arXiv 2004.12993; patience: PABEE, arXiv 2006.04152"
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"epochs": 2.0, "batch_size": 8}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        encoder = subject.encoder
        after = self._layers(encoder)
        _check_answer(context.task, encoder)
        if encoder.quantized:
            encoder.round_floats()  # as its file holds them, for the off-ramps to read what they will read there
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(context.seed, self.name))
            ramps = [Linear(encoder.config.hidden, encoder.config.outputs) for _ in after]
            for each in ramps:  # equal biases are stored once, and trained ones are not equal
                torch.nn.init.normal_(each.bias, std=0.02)
        for each in ramps:
            each.set_quantization(encoder.classifier.spec)
        model = EarlyExitEncoder(encoder, ramps, ExitRule(after, len(encoder.layers), self.criterion, NEVER))
        made = replace(subject, model=model)
        if context.preview:
            return made
        lesson = _Lesson(self, made, model, context)
        context.fit(made, lesson.training())
        if encoder.quantized:
            with torch.no_grad():
                for each in ramps:
                    each.bias.copy_(half(each.bias))
        answers = lesson.held_out_answers()
        if answers is None:  # nothing was trained, as where steps are counted alone
            return made
        on = answers, context.train.targets[lesson.held_out], context.task, model.rule
        found = _judged(*on, round(self.threshold, _DIGITS)) if self.threshold else _cheapest(*on, self.loss)
        model.rule = replace(model.rule, threshold=found.threshold)
        return replace(made, facts={**subject.facts, self.name: asdict(found)})

    def _layers(self, encoder: Encoder) -> tuple[int, ...]:
        depth = len(encoder.layers)
        if depth < 2:
            raise Inapplicable(
                f"`{self.name}` puts off-ramps between layers, so the encoder must have at least 2, but has {depth}"
            )
        numbers = tuple(range(1, depth)) if self.after == ALL else tuple(map(int, self.after.split(",")))
        if numbers[-1] >= depth:
            raise Inapplicable(
                f"`{self.name}.after` must name numbers below the encoder's {depth} layers, since the head stands "
                f"after the last one, but names {numbers[-1]}"
            )
        return numbers


def _check_answer(task: Task, encoder: Encoder) -> None:
    if encoder.config.per_word:
        raise Inapplicable("`early_exit` lets whole texts exit, but this encoder answers each word: leave it out")
    if not isinstance(task.answer, Labels):
        raise Inapplicable(
            f"`early_exit` goes by the confidence in one label of several, but this encoder's answer is of the kind "
            f"`{task.answer.kind}`: leave it out"
        )


class _Lesson:
    """The losses of off-ramps, and what they read, which is computed once for each text."""

    def __init__(self, knobs: EarlyExit, made: Candidate, model: EarlyExitEncoder, context: Context) -> None:
        self.knobs, self.model, self.context = knobs, model, context
        self.texts = (*context.train.texts, *made.texts)
        self.targets = torch.from_numpy(context.train.targets)
        drawn = np.random.default_rng(seed_of(context.seed, "held out")).permutation(len(self.targets))
        self.held_out: Sequence[int] = sorted(drawn[: max(1, round(knobs.held_out * len(drawn)))].tolist())
        self.teacher = LazyAnswers(context.teacher, self.texts) if knobs.soft == "teacher" else None
        encoder, count = model.encoder, len(self.texts)
        self.known = torch.zeros(count, dtype=torch.bool)
        self.pooled = torch.zeros(count, len(model.rule.after), encoder.config.hidden, dtype=torch.float16)
        self.logits = torch.zeros(count, encoder.config.outputs)

    def training(self) -> Training:
        frozen = dict.fromkeys(self.model.encoder.parameters(), 0.0)
        return Training(
            self.texts,
            self._loss,
            epochs=self.knobs.epochs,
            learning_rate=self.knobs.learning_rate,
            batch_size=self.knobs.batch_size,
            rates=frozen,
            held_out=self.held_out,
            prepare=None if self.teacher is None else self.teacher.ask,
        )

    def held_out_answers(self) -> Tensor | None:
        """The logits (exits, n, outputs) of the held-out texts; None where the training has not read them."""
        rows = torch.tensor(self.held_out)
        if not self.known[rows].all():
            return None
        with torch.no_grad():
            return torch.stack([*self._answers(self.pooled[rows].float()), self.logits[rows]])

    def _answers(self, pooled: Tensor) -> list[Tensor]:
        """What the off-ramps read (B, ramps, hidden) -> their logits (B, outputs) each."""
        return [apply_to_pooled(self.model.ramp(place), each, None) for place, each in enumerate(pooled.unbind(1))]

    def _loss(self, batch: Batch) -> Tensor:
        rows, device = batch.rows.cpu(), batch.input_ids.device
        if not self.known[rows].all():
            self._read(batch, rows)
        wanted = self.logits[rows] if self.teacher is None else self.teacher.logits(rows.numpy())
        wanted = wanted.to(device)
        losses = [self._of_ramp(logits, wanted, rows) for logits in self._answers(self.pooled[rows].float().to(device))]
        return torch.stack(losses).sum()

    def _of_ramp(self, logits: Tensor, wanted: Tensor, rows: Tensor) -> Tensor:
        share, task = self.knobs.label_weight, self.context.task
        by_label = label_loss(task.loss, logits, rows, self.targets)
        return share * by_label + (1 - share) * answer_loss(task.answer, logits, wanted, 1.0)

    @torch.no_grad()
    def _read(self, batch: Batch, rows: Tensor) -> None:
        read = batch.input_ids, batch.attention_mask, batch.token_type_ids
        pooled, logits = read_by_ramps(self.model.encoder, self.model.rule.after, *read)
        self.pooled[rows] = torch.stack(pooled, dim=1).cpu().to(self.pooled.dtype)
        self.logits[rows] = logits.float().cpu()
        self.known[rows] = True


@dataclass(frozen=True)
class _Exits:
    """What a threshold comes to on some texts."""

    threshold: float
    lost: float
    """Points of quality that the exits cost."""
    layers: float
    """Layers that a text runs through, on average."""
    shares: tuple[float, ...]
    """Of the texts, that exit at each off-ramp and at the head."""


def _judged(answers: Tensor, targets: Array, task: Task, rule: ExitRule, threshold: float) -> _Exits:
    """`answers` are the logits (exits, n, outputs) of the off-ramps and of the head, on texts with these targets."""
    exits = first_exits(confidences(answers, rule.criterion), threshold)
    whole, now = (task.score(each.numpy(), targets) for each in (answers[-1], taken(answers, exits)))
    shares = np.bincount(exits.numpy(), minlength=len(answers)) / len(exits)
    layers = float(np.dot(shares, [*rule.after, rule.layers]))
    return _Exits(threshold, 100 * (whole - now), layers, tuple(round(float(each), 4) for each in shares))


def _cheapest(answers: Tensor, targets: Array, task: Task, rule: ExitRule, loss: float) -> _Exits:
    """The threshold that runs the fewest layers of those that cost at most `loss` points."""
    tried = (_judged(answers, targets, task, rule, each) for each in _thresholds(confidences(answers, rule.criterion)))
    return min((each for each in tried if each.lost <= loss), key=lambda each: each.layers)


def _thresholds(confidence: Tensor) -> list[float]:
    """Between the values that the confidence has, as many as are worth a try, and one at which no text exits."""
    values = np.unique(np.append(confidence.numpy().astype(np.float64), 0.0))
    values = values[np.linspace(0, len(values) - 1, min(len(values), TRIED)).astype(int)]
    between = np.round((values[1:] + values[:-1]) / 2, _DIGITS)
    return [*(float(each) for each in between if each < NEVER), NEVER]
