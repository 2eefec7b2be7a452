"""A builder that builds nothing, and a study around it: the one stand-in among the tests, since the coordinator is
tested for what it does about thousands of seconds of training.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.manifest import READ
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.study.coordinator import run_search
from eicompress.study.events import Event, SearchEnded, TrialEnded
from eicompress.study.ledger import Ledger
from eicompress.study.objective import Objective, built_in
from eicompress.study.result import Result
from eicompress.study.search import Goal, Search, Workers
from eicompress.study.space import SearchSpace
from eicompress.study.space_file import read_space
from eicompress.study.store import opened
from eicompress.trials.training_time import TimeEstimate
from eicompress.trials.worker import InProcess, perform
from eicompress.values import Artifact, Done, Job, Measurement, Progress, Record, digest_of


@dataclass(frozen=True)
class Words(ModelStrategy):
    name: ClassVar[str] = "words"
    tokens: Annotated[int, IntDistribution(100, 100_000)] = 500

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        return subject


@dataclass(frozen=True)
class Thin(ModelStrategy):
    name: ClassVar[str] = "thin"
    layers: Annotated[int, IntDistribution(0, 24)] = 3
    rate: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.5

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        return subject


@dataclass(frozen=True)
class Shared(Words):
    name: ClassVar[str] = "shared"
    trains: ClassVar[bool] = True
    shares_training: ClassVar[bool] = True
    epochs: Annotated[float, FloatDistribution(0.0, 20.0)] = 6.0


@dataclass(frozen=True)
class Alone(Words):
    name: ClassVar[str] = "alone"
    trains: ClassVar[bool] = True


STRATEGIES = {each.name: each for each in (Words, Thin, Shared, Alone)}
REGISTRY = Registry(strategies=STRATEGIES, tasks={}, metrics={}, sources={})

SPACE = """
fidelity = 0.25
[[slot]]
strategy = "words"
tokens = { fill = true, low = 1000, high = 20000 }
[[slot]]
strategy = "thin"
layers = { low = 1, high = 8 }
rate = { low = 0.0, high = 1.0 }
[[recipe]]
steps = [{ strategy = "words" }, { strategy = "thin", layers = 2, rate = 0.5 }]
"""

PARTS = """
[[slot]]
strategy = "shared"
[[slot]]
strategy = "thin"
layers = { low = 1, high = 8 }
rate = { low = 0.0, high = 1.0 }
"""

FIVE_DRAWS = """
[[slot]]
strategy = "thin"
layers = { low = 1, high = 5 }
"""


@dataclass
class Bench:
    """A builder whose numbers are a formula of the recipe: 100 bytes a token, 0.3 MB a layer, 10 seconds a trial.

    `fails` may raise instead of, in turn: previews, builds and extras.
    """

    folder: Path
    fails: Callable[[str, Recipe, int], None] = lambda stage, recipe, calls: None
    now: float = 0.0
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("preview", "build", "extras"), 0))
    built: list[tuple[str, float]] = field(default_factory=list)
    baselines: dict[str, Record] = field(default_factory=dict)
    """The simple ones."""
    scored_share: float = 0.25
    reads_test_s: float = 0.0
    """What the baseline takes for the test split."""

    def clock(self) -> float:
        return self.now

    def key(self, recipe: Recipe, *, fidelity: float, seed: int) -> str:
        return digest_of([recipe.to_json(), fidelity, seed])

    def baseline(self) -> Record:
        return Record(recipe=(), draw=-1, outcome="complete", measurements=measured(90.0, 20.0, 0.96))

    def simple(self, size_mb: float | None) -> dict[str, Record]:
        return self.baselines

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        self._enter("preview", recipe)
        self.now += 1
        tokens, layers, _ = knobs_of(recipe)
        size = tokens / 10_000 + 0.3 * layers
        groups = {"embedding": tokens * 100, "layers": layers * 300_000}
        values = measured(size, 0.5 * layers if not size_only else None, None)
        return Record(recipe=(), draw=-1, outcome="complete", measurements=values, bytes_by_group=groups)

    def estimate_time(self, recipe: Recipe) -> TimeEstimate:
        return TimeEstimate(training=40.0, teacher=5.0)

    def count_steps(self, recipe: Recipe) -> int:
        return 2000

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        self._enter("build", recipe)
        progress(Progress("training", 1, 2, 0.7))
        self.built.append((recipe.digest, fidelity))
        self.now += 40 * fidelity
        tokens, layers, rate = knobs_of(recipe)
        preview = self.preview(recipe, size_only=True)
        quality = 0.5 + 0.04 * layers + tokens / 200_000 - 0.1 * (rate - 0.3) ** 2 + 0.05 * fidelity
        quality += 0.02 * fidelity * any(step.name == Alone.name for step in recipe.steps)
        artifact = Artifact(self.folder / f"{recipe.digest} {fidelity:g}")
        artifact.onnx.parent.mkdir(parents=True, exist_ok=True)
        artifact.onnx.write_text(artifact.folder.name)
        artifact.manifest.write_text(json.dumps({"files": dict.fromkeys(READ, "")}))
        return replace(
            preview,
            recipe=tuple(recipe.to_json()),
            measurements=(*preview.measurements, *measured(None, None, quality)),
            key=self.key(recipe, fidelity=fidelity, seed=seed),
            trained=True,
            fidelity=fidelity,
            only_shared=recipe.only_shared,
            seed=seed,
            seconds_by_phase={"training": 40 * fidelity},
            files={"artifact": str(artifact.folder)},
        )

    def timed(self, record: Record) -> Record:
        (_, layers, _) = knobs_of(REGISTRY.recipe(record.recipe))
        return record.with_measured(measured(None, 0.5 * layers, None), {})

    def promote_extras(self, record: Record, within_s: float = math.inf) -> Record:
        self._enter("extras", Recipe(()))
        on_test = None if self.reads_test_s > within_s else 0.9
        self.now += self.reads_test_s if on_test else 0.0
        record = record.with_measured((Measurement("quality_test", 0.8, ""),), {})
        return replace(record, facts={**record.facts, "baseline": {"quality_test": on_test}})

    def test_s(self) -> float:
        return self.reads_test_s

    def _enter(self, stage: str, recipe: Recipe) -> None:
        self.calls[stage] += 1
        self.fails(stage, recipe, self.calls[stage])


def measured(size: float | None, latency: float | None, quality: float | None) -> tuple[Measurement, ...]:
    values = {"size_mb": size, "latency_ms": latency, "quality": quality}
    return tuple(Measurement(name, value, "") for name, value in values.items() if value is not None)


def knobs_of(recipe: Recipe) -> tuple[int, int, float]:
    steps: dict[str, Any] = {step.name: step for step in recipe.steps}
    words, thin = steps.get("words", Words()), steps.get("thin", Thin())
    return words.tokens, thin.layers, thin.rate


@dataclass
class Several:
    """Workers that end their jobs in the wrong order: the one that was begun last ends first, or is stopped.

    The first `lost` jobs that end are lost.
    """

    bench: Bench
    count: int
    lost: int = 0
    jobs: list[Job] = field(default_factory=list)
    most: int = 0

    @property
    def free(self) -> bool:
        return len(self.jobs) < self.count

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))

    def wait(self, progress: Callable[[int, Progress], None], within_s: float = math.inf) -> Done:
        job, begun = self.jobs.pop(), self.bench.now
        if self.lost:
            self.lost -= 1
            return Done(job, "lost", reason="its process was killed")
        done = perform(job, self.bench, REGISTRY, lambda each: progress(job.number, each))
        if self.bench.now - begun <= within_s:
            return done
        self.bench.now = begun + within_s
        return Done(job, "out of time", reason="the time for the search is used up")


@dataclass
class Bed:
    """A study in a folder, and everything that was reported."""

    root: Path
    space: SearchSpace
    goal: Goal
    registry: Registry = REGISTRY
    storage: str = ""
    events: list[Event] = field(default_factory=list)

    def run(self, bench: Bench, workers: Workers | None = None) -> Result:
        with self.ledger() as ledger:
            return run_search(self.search(bench, ledger, self.events.append, workers))

    def search(
        self, bench: Bench, ledger: Ledger, on_event: Callable[[Event], None], workers: Workers | None = None
    ) -> Search:
        workers = workers or InProcess(bench, self.registry)
        return Search(bench, workers, self.registry, ledger, self.space, self.goal, on_event, bench.clock)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        asked, digests = {"seed": self.goal.seed}, {"space": self.space.digest}
        asked |= {"storage": self.storage} if self.storage else {}
        with opened(self.root / "study", asked, digests, self.goal.objective.directions, self.storage) as ledger:
            yield ledger

    def trials_ended(self) -> list[TrialEnded]:
        return [event for event in self.events if isinstance(event, TrialEnded)]

    def ended(self) -> str:
        return next(event.reason for event in reversed(self.events) if isinstance(event, SearchEnded))


def bed(tmp_path: Path, code: str = SPACE, **goal: Any) -> Bed:
    path = tmp_path / "space.toml"
    path.write_text(code)
    budgets = goal.pop("budgets", {"size_mb": 2.0, "latency_ms": 2.0})
    name, metrics = goal.pop("objective", "quality"), goal.pop("metrics", ("quality",))
    known = built_in() | {each.name: each for each in goal.pop("foreign", ())}
    objective = Objective(name, budgets, metrics, known)
    return Bed(tmp_path, read_space(str(path), REGISTRY), Goal(objective, **goal))


@dataclass
class Curves(Bench):
    """A builder whose qualities are recorded learning curves: by the layers of a recipe, quality by fidelity.

    Between two fidelities of a curve the quality goes in a straight line.
    """

    curves: dict[int, dict[float, float]] = field(default_factory=dict)

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        record = super().build(recipe, fidelity=fidelity, seed=seed, progress=progress)
        curve = self.curves[knobs_of(recipe)[1]]
        quality = float(np.interp(fidelity, sorted(curve), [curve[each] for each in sorted(curve)]))
        others = tuple(each for each in record.measurements if each.name != "quality")
        return replace(record, measurements=(*others, Measurement("quality", quality, "")))
