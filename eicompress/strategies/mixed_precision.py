"""`mixed_precision`: each matrix gets the bits that it needs, out of a budget for all of them.

What a matrix needs is measured once: how far the logits move, on training examples, if it alone is lowered to each
number of bits. The table of these numbers is in the record.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import FloatDistribution
from torch import Tensor
from torch.nn import functional as F

from eicompress.contracts import Array, Candidate, Context, ModelStrategy
from eicompress.encoder.embedding import Embedding
from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import QuantSpec
from eicompress.encoder.tokens import Batch
from eicompress.training.importance import fingerprint, measured_batches
from eicompress.training.losses import answer_loss

EXAMPLES = 128
"""Training examples that sensitivity is measured on."""
UNPACKING_BYTES = 400
"""Bytes of the nodes that unpack a matrix of fewer than 8 bits, at most."""
BITS: tuple[Literal[2, 4, 8], ...] = (2, 4, 8)

Matrices = Mapping[str, Linear | Embedding]
Plan = dict[str, int]
"""Bits of each matrix."""


@dataclass(frozen=True)
class MixedPrecision(ModelStrategy):
    """Store each matrix in 2, 4 or 8 bits: as many as its sensitivity earns it.

    A preview has at least as many bytes as the artifact: it cannot know the sensitivities of trained weights, and uses
    the budget up.
    """

    mean_bits: Annotated[float, FloatDistribution(2.0, 8.0)] = 4.0
    """Bits for each weight on average, at most, over all matrices and tables, including the nodes that unpack them."""

    name: ClassVar[str] = "mixed_precision"
    paper: ClassVar[str] = "HAWQ-V3, arXiv 2011.10680; loss of one matrix at a time: Q-BERT, arXiv 1909.05840"
    missed: ClassVar[Mapping[str, str]] = {
        "has the final bytes in its preview": "sensitivities are those of the trained weights, so a preview uses the "
        "budget up: it is an upper bound"
    }

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        matrices = {name: each for name, each in model.named_modules() if isinstance(each, Linear)}
        matrices |= {name: each for name, each in model.named_modules() if each in tuple(model.embedding_tables())}
        budget = self.mean_bits / 8 * sum(each.weight.numel() for each in matrices.values())
        facts: dict[str, object] = {}
        if context.preview:
            plan = _no_less(matrices, budget)
        else:
            losses = _sensitivities(subject, context, matrices)
            plan = assigned(matrices, losses, budget)
            facts["matrices"] = _table(matrices, plan, losses)
        for name, module in matrices.items():
            module.set_quantization(_spec(module, plan[name]))
        weights = sum(_bytes(matrices[name], bits) for name, bits in plan.items())
        facts["mean_bits"] = round(8 * weights / sum(each.weight.numel() for each in matrices.values()), 3)
        return replace(subject, facts={**subject.facts, self.name: facts})


def _spec(module: Linear | Embedding, bits: int) -> QuantSpec:
    return QuantSpec(bits, reduced=bits == 8 and isinstance(module, Linear))  # type: ignore[arg-type]


def _bytes(module: Linear | Embedding, bits: int) -> int:
    """Of the packed weights; scales are the same for all bits."""
    rows, columns = module.weight.shape
    return int(rows * -(-columns * bits // 8))


def _costs(module: Linear | Embedding) -> dict[int, int]:
    """Bytes by number of bits, unpacking nodes included, without those that are no smaller than more bits."""
    costs: dict[int, int] = {}
    for bits in reversed(BITS):
        cost = _bytes(module, bits) + (UNPACKING_BYTES if bits < 8 else 0)
        if cost < min(costs.values(), default=cost + 1):
            costs[bits] = cost
    return costs


def assigned(matrices: Matrices, losses: Mapping[str, Mapping[int, float]], budget: float) -> Plan:
    """Begin with the fewest bytes, and take the step that saves most loss a byte while one fits the budget."""
    costs = {name: _costs(module) for name, module in matrices.items()}
    plan = {name: min(each, key=lambda bits, each=each: each[bits]) for name, each in costs.items()}  # type: ignore[misc]
    left = budget - sum(costs[name][bits] for name, bits in plan.items())
    while True:
        steps = [
            ((losses[name][bits] - losses[name][more]) / (costs[name][more] - costs[name][bits]), name, more)
            for name, bits in plan.items()
            for more in costs[name]
            if more > bits and costs[name][more] - costs[name][bits] <= left
        ]
        gain, name, more = max(steps, default=(0.0, "", 0))
        if gain <= 0:
            return plan
        left -= costs[name][more] - costs[name][plan[name]]
        plan[name] = more


def _no_less(matrices: Matrices, budget: float) -> Plan:
    """A plan of at least the budget's bytes, and of few more: what `assigned` makes is no bigger."""
    options = {name: sorted(_costs(module)) for name, module in matrices.items()}
    budget = max(budget, sum(min(_costs(module).values()) for module in matrices.values()))
    plan = {name: bits[0] for name, bits in options.items()}
    missing = budget - sum(_bytes(matrices[name], bits) for name, bits in plan.items())

    def extra(name: str, bits: int) -> int:
        return _bytes(matrices[name], bits) - _bytes(matrices[name], plan[name])

    for name in sorted(matrices, key=lambda name: -matrices[name].weight.numel()):
        for bits in reversed(options[name]):
            if extra(name, bits) <= missing:
                missing -= extra(name, bits)
                plan[name] = bits
                break
    steps = [(extra(name, bits), name, bits) for name in plan for bits in options[name] if bits > plan[name]]
    crossing = [step for step in steps if step[0] >= missing]
    if missing > 0 and crossing:
        _, name, bits = min(crossing)
        plan[name] = bits
    return plan


def _sensitivities(subject: Candidate, context: Context, matrices: Matrices) -> dict[str, dict[int, float]]:
    """How far the answers move with one matrix lowered, mean over examples, by matrix and the bits it may have."""
    key = "sensitivities-" + fingerprint(subject)
    found = context.cache(key, lambda: {"losses": _measured(subject, context, matrices)})["losses"]
    return {
        name: {bits: float(row[BITS.index(bits)]) for bits in _costs(module)}
        for (name, module), row in zip(matrices.items(), found, strict=True)
    }


@torch.inference_mode()
def _measured(subject: Candidate, context: Context, matrices: Matrices) -> Array:
    """(matrices, bits), 0 for bits that a matrix may not have, and where there is one choice"""
    model = subject.model
    batches = [batch for batch, _ in measured_batches(subject, context, examples=EXAMPLES)]
    was_training = model.training
    model.eval()
    answer = context.task.answer
    whole = _logits(model, batches)
    losses = np.zeros((len(matrices), len(BITS)))
    for row, module in enumerate(matrices.values()):
        choices = _costs(module)
        for bits in choices if len(choices) > 1 else ():
            with _lowered(module, bits):
                lowered = _logits(model, batches)
            losses[row, BITS.index(bits)] = answer_loss(answer, lowered, whole, 1.0).item()
    model.train(was_training)
    return losses


@contextmanager
def _lowered(module: Linear | Embedding, bits: int) -> Iterator[None]:
    spec, scales = module.spec, module.scales
    module.set_quantization(_spec(module, bits))
    try:
        yield
    finally:
        module.spec, module.scales = spec, scales


def _logits(model: torch.nn.Module, batches: list[Batch]) -> Tensor:
    """(n, outputs) of texts; (n, W, outputs) of their words, with zeros for what was not read."""
    found = [each.logits(model) for each in batches]
    if found[0].ndim == 3:
        widest = max(each.shape[1] for each in found)
        found = [F.pad(each, (0, 0, 0, widest - each.shape[1])) for each in found]
    return torch.cat(found)


def _table(matrices: Matrices, plan: Plan, losses: Mapping[str, Mapping[int, float]]) -> dict[str, object]:
    """Of each matrix its bits, and for all bits that it may have its bytes and the loss if it alone had them."""
    return {
        name: {
            "bits": plan[name],
            "bytes": {str(bits): _bytes(module, bits) for bits in sorted(losses[name])},
            "loss": {str(bits): float(f"{loss:.3g}") for bits, loss in sorted(losses[name].items())},
        }
        for name, module in matrices.items()
    }
