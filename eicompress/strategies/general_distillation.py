"""`general_distillation`: before the task, the student learns the baseline's states on unlabelled text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from eicompress.contracts import Candidate, Context, ModelStrategy, Training
from eicompress.encoder.device import moved
from eicompress.encoder.heads import head_modules
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch, Tokens, tokenize
from eicompress.errors import Inapplicable
from eicompress.training.layer_loss import LayerStates, Matching, Weights
from eicompress.training.token_alignment import Alignment, align

READ_AT_ONCE = 1024
"""Sentences that are cut into tokens together."""


@dataclass(frozen=True)
class GeneralDistillation(ModelStrategy):
    """Train the candidate on what the baseline's layers and its pooled state say of text that has nothing to do with
    the task. Small tasks collapse without (KroneckerBERT, arXiv 2109.06243: 70.8 for 87.5 on MRPC).

    Facts: `sentences` and `tokens` that were read at full fidelity.
    """

    tokens: Annotated[int, IntDistribution(100, 10_000_000_000, log=True)] = 1_000_000
    """Tokens of the unlabelled text by the candidate's tokenizer; each is used once, at full fidelity."""
    learning_rate: Annotated[float, FloatDistribution(1e-6, 1e-2, log=True)] = 5e-4
    """The highest learning rate of the training."""
    pooled_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 1.0
    """Weight of the squared distance between the states that the heads read."""
    hidden_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 1.0
    """Weight of the squared distance between hidden states, in the dimensions that the candidate kept."""
    relation_weight: Annotated[float, FloatDistribution(0.0, 100.0)] = 0.0
    """Weight of the divergence of the relations among queries, among keys and among values (MiniLMv2)."""
    relation_heads: Annotated[int, IntDistribution(1, 64)] = 12
    """Heads of these relations."""
    layer_map: Annotated[
        Literal["origin", "uniform", "last"], CategoricalDistribution(("origin", "uniform", "last"))
    ] = "origin"
    """Which layers are compared, as in `distillation`."""
    batch_size: Annotated[int, IntDistribution(1, 1024, log=True)] = 32
    """Texts in a batch."""

    name: ClassVar[str] = "general_distillation"
    paper: ClassVar[str] = "TinyBERT, arXiv 1909.10351; MiniLMv2, arXiv 2012.15828"
    trains: ClassVar[bool] = True

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model, baseline = subject.encoder, context.baseline.encoder
        if next(iter(context.unlabelled), None) is None:
            raise Inapplicable(f"`{self.name}` must have text to read, but got none: name it by `--unlabelled`")
        if context.preview:
            return subject
        texts, count = read(context.unlabelled, subject.tokenizer, self.tokens)
        matching = Matching(
            subject,
            baseline,
            Weights(hidden=self.hidden_weight, relation=self.relation_weight),
            layer_map=self.layer_map,
            learned_map=False,
            relation_heads=self.relation_heads,
        )
        other = context.baseline.tokenizer
        alignment, tokens = align(subject.tokenizer, other, texts), tokenize(other, texts)
        objective = _SentenceLoss(model, baseline, matching, self.pooled_weight, alignment, tokens)
        with moved(baseline, context.compute_device):
            context.fit(
                subject,
                Training(texts, objective.loss, 1.0, self.learning_rate, self.batch_size, rates=objective.rates()),
            )
        facts = {"sentences": len(texts), "tokens": count}
        return replace(subject, facts={**subject.facts, self.name: facts})


def read(stream: Iterable[str], tokenizer: Tokenizer, tokens: int) -> tuple[list[str], int]:
    """The first sentences of a stream, up to a number of tokens, and how many tokens they have.

    No more of the stream is read than that. Sentences of one token, beside the special ones, teach nothing.
    """
    texts: list[str] = []
    count = 0
    for block in _blocks(stream):
        lengths = tokenize(tokenizer, block).lengths
        for text, length in zip(block, lengths.tolist(), strict=True):
            if length > 3:
                texts.append(text)
                count += length
            if count >= tokens:
                return texts, count
    return texts, count


def _blocks(stream: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for text in stream:
        block.append(text)
        if len(block) == READ_AT_ONCE:
            yield block
            block = []
    if block:
        yield block


@dataclass(frozen=True)
class _SentenceLoss:
    """The loss between student and baseline on the same sentences, each with its own tokens."""

    student: Encoder
    baseline: Encoder
    matching: Matching
    pooled_weight: float
    alignment: Alignment
    tokens: Tokens
    """The baseline's."""

    def rates(self) -> dict[torch.nn.Parameter, float]:
        """The head is not read here, and stays."""
        return {each: 0.0 for part in head_modules(self.student) for each in part.parameters()}

    def loss(self, batch: Batch) -> Tensor:
        device = str(batch.input_ids.device)
        rows = batch.rows.cpu().numpy()
        slots = self.alignment.batch(rows, device)
        own = self.student.states(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        other = self.tokens.batch(rows, self.baseline.config.padding_id, device)
        with torch.no_grad():
            theirs = self.baseline.states(other.input_ids, other.attention_mask, other.token_type_ids)
        loss = own[0].new_zeros(())
        if self.pooled_weight:
            pooled = self.student.pool(own[-1], batch.input_ids, batch.attention_mask).float()
            wanted = self.baseline.pool(theirs[-1], other.input_ids, other.attention_mask).float()
            if (
                self.baseline.config.per_word
            ):  # heads read the states of tokens, so those of the same slots are compared
                real = slots.mask.bool()
                pooled, wanted = pooled[:, -own[-1].shape[1] :], wanted[:, -theirs[-1].shape[1] :]
                pooled, wanted = slots.states(pooled, slots.first)[real], slots.states(wanted, slots.second)[real]
            loss = loss + self.pooled_weight * F.mse_loss(pooled, wanted[:, self.matching.kept])
        if self.matching.layers and self.matching.weights != Weights():
            student = LayerStates(self.student, own, batch.attention_mask, slots.first, slots)
            teacher = LayerStates(self.baseline, theirs, other.attention_mask, slots.second, slots)
            loss = loss + self.matching(student, teacher, self.matching.layers)
        return loss
