"""`my_strategy`: the few largest weights are clipped, so that few bits describe the others better."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution

from eicompress import Candidate, Context, ModelStrategy, Strategy, hookimpl

EICOMPRESS_INTERFACE = 1


@dataclass(frozen=True)
class MyStrategy(ModelStrategy):
    """Clip the word vectors at some standard deviations. Stored in 4 bits, a row's largest number sets its grid."""

    deviations: Annotated[float, FloatDistribution(1.0, 8.0)] = 3.0
    """Where to clip, in standard deviations."""
    of: Annotated[str, CategoricalDistribution(("row", "table"))] = "row"
    """Whether each word's own deviation counts, or that of the whole table."""

    name: ClassVar[str] = "my_strategy"
    paper: ClassVar[str] = "ACIQ, arXiv 1810.05723"
    example: ClassVar[Mapping[str, Any]] = {"deviations": 2.0}

    @torch.no_grad()
    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        table = model.words.weight
        deviation = table.std(dim=1, keepdim=True) if self.of == "row" else table.std()
        limit = (self.deviations * deviation).expand_as(table)
        clipped = float((table.abs() > limit).float().mean())
        table.copy_(table.clamp(-limit, limit))
        return replace(subject, facts={**subject.facts, self.name: {"share_clipped": clipped}})


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [MyStrategy]
