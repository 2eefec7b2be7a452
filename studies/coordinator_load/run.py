"""How many workers one coordinator keeps busy: a discrete-event simulation around the real coordinator and storage.

    python studies/coordinator_load/run.py --workers 128 --trials 512 --before 2000
    python studies/coordinator_load/run.py --workers 128 --storage postgresql://user@host/database

What is real: drawing (TPE over the search space `edge`), the comparisons at its rungs, the database, every record
written and reported to the sampler. What is simulated: previews, which take no time here, and workers, which take 60
seconds for the first training of a trial, give or take 20 %, and proportionally more for a longer one. Time that the
coordinator takes passes on the simulated clock too; time in which it waits is skipped.
"""

import argparse
import heapq
import math
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import optuna
from optuna.samplers import RandomSampler, TPESampler

from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.study.ask_and_tell import Draws
from eicompress.study.coordinator import begin, draw_and_train
from eicompress.study.events import Event, TrialEnded
from eicompress.study.halving import one_in, rungs_of
from eicompress.study.ledger import Ledger
from eicompress.study.objective import Objective
from eicompress.study.search import Goal, Search
from eicompress.study.space import SearchSpace
from eicompress.study.space_file import read_space
from eicompress.study.store import opened
from eicompress.trials.training_time import TimeEstimate
from eicompress.values import Done, Job, Measurement, Progress, Record, digest_of

TRAINING_SECONDS = 60.0
"""Of the shortest training."""
SPREAD = 0.2
NOISE = "x" * 6_000
"""What stands for the rest of a record, whose usual length is 7 KB."""


@dataclass
class Clock:
    """Real time that the coordinator takes, plus the waiting that is skipped."""

    skipped: float = 0.0

    def __call__(self) -> float:
        return time.perf_counter() + self.skipped

    def skip_to(self, moment: float) -> None:
        self.skipped += max(0.0, moment - self())


@dataclass
class Simulated:
    """Workers that take their time on the simulated clock alone."""

    count: int
    clock: Clock
    seconds: Callable[[Job], float]
    ends: list[tuple[float, int, Job]] = field(default_factory=list)
    idle_since: list[float] = field(default_factory=list)
    busy: float = 0.0
    """Seconds of the trainings that a worker had after another one."""
    idle: float = 0.0
    """Seconds that a worker waited between two trainings."""

    @property
    def share(self) -> float:
        return self.busy / (self.busy + self.idle)

    @property
    def free(self) -> bool:
        return len(self.ends) < self.count

    def submit(self, job: Job) -> None:
        now = self.clock()
        seconds = self.seconds(job)
        if self.idle_since:
            self.idle += now - heapq.heappop(self.idle_since)
            self.busy += seconds
        heapq.heappush(self.ends, (now + seconds, job.number, job))

    def wait(self, progress: Callable[[int, Progress], None], within_s: float = math.inf) -> Done:
        end, _, job = heapq.heappop(self.ends)
        self.clock.skip_to(end)
        heapq.heappush(self.idle_since, end)
        return Done(job, "built", built(job))


@dataclass(frozen=True)
class Builder:
    """Measures by formula and in no time."""

    folder: Path

    def key(self, recipe: Recipe, *, fidelity: float, seed: int) -> str:
        return digest_of([recipe.to_json(), fidelity, seed])

    def baseline(self) -> Record:
        return Record((), -1, "complete", measurements=measured(90.0, 0.96))

    def simple(self, size_mb: float | None) -> dict[str, Record]:
        return {}

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        return Record((), -1, "complete", measurements=measured(1.5, None))

    def timed(self, record: Record) -> Record:
        return record

    def promote_extras(self, record: Record, within_s: float = math.inf) -> Record:
        return record

    def test_s(self) -> float:
        return 0.0

    def estimate_time(self, recipe: Recipe) -> TimeEstimate:
        return TimeEstimate(training=TRAINING_SECONDS, teacher=0.0)


def measured(size: float, quality: float | None) -> tuple[Measurement, ...]:
    found = {"size_mb": size, "latency_ms": 1.0, "quality": quality}
    return tuple(Measurement(name, value, "") for name, value in found.items() if value is not None)


def built(job: Job) -> Record:
    rng = random.Random(digest_of(list(job.recipe)))
    return Record(
        job.recipe, -1, "complete", trained=True, fidelity=job.fidelity, seed=job.seed,
        measurements=measured(1.5, 0.8 + 0.1 * rng.random()), facts={"rest": {"of": NOISE}},
        seconds_by_phase={"training": TRAINING_SECONDS},
    )  # fmt: skip


class Stopwatch:
    """Seconds inside some methods of a class, the outermost call counted."""

    def __init__(self, of: type, methods: tuple[str, ...]) -> None:
        self.seconds, self._inside = 0.0, False
        for name in methods:
            setattr(of, name, self._timed(getattr(of, name)))

    def _timed(self, method: Callable[..., object]) -> Callable[..., object]:
        def timed(*given: object, **named: object) -> object:
            if self._inside:
                return method(*given, **named)
            self._inside, start = True, time.perf_counter()
            try:
                return method(*given, **named)
            finally:
                self.seconds += time.perf_counter() - start
                self._inside = False

        return timed


def fill(ledger: Ledger, space: SearchSpace, objective: Objective, count: int) -> None:
    """Record this number of random trials, as a search in rungs leaves them: one in three got the longer training."""
    memory = Ledger(optuna.create_study(direction="maximize", sampler=RandomSampler(seed=1)), ledger.folder)
    draws = Draws.of(memory)
    for index in range(count):
        draw = draws.ask("random", seed=0)
        recipe = space.suggest(draw.trial)
        draws.note(draw, recipe)
        rungs = space.rungs if index % one_in(space.rungs, 0) == 0 else space.rungs[:1]
        trainings = [built(Job(index, tuple(recipe.to_json()), rung, 0)) for rung in rungs]
        record = replace(trainings[-1], draw=index, key=str(index), rungs=rungs_of(trainings))
        draws.tell(draw, record, objective)
    ledger.study.add_trials(memory.study.get_trials(deepcopy=False))


def simulate(storage: str, workers: int, trials: int, before: int) -> None:
    rng, clock, registry = random.Random(0), Clock(), discover()
    space = read_space("edge", registry)
    objective = Objective("quality", {"size_mb": 2.0, "latency_ms": 2.0})
    sampler = Stopwatch(TPESampler, ("infer_relative_search_space", "sample_relative", "sample_independent"))
    with (
        tempfile.TemporaryDirectory() as name,
        opened(Path(name) / f"study-{uuid4().hex[:8]}", {}, {}, storage=storage) as ledger,
    ):
        fill(ledger, space, objective, before)

        def seconds_of(job: Job) -> float:
            return TRAINING_SECONDS * job.fidelity / space.rungs[0] * rng.uniform(1 - SPREAD, 1 + SPREAD)

        ended: list[TrialEnded] = []

        def on_event(event: Event) -> None:
            if isinstance(event, TrialEnded):
                ended.append(event)

        crew = Simulated(workers, clock, seconds_of)
        goal = Goal(objective, trials=before + trials)
        search = Search(Builder(Path(name)), crew, registry, ledger, space, goal, on_event, clock)
        start = time.perf_counter()
        begin(search)
        begun, processor = time.perf_counter(), time.process_time()
        draw_and_train(search)
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    kind = storage.partition(":")[0] or "sqlite"
    print(
        f"| {kind} | {workers} | {before} | {crew.share:.1%} | {seconds / len(ended):.3f} s | "
        f"{processor / len(ended):.3f} s | {sampler.seconds / len(ended):.3f} s | {begun - start:.1f} s |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="", help="URL of a database; by default SQLite")
    parser.add_argument("--workers", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--trials", type=int, help="by default twice as many as there are workers")
    parser.add_argument("--before", type=int, default=2000, help="trials recorded already")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| storage | workers | trials before | busy | coordinator a trial | on the CPU | the sampler | start |")
    print("|---|---|---|---|---|---|---|---|")
    for workers in asked.workers:
        simulate(asked.storage, workers, asked.trials or 2 * workers, asked.before)


if __name__ == "__main__":
    main()
