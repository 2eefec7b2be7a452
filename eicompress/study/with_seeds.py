"""A recipe that is built with several seeds, and how much better it is than another one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from typing import Protocol

import numpy as np

from eicompress.contracts import Array, Examples, Task
from eicompress.metrics.quality import QUALITY, difference_of
from eicompress.metrics.significance import Difference, over_seeds, paired_difference
from eicompress.recipe import Recipe
from eicompress.study.kept_answers import stored_logits
from eicompress.values import Progress, Record


class Builder(Protocol):
    """Builds and scores recipes for one baseline and data set."""

    @property
    def task(self) -> Task: ...

    @property
    def examples(self) -> Mapping[str, Examples]: ...

    def scored(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record: ...


@dataclass(frozen=True)
class WithSeeds:
    """What one recipe came to, seed by seed."""

    task: Task
    targets: Array
    """Of the validation examples."""
    records: tuple[Record, ...]

    @cached_property
    def logits(self) -> list[Array]:
        """Those of the validation examples, one array for each seed."""
        return [stored_logits(Path(record.files["validation_logits"])) for record in self.records]

    @property
    def qualities(self) -> tuple[float, ...]:
        """The task's quality on the validation split, one for each seed."""
        return tuple(record.value(QUALITY) or 0.0 for record in self.records)

    def mean(self, name: str) -> float:
        """Of a metric."""
        return fmean(record.value(name) or 0.0 for record in self.records)

    def gain_over(self, other: "WithSeeds") -> Difference:
        """Its quality less that of another recipe with the same seeds, example by example."""
        if self.task.averaged:
            ours, theirs = ([self.task.correct(each, self.targets) for each in side.logits] for side in (self, other))
            return paired_difference(np.stack(ours), np.stack(theirs))
        pairs = zip(self.logits, other.logits, strict=True)
        return over_seeds([difference_of(self.task, *each, self.targets) for each in pairs])


def scored_with_seeds(
    builder: Builder, recipe: Recipe, seeds: Iterable[int], watch: Callable[[int, Progress], None]
) -> WithSeeds:
    """The recipe at full length with each seed; what was built before is not built again. `watch` is called with the
    seed and the progress of its training."""
    records = [builder.scored(recipe, fidelity=1.0, seed=seed, progress=partial(watch, seed)) for seed in seeds]
    return WithSeeds(builder.task, builder.examples["validation"].targets, tuple(records))
