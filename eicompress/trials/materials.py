"""The inputs of all recipes: baseline, data, teachers and starting point; and the cache keys of the results."""

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np

from eicompress.cache import Cache
from eicompress.contracts import Array, Candidate, Context, Examples, Fit, Task
from eicompress.data.corpus import UnlabelledText
from eicompress.encoder.device import multiplies_bfloat16
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.training.task_teachers import TaskTeachers
from eicompress.training.teacher import Ensemble, StoredTeacher, ignore
from eicompress.training.trainer import Checkpoints, Trainer, fit_nothing
from eicompress.trials.code import MAKING, code_version, own_code
from eicompress.values import Phase, Progress, digest_of, seed_of

SCORED = 1000
"""Validation texts that a part of a shared training is scored on at first."""
WORTH_IT = 0.5
"""The largest share of the validation texts that is scored before all of them are."""


@dataclass(frozen=True)
class Materials:
    """The inputs of all recipes. The baseline is the fine-tuned model, which is also the teacher if no other is."""

    registry: Registry
    task: Task
    examples: Mapping[str, Examples]
    source: Candidate
    """The baseline: never changed, each build starts from a copy of it."""
    digest: str
    """Names the baseline's weights and tokenizer, and the data."""
    teacher: StoredTeacher | Ensemble | TaskTeachers
    """The students' teacher."""
    unlabelled: UnlabelledText
    start: Candidate
    """What every recipe starts from: the baseline, or what another study prepared of it."""
    start_digest: str
    cache: Cache
    seed: int
    compute_device: str
    """The compute device of torch: `cpu` or `cuda`."""
    statistics: Callable[[], AbstractContextManager[None]] = field(default=nullcontext, kw_only=True)
    """What is entered while strategies get statistics that are computed once."""
    _memory: dict[str, Mapping[str, Array]] = field(default_factory=dict, init=False, repr=False)

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the inputs, by their names in a study."""
        return {
            "inputs": self.digest,
            "teachers": self.teacher.digest,
            "unlabelled": self.unlabelled.digest,
            "start": self.start_digest,
        }

    @property
    def inputs(self) -> str:
        """Names what everything here is made from: the inputs, and the code that makes it."""
        return digest_of([self.digests, own_code(MAKING)])

    def key(self, recipe: Recipe, *, fidelity: float, seed: int) -> str:
        """The reuse key of what a recipe makes: baseline, data, recipe, seed, fidelity, code and compute device."""
        return digest_of(self.made_from(recipe, fidelity, seed))

    def made_from(self, recipe: Recipe, fidelity: float, seed: int) -> list[object]:
        """What a recipe's candidate and its record depend on, as plain data."""
        packages = {type(step).__module__.partition(".")[0] for step in recipe.steps} - {"eicompress"}
        code = [code_version(package) for package in sorted(packages)]
        computing = [self.compute_device, multiplies_bfloat16(self.compute_device)]
        return [self.inputs, recipe.to_json(), seed, fidelity, code, *computing]

    @property
    def scored_share(self) -> float:
        """The share of the validation texts that parts of a shared training are scored on before the best are scored on
        all; 1 where that would save little."""
        share = SCORED / len(self.examples["validation"])
        return math.ceil(1000 * share) / 1000 if share <= WORTH_IT else 1.0

    def validation(self, share: float) -> Examples:
        """This share of the validation texts, the same ones for every candidate."""
        examples = self.examples["validation"]
        return examples if share == 1.0 else examples.take(self.scored_rows(share))

    def scored_rows(self, share: float) -> list[int]:
        """The rows of this share of the validation texts; those of a smaller share are among them."""
        count = len(self.examples["validation"])
        order = np.random.default_rng(seed_of(self.seed, "scored")).permutation(count)
        return sorted(order[: max(1, round(share * count))].tolist())

    def begin(self) -> Candidate:
        """A copy of the candidate that recipes start from."""
        return replace(self.start, model=copy.deepcopy(self.start.model))

    def context(self, fit: Fit, *, seed: int | None = None, progress: Callable[[Progress], None] = ignore) -> Context:
        """The context of strategies; that of a preview if `fit` is `fit_nothing`."""
        return Context(
            task=self.task,
            train=self.examples["train"],
            baseline=self.source,
            teacher=self.teacher.watched(progress),
            fit=fit,
            cache=self._remember,
            seed=self.seed if seed is None else seed,
            compute_device=self.compute_device,
            unlabelled=self.unlabelled,
            preview=fit is fit_nothing,
        )

    def training_context(
        self,
        recipe: Recipe,
        *,
        fidelity: float,
        seed: int,
        progress: Callable[[Progress], None],
        phase: Phase = "training",
        clocked: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Context:
        """The context of a recipe's training, which goes on from its checkpoint where it was interrupted; `clocked` is
        entered around its steps."""
        checkpoints = Checkpoints(self.cache, self.key(recipe, fidelity=fidelity, seed=seed))
        trainer = Trainer(seed, fidelity, self.compute_device, progress, checkpoints, phase, clocked)
        return self.context(trainer, seed=seed, progress=progress)

    def estimate_context(self) -> Context:
        """The context of a training that is counted or timed and not kept."""
        return self.context(Trainer(self.seed, 1.0, self.compute_device, ignore))

    def _remember(self, key: str, compute: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        if key not in self._memory:
            with self.statistics():
                self._memory[key] = self.cache.arrays("context", [self.inputs, self.seed, key], compute)
        return self._memory[key]
