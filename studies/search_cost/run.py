"""How many CPU seconds does a search need to reach a quality, beside the loop that one would write without it?

    python studies/search_cost/run.py --model TEACHER --data DATA --budget 1.91MB --latency 2ms --output OUT
    python studies/search_cost/run.py ... --rows 1000 --validation-rows 500 --full 0.25 --trials 6     # small

The plain loop draws with the same sampler, seeds and given recipes, and trains every draw in full: no preview, nothing
reused, nothing stopped early. The quality to reach is fixed beforehand: the median over the seeds of the best that the
plain loop finds within budget in `--trials` trainings. Then each arm searches until a candidate within budget has that
quality on the validation split, after a training in full: ours, and ours with one feature switched off at a time. A
plain loop cannot fill a knob by previews, so it searches it; the given recipes have it filled, for both.

Counted is the CPU time of this process, which does everything itself. Counted for nobody: the teacher, its answers, and
the baseline's own measurement, which all need once. The test split is never read. The same command goes on where it
was interrupted, and prints the table again when all is done.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import optuna
import torch
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from eicompress.answers import TeacherOutputs
from eicompress.cache import Cache, write_whole
from eicompress.contracts import Examples
from eicompress.parsing import latency_ms, size_mb
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.study.coordinator import run_search
from eicompress.study.events import Event, SearchEnded, TrialEnded
from eicompress.study.fit_to_budget import filled
from eicompress.study.objective import Objective
from eicompress.study.samplers import sampler
from eicompress.study.search import Goal, Search
from eicompress.study.space import SearchSpace
from eicompress.study.space_file import read_space
from eicompress.study.store import opened
from eicompress.trials.builder import Builder, open_builder
from eicompress.trials.training_time import TimeEstimate
from eicompress.trials.worker import InProcess
from eicompress.values import Progress, Record, Text, seed_of

RUNGS = (1 / 9, 1.0)
ARMS = ("ours", "without short trainings", "without previews", "without the cache")
PATIENCE = 5
"""An arm is given up after this many times the trainings of the plain loop."""


@dataclass(frozen=True)
class Bed:
    """Everything that the arms of one seed share."""

    builder: Builder
    registry: Registry
    space: SearchSpace
    objective: Objective
    seed: int
    full: float
    """The share of the full training that counts as training in full."""
    output: Path


def cpu_seconds() -> float:
    """CPU seconds of this process, without those of the teacher."""
    return time.process_time() - FreeTeacher.seconds


@dataclass(frozen=True)
class FreeTeacher:
    """A teacher whose answers are counted for nobody."""

    teacher: Any
    seconds: ClassVar[float] = 0.0

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        start = time.process_time()
        try:
            answers: TeacherOutputs = self.teacher.outputs(texts)
            return answers
        finally:
            FreeTeacher.seconds += time.process_time() - start

    def watched(self, progress: Callable[[Progress], None]) -> "FreeTeacher":
        return FreeTeacher(self.teacher.watched(progress))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.teacher, name)


@dataclass
class Meter:
    """CPU seconds of an arm over all of its runs, kept in a file with whatever else is to be remembered."""

    path: Path
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.is_file():
            self.kept = json.loads(self.path.read_text())
        self.start()

    def start(self) -> None:
        """Count from here on; what this process did before is nothing of the arm's."""
        self._before = float(self.kept.get("cpu_s", 0.0))
        self._start = cpu_seconds()

    @property
    def seconds(self) -> float:
        return self._before + cpu_seconds() - self._start

    def keep(self, **values: Any) -> None:
        self.kept |= {**values, "cpu_s": self.seconds}
        write_whole(self.path, json.dumps(self.kept).encode())


@dataclass(frozen=True)
class Bench:
    """The builder with features switched off. Without `previews` everything is measured after training; without
    `reuse` each build begins with an empty cache."""

    builder: Builder
    previews: bool = True
    reuse: bool = True

    def baseline(self) -> Record:
        return self.builder.baseline()

    def simple(self, size_mb: float | None) -> dict[str, Record]:
        return {}  # no arm is asked for them

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        if self.previews:
            return self.builder.preview(recipe, size_only=size_only, careful=careful)
        return Record(tuple(recipe.to_json()), -1, "complete")

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        with self._chosen() as chosen:
            record = chosen.build(recipe, fidelity=fidelity, seed=seed, progress=progress)
        return record if self.previews else self.timed(record)

    def timed(self, record: Record) -> Record:
        return self.builder.timed(record)

    def promote_extras(self, record: Record, within_s: float = math.inf) -> Record:
        raise AssertionError("nothing is promoted here, since that reads the test split")

    def test_s(self) -> float:
        raise AssertionError("nothing is kept for the test split, since it is never read")

    def estimate_time(self, recipe: Recipe) -> TimeEstimate:
        return self.builder.estimate_time(recipe)

    def key(self, recipe: Recipe, *, fidelity: float, seed: int) -> str:
        return self.builder.key(recipe, fidelity=fidelity, seed=seed)

    @contextmanager
    def _chosen(self) -> Iterator[Builder]:
        if self.reuse:
            yield self.builder
            return
        with TemporaryDirectory() as folder:
            yield replace(self.builder, cache=Cache(Path(folder)))


def plain(bed: Bed, trials: int) -> list[dict[str, Any]]:
    """Every draw trained in full: what each came to, and the CPU seconds until then."""
    meter, bench = Meter(bed.output / f"plain-{bed.seed}.json"), Bench(bed.builder, previews=False, reuse=False)
    found: list[dict[str, Any]] = meter.kept.get("trials", [])
    study = optuna.create_study(direction="maximize", sampler=RandomSampler())
    space = bed.space.unfilled()
    for parameters in bed.space.known:
        study.enqueue_trial(dict(parameters))
    for index in range(trials):
        study.sampler = sampler("tpe", seed_of(bed.seed, index))
        trial = study.ask()
        recipe = space.suggest(trial)
        if index == len(found):
            became = trained_in_full(bench, recipe, bed)
            found.append({**became, "cpu_s": meter.seconds})
            meter.keep(trials=found)
        for name, value in found[index]["constraints"].items():
            trial.set_constraint(name, value)
        if found[index]["quality"] is None:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, found[index]["quality"])
    return found[:trials]


def trained_in_full(bench: Bench, recipe: Recipe, bed: Bed) -> dict[str, Any]:
    try:
        record = bench.build(recipe, fidelity=bed.full, seed=bed.seed, progress=lambda _: None)
    except Exception as error:
        return {"quality": None, "fits": False, "constraints": {}, "error": str(error)}
    within = bed.objective.fits(record)
    return {"quality": record.value("quality"), "fits": within, "constraints": bed.objective.constraints(record)}


class Ended(Exception):
    """The search is over, and nothing is to be promoted."""


def ours(bed: Bed, arm: str, target: float, trials: int) -> float | None:
    """CPU seconds until a candidate within budget reached the target; None if none did."""
    name = f"{arm.replace(' ', '-')}-{bed.seed}"
    meter = Meter(bed.output / f"{name}.json")
    if "reached" in meter.kept:
        return meter.kept["cpu_s"] if meter.kept["reached"] else None
    rungs = (1.0,) if arm == "without short trainings" else RUNGS
    space = replace(bed.space, rungs=tuple(bed.full * each for each in rungs))
    if arm == "without previews":
        space = space.unfilled()
    else:
        space = replace(space, known=tuple(without_fill(bed.space, each) for each in bed.space.known))
    folder = bed.output / name
    builder = replace(bed.builder, cache=Cache(folder / "cache"), folder=folder)
    bench = Bench(builder, previews=arm != "without previews", reuse=arm != "without the cache")

    def on_event(event: Event) -> None:
        if isinstance(event, TrialEnded):
            best = event.best.value("quality") if event.best else None
            meter.keep(best=best, trained=event.counts.reached)
        if isinstance(event, SearchEnded):
            raise Ended

    bench.baseline()
    meter.start()
    goal = Goal(bed.objective, bed.seed, trials=trials, stop_at=target)
    with opened(folder, {"arm": arm, "target": target}, {}) as ledger:
        workers = InProcess(bench, bed.registry)
        try:
            run_search(Search(bench, workers, bed.registry, ledger, space, goal, on_event))
        except Ended:
            meter.keep(reached=(meter.kept.get("best") or 0.0) >= target)
    return meter.kept["cpu_s"] if meter.kept["reached"] else None


def without_fill(space: SearchSpace, parameters: Mapping[str, Any]) -> dict[str, Any]:
    filled_name = f"{space.fill.strategy}.{space.fill.knob}" if space.fill else ""
    return {name: value for name, value in parameters.items() if name != filled_name}


def opened_bed(asked: argparse.Namespace, seed: int) -> Bed:
    """The builder, with what is counted for nobody done already."""
    registry = discover()
    words = {name: getattr(asked, name) for name in ("model", "data", "text", "label", "teacher_training")}
    spec = read({**words, "seed": seed})
    builder = open_builder(spec, registry, folder=asked.output / "shared", progress=lambda _: None)
    rows = {"train": asked.rows, "validation": asked.validation_rows}
    examples = {name: some(each, rows.get(name)) for name, each in builder.examples.items()}
    budgets = {"size_mb": size_mb(asked.budget)}
    budgets |= {"latency_ms": latency_ms(asked.latency)} if asked.latency else {}
    builder = replace(builder, examples=examples, cache=Cache(asked.output / "shared" / "cache"))
    free: Any = FreeTeacher(builder.teacher)
    builder = replace(builder, teacher=free)
    space = read_space(asked.space, registry)
    bed = Bed(builder, registry, space, Objective("quality", budgets), seed, asked.full, asked.output)
    return replace(bed, space=replace(space, known=tuple(given(bed))))


def some(examples: Examples, rows: int | None) -> Examples:
    """This number of rows, or all of them."""
    if rows is None or rows >= len(examples):
        return examples
    return examples.take(np.sort(np.random.default_rng(0).permutation(len(examples))[:rows]).tolist())


def given(bed: Bed) -> Iterator[dict[str, Any]]:
    """The space's recipes with the filled knob filled."""
    builder, space = bed.builder, bed.space
    builder.baseline()
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for parameters in space.known:
        study.enqueue_trial(dict(parameters))
        recipe = filled(builder, space, space.suggest(study.ask()), bed.objective.hard)
        if space.fill is None:
            yield dict(parameters)
            continue
        value = next(step[space.fill.knob] for step in recipe.to_json() if step["strategy"] == space.fill.strategy)
        yield {**parameters, f"{space.fill.strategy}.{space.fill.knob}": value}


def reached(trials: list[dict[str, Any]], target: float) -> float | None:
    return next((each["cpu_s"] for each in trials if each["fits"] and each["quality"] >= target), None)


def row(seconds: list[float | None], trials: str) -> str:
    listed = ", ".join("not reached" if each is None else f"{each:.0f}" for each in seconds)
    return f"{listed} | {middle(seconds)} | {trials}"


def middle(seconds: list[float | None]) -> str:
    value = median(seconds)
    return "not reached" if value == float("inf") else f"{value:.0f}"


def median(seconds: list[float | None]) -> float:
    """Of the seeds, one that did not reach the target counting as endless."""
    return statistics.median([float("inf") if each is None else each for each in seconds])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--teacher-training", default="finetune")
    parser.add_argument("--budget", default="1.91MB")
    parser.add_argument("--latency", default="", help="by default none")
    parser.add_argument("--space", default="edge")
    parser.add_argument("--trials", type=int, default=12, help="trainings of the plain loop")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--full", type=float, default=1.0, help="share of the full training that counts as all of it")
    parser.add_argument("--rows", type=int, help="of the training split")
    parser.add_argument("--validation-rows", type=int)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", default=ARMS, choices=ARMS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    asked.output = asked.output.resolve()

    beds = [opened_bed(asked, seed) for seed in asked.seeds]
    loops = [plain(bed, asked.trials) for bed in beds]
    bests = [max((each["quality"] for each in loop if each["fits"]), default=0.0) for loop in loops]
    target = statistics.median(bests)
    print(f"best of the plain loop by seed: {', '.join(f'{each:.4f}' for each in bests)}; to reach: {target:.4f}\n")
    baseline = [reached(loop, target) for loop in loops]
    print("| arm | CPU seconds by seed | median | times less than plain |\n|---|---|---|---|")
    print(f"| plain loop | {row(baseline, '1.0')} |", flush=True)
    for arm in asked.arms:
        seconds = [ours(bed, arm, target, PATIENCE * asked.trials) for bed in beds]
        print(f"| {arm} | {row(seconds, f'{median(baseline) / median(seconds):.2f}')} |", flush=True)


if __name__ == "__main__":
    main()
