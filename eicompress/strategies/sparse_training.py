"""`sparse_training`: single weights of the layers go, round by round, and stay away in all training that follows.

The file holds a bit a weight and the weights that are left. onnxruntime puts the zeros back when it loads the file, and
multiplies dense matrices: the file shrinks, the milliseconds stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor
from torch.nn import functional as F

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.linear import Linear
from eicompress.errors import Inapplicable
from eicompress.training.finetune import recover
from eicompress.training.importance import measured_batches
from eicompress.training.losses import sensitivity

FISHER_BLOCK = 16
"""Size of a block of neighbouring weights in the Fisher matrix; it also is the memory for each weight, in numbers."""
DAMPING = 1e-3
"""Added to a Fisher matrix, as a share of its mean diagonal."""
_GRADIENT_BATCH = 8

Score = Annotated[Literal["obs", "magnitude", "movement"], CategoricalDistribution(("obs", "magnitude", "movement"))]
Scores = Mapping[Linear, Tensor]
"""Of each matrix what its weights are worth, (outputs, inputs)."""


@dataclass(frozen=True)
class SparseTraining(ModelStrategy):
    """Prune the layers' weights one by one, unstructured, with a training before each round and after the last."""

    sparsity: Annotated[float, FloatDistribution(0.1, 0.98)] = 0.8
    """Share of the layers' weights that are zero in the end."""
    start: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.6
    """Sparsity of the first round, as a share of the last one's; rounds between follow a cubic curve."""
    rounds: Annotated[int, IntDistribution(1, 20)] = 3
    """How often weights go; one round is one-shot."""
    score: Score = "obs"
    """What a weight is worth: the loss that it moves by a second-order estimate, after which its neighbours make up for
    what went; its magnitude; or how far all training so far moved it away from zero. Movement pruning chooses anew at
    every step, and its weights may come back; here they go round by round, for good."""
    budget: Annotated[Literal["global", "uniform"], CategoricalDistribution(("global", "uniform"))] = "global"
    """Whether all matrices compete for the weights that stay, or each loses the same share."""
    epochs: Annotated[float, FloatDistribution(0.1, 100.0)] = 4.0
    """Passes over the training texts, in equal parts before each round and after the last."""
    freeze_embeddings: Annotated[bool, CategoricalDistribution((False, True))] = False
    """Whether the embedding tables stay as they are meanwhile."""

    name: ClassVar[str] = "sparse_training"
    paper: ClassVar[str] = (
        "oBERTa, arXiv 2303.17612; oBERT, arXiv 2203.07259; after movement pruning, arXiv 2005.07683; cubic, arXiv "
        "1710.01878"
    )
    trains: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"epochs": 0.3, "rounds": 2}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        linears = [linear for name, linear in model.linears() if name.startswith("layers.")]
        if not linears:
            raise Inapplicable(f"`{self.name}` acts on matrices of layers, but the model has none")
        if context.preview:
            prune(_magnitudes(linears), self.sparsity, self.budget)
        else:
            self._train(subject, context, linears)
        count = sum(each.weight.numel() for each in linears)
        left = sum(int(each.kept.sum()) for each in linears if each.kept is not None)
        facts = {"weights": count, "sparsity": round(1 - left / count, 4), "milliseconds": "none are saved"}
        return replace(subject, facts={**subject.facts, self.name: facts})

    def _train(self, subject: Candidate, context: Context, linears: Sequence[Linear]) -> None:
        model = subject.encoder
        tables = (model.words, model.positions, model.token_types, model.bigrams) if self.freeze_embeddings else ()
        frozen = tuple(parameter for table in tables if table is not None for parameter in table.parameters())
        epochs = self.epochs / (self.rounds + 1)
        movement = {linear: torch.zeros_like(linear.weight.detach()) for linear in linears}
        for sparsity in cubic(self.start * self.sparsity, self.sparsity, self.rounds):
            with moved(movement):
                recover(subject, context, epochs, frozen)
            if self.score == "obs":
                fishers = fisher_blocks(subject, context, linears)
                before = {linear: linear.weight.detach().clone() for linear in linears}
                prune({linear: obs_scores(linear, each) for linear, each in fishers.items()}, sparsity, self.budget)
                for linear, each in fishers.items():
                    make_up(linear, before[linear], each)
            else:
                prune(movement if self.score == "movement" else _magnitudes(linears), sparsity, self.budget)
        recover(subject, context, epochs, frozen)


def cubic(first: float, last: float, rounds: int) -> list[float]:
    """The sparsity of each round: fast at first, slow at the end."""
    if rounds == 1:
        return [last]
    return [last + (first - last) * (1 - each / (rounds - 1)) ** 3 for each in range(rounds)]


@torch.no_grad()
def prune(scores: Scores, sparsity: float, budget: str) -> None:
    """Set the weights that are worth least to zero, for good; those that went before stay away."""
    worth = {
        linear: (each if linear.kept is None else each.masked_fill(~linear.kept, -torch.inf)).flatten()
        for linear, each in scores.items()
    }
    linears = list(worth)
    groups = [linears] if budget == "global" else [[each] for each in linears]
    for group in groups:
        together = torch.cat([worth[each] for each in group])
        kept = torch.zeros(len(together), dtype=torch.bool)
        kept[together.topk(round((1 - sparsity) * len(together))).indices] = True
        for linear, part in zip(group, torch.split(kept, [len(worth[each]) for each in group]), strict=True):
            linear.keep_weights(part.reshape(linear.weight.shape))


def _magnitudes(linears: Sequence[Linear]) -> Scores:
    return {linear: linear.weight.detach().abs() for linear in linears}


@contextmanager
def moved(sums: Scores) -> Iterator[None]:
    """Adds how far training pushes each weight away from zero: minus weight times gradient, at each of its steps."""

    def adding(linear: Linear) -> Any:
        def add(gradient: Tensor) -> None:
            sums[linear].sub_((gradient * linear.weight.detach()).to(sums[linear]))

        return add

    handles = [linear.weight.register_hook(adding(linear)) for linear in sums]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def fisher_blocks(subject: Candidate, context: Context, linears: Sequence[Linear]) -> dict[Linear, Tensor]:
    """The empirical Fisher matrix of each block of 16 neighbours, damped: (blocks, 16, 16) for each matrix."""
    model = subject.model
    sums = [torch.zeros(-(-each.weight.numel() // FISHER_BLOCK), FISHER_BLOCK, FISHER_BLOCK) for each in linears]
    was_training = model.training
    model.train()
    count = 0
    for batch, targets in measured_batches(subject, context, _GRADIENT_BATCH):
        loss = sensitivity(context.task.answer, context.task.loss, batch.logits(model), targets)
        for total, gradient in zip(sums, torch.autograd.grad(loss, [each.weight for each in linears]), strict=True):
            blocks = _in_blocks(gradient.cpu())
            total.baddbmm_(blocks.unsqueeze(2), blocks.unsqueeze(1))
        count += 1
    model.train(was_training)
    for total in sums:
        total /= count
        diagonal = total.diagonal(dim1=1, dim2=2)
        diagonal += DAMPING * diagonal.mean().clamp_min(1e-20)
    return dict(zip(linears, sums, strict=True))


def obs_scores(linear: Linear, fisher: Tensor) -> Tensor:
    """w² / 2 [F⁻¹]: by how much the loss grows if a weight is zero and its block makes up for it."""
    inverse = torch.linalg.inv(fisher).diagonal(dim1=1, dim2=2)
    scores = _in_blocks(linear.weight.detach()).square() / (2 * inverse)
    of_each: Tensor = scores.flatten()[: linear.weight.numel()].reshape(linear.weight.shape)
    return of_each


@torch.no_grad()
def make_up(linear: Linear, before: Tensor, fisher: Tensor) -> None:
    """Give the weights that are left the values with which the loss grows least, now that the others are zero.

    `before` are the weights at which the Fisher matrices were measured.
    """
    assert linear.kept is not None
    left = _in_blocks(linear.kept.float()).unsqueeze(2)  # (blocks, 16, 1)
    wanted = left * (fisher @ _in_blocks(before).unsqueeze(2))
    among = left * fisher * left.transpose(1, 2) + torch.diag_embed(1 - left.squeeze(2))
    weights = torch.linalg.solve(among, wanted).flatten()[: before.numel()].reshape(before.shape)
    linear.weight.copy_(weights * linear.kept)


def _in_blocks(weights: Tensor) -> Tensor:
    """(outputs, inputs) -> (blocks, 16), with zeros at the end of the last."""
    flat = weights.flatten()
    return F.pad(flat, (0, -len(flat) % FISHER_BLOCK)).reshape(-1, FISHER_BLOCK)
