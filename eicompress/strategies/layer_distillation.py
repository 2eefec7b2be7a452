"""`layer_distillation`: the student's layers learn what the layers of the model that it was cut out of compute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from eicompress.contracts import Candidate, Context, ModelStrategy, Training
from eicompress.encoder.device import moved
from eicompress.encoder.tokens import Batch, tokenize
from eicompress.errors import Inapplicable
from eicompress.training.augmentation import with_distortions
from eicompress.training.layer_loss import LayerStates, Matching, Weights
from eicompress.training.token_alignment import align
from eicompress.training.trainer import RATE_STEPS
from eicompress.values import Text, seed_of

SLOWER = 0.1
"""Share of the learning rate for layers before the one that learns, as in MobileBERT."""


@dataclass(frozen=True)
class LayerDistillation(ModelStrategy):
    """Train the candidate's layers on the baseline's, without labels: the first stage of TinyBERT and MobileBERT.

    `distillation`, which trains the answers, should follow. Where the tokens of the two differ, words are compared.
    """

    epochs: Annotated[float, FloatDistribution(0.1, 100.0)] = 2.0
    """Passes over the texts and their distortions, at full fidelity."""
    distortions: Annotated[int, IntDistribution(0, 20)] = 3
    """Distorted copies of each training text."""
    learning_rate: Annotated[float, FloatDistribution(1e-6, 1e-2, log=True)] = 5e-4
    """The highest learning rate, of up to 1,000 steps; n times as many have it over the square root of n."""
    hidden_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 1.0
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
    progressive: Annotated[bool, CategoricalDistribution((False, True))] = False
    """Whether one layer after the other learns, each for its share of the epochs (MobileBERT); else all at once."""
    batch_size: Annotated[int, IntDistribution(1, 1024, log=True)] = 32
    """Texts in a batch."""
    max_steps: Annotated[int, IntDistribution(1, 10_000_000, log=True)] = 20_000
    """Steps at full fidelity, if `epochs` would take more; of text that they cannot read a random part is left out."""

    name: ClassVar[str] = "layer_distillation"
    paper: ClassVar[str] = "TinyBERT, arXiv 1909.10351; MobileBERT, arXiv 2004.02984; MiniLMv2, arXiv 2012.15828"
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"epochs": 1.0, "distortions": 1}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        if not subject.encoder.config.layers:
            raise Inapplicable(f"`{self.name}` compares layers, but the student has none")
        if context.task.answer.windowed:
            raise Inapplicable(
                f"`{self.name}` compares the tokens of whole texts, but contexts are read in windows, which each "
                "vocabulary cuts elsewhere: leave it out"
            )
        if self.weights() == Weights():
            raise Inapplicable(f"`{self.name}` must have a weight above 0, but all are 0")
        if context.preview:
            return subject
        most = self.max_steps * self.batch_size
        _, texts = with_distortions(context.train, subject.texts, self.distortions, most, context.seed)
        lesson = _Lesson(self, subject, context, texts)
        epochs = min(self.epochs, most / len(texts))
        with moved(context.baseline.model, context.compute_device):
            for training in lesson.trainings(epochs):
                context.fit(subject, training)
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
    """The losses of a student's layers on its texts, and the modules that are trained beside it."""

    def __init__(self, knobs: LayerDistillation, subject: Candidate, context: Context, texts: Sequence[Text]) -> None:
        self.knobs, self.texts = knobs, texts
        self.model, self.baseline = subject.encoder, context.baseline.encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(context.seed, "map"))
            self.matching = Matching(
                subject,
                self.baseline,
                knobs.weights(),
                layer_map=knobs.layer_map,
                learned_map=knobs.hidden_map == "learned",
                relation_heads=knobs.relation_heads,
            )
        self.slots = align(subject.tokenizer, context.baseline.tokenizer, texts)
        self.tokens = tokenize(context.baseline.tokenizer, texts)

    def trainings(self, epochs: float) -> list[Training]:
        """One, or one for each layer that is compared."""
        layers = self.matching.layers
        if not self.knobs.progressive:
            return [self._training(layers, epochs, {})]
        return [self._training([layer], epochs / len(layers), self._rates(layer)) for layer in layers]

    def _rates(self, layer: int) -> dict[nn.Parameter, float]:
        """One layer learns, those before it slowly; those after it get no gradient."""
        rates = dict.fromkeys(self.model.parameters(), SLOWER)
        learning = [self.model.layer(layer)] if layer else [self.model]
        rates.update({each: 1.0 for part in learning for each in part.parameters()})
        return rates

    def _training(self, layers: Sequence[int], epochs: float, rates: dict[nn.Parameter, float]) -> Training:
        return Training(
            self.texts,
            self._loss_of(layers),
            epochs=epochs,
            learning_rate=self.knobs.learning_rate,
            rate_steps=RATE_STEPS,
            batch_size=self.knobs.batch_size,
            extra=self.matching,
            rates=rates,
        )

    def _loss_of(self, layers: Sequence[int]) -> Callable[[Batch], Tensor]:
        deepest = 1 + max(number for layer in layers for number in self.matching.targets[layer])

        def loss(batch: Batch) -> Tensor:
            rows, device = batch.rows.cpu().numpy(), str(batch.input_ids.device)
            slots = self.slots.batch(rows, device)
            own = self.model.states(batch.input_ids, batch.attention_mask, batch.token_type_ids, 1 + max(layers))
            theirs = self.tokens.batch(rows, self.baseline.config.padding_id, device)
            with torch.no_grad():
                wanted = self.baseline.states(theirs.input_ids, theirs.attention_mask, theirs.token_type_ids, deepest)
            student = LayerStates(self.model, own, batch.attention_mask, slots.first, slots)
            teacher = LayerStates(self.baseline, wanted, theirs.attention_mask, slots.second, slots)
            compared: Tensor = self.matching(student, teacher, layers)
            return compared

        return loss
