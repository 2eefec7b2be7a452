"""A training that all candidates of a study share is made once: counted by the steps that it takes."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import forked
import pytest
import shared_weights
import torch
from shared_weights import LOG, PAUSE, Elastic, Take

import eicompress
from eicompress.contracts import Candidate, Context, Training
from eicompress.errors import BudgetError, Inapplicable, SpecError
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.strategies.distillation import Distillation
from eicompress.study.result import Result
from eicompress.training.trainer import Trainer
from eicompress.trials.builder import Builder, open_builder
from eicompress.trials.processes import next_job
from eicompress.values import SHARED, Job, Progress, Record

PLUGIN = str(Path(shared_weights.__file__))
SPACE = """
fidelity = [0.1, 0.3]

[[slot]]
strategy = "elastic"

[[slot]]
strategy = "take"
first = { low = 1, high = 32 }
second = { low = 1, high = 32 }
third = { low = 1, high = 32 }
layers = { low = 1, high = 3 }

[[slot]]
strategy = "quantization"
layer_bits = { choices = [4, 8] }
"""
STEPS = 30
"""Of the whole training; an estimate of its time takes 12."""


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working folder and a cache of its own, and latencies that are taken in a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    Path("space.toml").write_text(SPACE)


def steps_taken(log: Path) -> list[int]:
    """The steps of whole trainings, in the order in which they were taken."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [int(step) for _, step, steps in lines if int(steps) == STEPS]


@pytest.fixture
def builder(model_folder: Path, data_folder: Path, tmp_path: Path) -> Builder:
    spec = read({"model": str(model_folder), "data": str(data_folder)})
    return open_builder(spec, discover(PLUGIN), folder=tmp_path / "study", progress=ignored)


def examples(record: Record) -> int:
    """The number of texts that a quality was measured on."""
    return next(int(each.conditions["examples"]) for each in record.measurements if each.name == "quality")


def ignored(progress: Progress) -> None:
    pass


def search(model: Path, data: Path, **more: Any) -> Result:
    given: dict[str, Any] = {"budget": "1MB", "space": "space.toml", "study": "s", "plugin": PLUGIN, "workers": 0}
    return eicompress.search(model=str(model), data=str(data), **{**given, **more})


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "workers"), [(6, 0), (60, 2)])
def test_many_candidates_with_rungs_are_made_of_one_training(
    model_folder: Path, data_folder: Path, tmp_path: Path, trials: int, workers: int
) -> None:
    result = search(model_folder, data_folder, trials=trials, workers=workers, sampler="nsga2")
    assert steps_taken(tmp_path / "log") == list(range(STEPS))
    assert result.counts.trained == result.counts.reached == trials
    assert result.counts.variants == 0
    trained = [record for record in result.records.values() if record.trained]
    assert {record.fidelity for record in trained} == {1.0}
    assert len({record.facts[SHARED]["key"] for record in trained}) == 1


def test_a_part_of_a_shared_training_is_scored_on_some_texts_or_on_all_and_says_on_which(
    builder: Builder, tmp_path: Path
) -> None:
    recipe, seen = Recipe((Elastic(), Take(first=8, layers=2))), list[Progress]()
    first = builder.build(recipe, fidelity=0.25, seed=0, progress=seen.append)
    again = builder.build(recipe, fidelity=1.0, seed=0, progress=ignored)
    assert steps_taken(tmp_path / "log") == list(range(STEPS))
    count = len(builder.examples["validation"])
    assert [(each.fidelity, each.whole, examples(each)) for each in (first, again)] == [
        (0.25, "validation texts", count // 4),
        (1.0, "validation texts", count),
    ]
    assert first.key != again.key
    # What nobody is going to use is not kept, and no logits that others would be compared with.
    assert not first.files and "parity" not in first.facts
    assert {*again.files} == {"artifact", "validation_logits"} and "parity" in again.facts
    assert seen[0] == Progress(SHARED) and seen[1].phase == SHARED and seen[1].steps == STEPS
    assert "training" not in {each.phase for each in seen}
    # What took the training is counted apart from what the candidate itself took.
    assert first.seconds_by_phase[SHARED] > first.seconds_by_phase["applying"]
    assert first.own_seconds == pytest.approx(sum(first.seconds_by_phase.values()) - first.seconds_by_phase[SHARED])


@pytest.mark.slow
def test_a_sub_network_is_picked_for_other_limits_and_nothing_is_trained(
    model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    result = search(model_folder, data_folder, trials=20, objective="pareto:quality,size_mb")
    sizes = sorted(record.value("size_mb") or 0.0 for record in result.records.values())
    bound = sizes[len(sizes) // 2]
    number, picked = eicompress.pick("s", output="small", budget=f"{bound + 1e-6:.6f}MB")
    fitting = [each for each in result.records.values() if (each.value("size_mb") or 0.0) <= bound]
    assert picked.value("quality") == max(each.value("quality") or 0.0 for each in fitting)
    assert result.records[number].recipe == picked.recipe
    assert eicompress.load("small").predict(["play the song"])[0].label in ("music", "weather")
    assert steps_taken(tmp_path / "log") == list(range(STEPS))
    with pytest.raises(
        BudgetError, match=r"no sub-network of study `s` is within the limits. They reach 0.* MB of size"
    ):
        eicompress.pick("s", output="none", budget="1KB")
    with pytest.raises(SpecError, match="must have a limit, but got none: add `--budget 700KB`"):
        eicompress.pick("s", output="none")
    assert not Path("none").exists()


def test_another_seed_asks_for_another_training(builder: Builder, tmp_path: Path) -> None:
    recipe = Recipe((Elastic(),))
    for seed in (0, 1, 0, 1):
        builder.build(recipe, fidelity=0.1, seed=seed, progress=ignored)
    assert steps_taken(tmp_path / "log") == 2 * list(range(STEPS))


def test_what_stands_before_a_shared_training_is_trained_at_full_length_and_what_stands_after_it_is_not(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fidelities, fit = list[float](), Trainer.__call__

    def counted(self: Trainer, candidate: Candidate, training: Training) -> None:
        fidelities.append(self.fidelity)
        fit(self, candidate, training)

    monkeypatch.setattr(Trainer, "__call__", counted)
    before, after = Distillation(epochs=2.0, distortions=0), Distillation(epochs=4.0, distortions=0)
    for fidelity in (0.1, 0.5):
        recipe = Recipe((before, Elastic(), Take(layers=2), after))
        assert not recipe.only_shared and recipe.shared.steps == (before, Elastic())
        builder.build(recipe, fidelity=fidelity, seed=0, progress=ignored)
    assert fidelities == [1.0, 1.0, 0.1, 0.5]


@dataclass(frozen=True)
class Odd(Elastic):
    """Makes of the encoder what cannot be kept."""

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        return replace(subject, model=torch.nn.Sequential(subject.model))


def test_a_shared_training_that_could_not_be_kept_is_refused_before_it_is_made(builder: Builder) -> None:
    with pytest.raises(Inapplicable, match=r"`elastic` must make an encoder, since .* but it made a Sequen"):
        builder.preview(Recipe((Odd(),)))


def test_a_forecast_counts_a_shared_training_once(builder: Builder) -> None:
    alone = builder.estimate_time(Recipe((Elastic(), Take())))
    assert alone.training == 0.0 < alone.shared
    both = Recipe((Elastic(), Take(), Distillation(epochs=4.0, distortions=0)))
    assert builder.estimate_time(both).training > 0.0
    assert builder.count_steps(both) == 4 and builder.count_steps(Recipe((Elastic(),))) == 0


def job(number: int, shared: str = "") -> Job:
    return Job(number, (), 1.0, 0, shared)


def test_jobs_wait_for_the_one_that_makes_their_training_and_for_no_other() -> None:
    first, same, other, none = job(1, "a"), job(2, "a"), job(3, "b"), job(4)
    assert next_job([same, other, none], [first], {}) is other
    assert next_job([same, none], [first, other], {}) is none
    assert next_job([same], [first, other], {}) is None
    assert next_job([same], [first, other], {"a"}) is same
    assert next_job([same], [none], {}) is same


class Search:
    """A search with two workers in a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, model: Path, data: Path, *more: str) -> None:
        folder.mkdir()
        (folder / "space.toml").write_text(SPACE)
        self.folder = folder
        self.arguments = [
            *("search", "--model", str(model), "--data", str(data), "--budget", "1MB", "--space", "space.toml"),
            *("--trials", "6", "--workers", "2", "--study", "s", "--plugin", PLUGIN, *more),
        ]
        self.environment = {
            **os.environ,
            **{"EICOMPRESS_CACHE": str(folder / "cache"), LOG: str(folder / "log"), PAUSE: "0.2"},
        }

    def start(self) -> ForkServerProcess:
        return forked.started(
            forked.eicompress_with_forked_workers,
            *self.arguments,
            folder=self.folder,
            environment=self.environment,
            log=self.folder / "said",
        )

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def trainers(self) -> list[int]:
        """The processes that made the training, in their order."""
        lines = [line.split() for line in (self.folder / "log").read_text().splitlines()]
        return list(dict.fromkeys(int(pid) for pid, _, steps in lines if int(steps) == STEPS))

    def result(self) -> Result:
        return eicompress.show("s", studies=self.folder / "studies")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "search"])
def test_a_shared_training_that_is_killed_in_the_middle_goes_on_from_its_checkpoint(
    model_folder: Path, data_folder: Path, tmp_path: Path, killed: str
) -> None:
    made = Search(tmp_path / "made", model_folder, data_folder)
    process, log = made.start(), made.folder / "log"
    until(lambda: len(steps_taken(log)) > STEPS // 2)
    os.kill(made.trainers()[0] if killed == "worker" else process.pid, signal.SIGKILL)
    if killed == "search":
        process.join()
        process = made.start()
    assert forked.waited(process) == 0, made.said()
    # The step during which it was killed, and the one that was not kept yet, are taken twice at most.
    taken = Counter(steps_taken(log))
    assert sorted(taken) == list(range(STEPS)) and sum(taken.values()) <= STEPS + 2
    assert len(made.trainers()) == 2
    counts = made.result().counts
    assert (counts.trained, counts.failed) == (6, 0)


def test_a_shared_training_is_whole_at_any_fidelity_that_a_recipe_is_built_with(
    model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    recipe = Recipe((Elastic(), Take(first=8, layers=2)))
    asked: dict[str, Any] = {"model": str(model_folder), "data": str(data_folder), "recipe": recipe, "plugin": PLUGIN}
    record = eicompress.compress(output="part", fidelity=0.3, **asked)
    assert steps_taken(tmp_path / "log") == list(range(STEPS)) and record.fidelity == 1.0
    assert eicompress.load("part").predict(["play the song"])
