"""Worker processes on a tiny real model, with strategies that do what must not bring a search down."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from eicompress.errors import StudyError
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import Spec, read
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent
from eicompress.trials.builder import open_builder
from eicompress.trials.processes import Processes
from eicompress.trials.watched import Limits, Setup
from eicompress.trials.worker import InProcess
from eicompress.values import Done, Job, Progress, Record

STEPS = tuple(
    {"strategy": step.name, **vars(step)}
    for step in (ThinStudent(layers=1), Quantization(), Distillation(epochs=1, distortions=0))
)
BAD = """
import ctypes, math, os, signal, time
from dataclasses import dataclass
from typing import Annotated, ClassVar

from optuna.distributions import CategoricalDistribution

from eicompress.contracts import ModelStrategy, Training
from eicompress.hookspecs import hookimpl

WAYS = ("segfault", "hang", "memory", "exit", "kill", "nan", "raise", "disk")


@dataclass(frozen=True)
class Bad(ModelStrategy):
    name: ClassVar[str] = "bad"
    how: Annotated[str, CategoricalDistribution(WAYS)] = "raise"

    def apply(self, subject, context):
        if context.preview:
            return subject
        if self.how == "segfault":
            ctypes.string_at(0)
        elif self.how == "hang":
            time.sleep(600)
        elif self.how == "memory":
            held = [bytearray(b"x" * 10_000_000)]
            while True:
                held.append(bytearray(b"x" * 10_000_000))
                time.sleep(0.002)
        elif self.how == "exit":
            ctypes.CDLL(None)._exit(3)
        elif self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "nan":
            def loss(batch):
                return math.nan * subject.model(batch.input_ids, batch.attention_mask, batch.token_type_ids).sum()
            context.fit(subject, Training(context.train.texts, loss, 1.0, 1e-3))
        elif self.how == "disk":
            raise OSError(28, "No space left on device", "/somewhere")
        raise ZeroDivisionError("a bug")


@hookimpl
def register_strategies():
    return [Bad]
"""
PLENTY = Limits(seconds=300, memory_bytes=8 * 10**9)


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def setup(model_folder: Path, data_folder: Path, tmp_path: Path) -> Setup:
    (tmp_path / "bad.py").write_text(BAD)
    given = {"model": str(model_folder), "data": str(data_folder), "plugin": str(tmp_path / "bad.py")}
    return Setup(read(given).settings, str(tmp_path / "study"))


@contextmanager
def processes(setup: Setup, limits: Limits = PLENTY, count: int = 1) -> Iterator[Processes]:
    with Processes(setup, limits, count) as workers:
        yield workers


def ignore(number: int, progress: Progress) -> None:
    pass


def job(number: int = 0, how: str = "") -> Job:
    return Job(number, ({"strategy": "bad", "how": how},) if how else STEPS, 1.0, 0)


def built(workers: Processes, each: Job) -> Done:
    workers.submit(each)
    return workers.wait(ignore)


@pytest.mark.slow
def test_a_process_builds_what_this_process_would_build_and_goes_on_after_a_bug(setup: Setup) -> None:
    seen: list[tuple[int, Progress]] = []
    with processes(setup) as workers:
        workers.submit(job(7))
        assert not workers.free
        done = workers.wait(lambda number, progress: seen.append((number, progress)))
        assert workers.free
        bug, diverged = built(workers, job(8, "raise")), built(workers, job(9, "nan"))
        (worker,) = workers._workers
    assert worker.process.alive is False
    assert {number for number, _ in seen} == {7}
    assert {"training", "export", "measuring"} <= {progress.phase for _, progress in seen}
    builder = open_builder(Spec(setup.settings), discover(), folder=Path(setup.folder), progress=lambda _: None)
    here = InProcess(builder, discover())
    here.submit(job(7))
    expected = here.wait(ignore)
    assert done.record is not None and expected.record is not None
    # Seconds differ from run to run, and the number of threads among the versions from process to process.
    same = {"seconds_by_phase": {}, "versions": {}}
    assert replace(done.record, **same) == replace(expected.record, **same)
    assert (bug.fate, bug.job.number) == ("failed", 8) and "ZeroDivisionError: a bug" in bug.reason
    assert diverged.fate == "failed" and "the loss must stay a finite number, but is nan" in diverged.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "limits", "fate", "said"),
    [
        ("segfault", PLENTY, "failed", r"(?s)Segmentation fault.*crashed with SIGSEGV"),
        ("exit", PLENTY, "failed", "its process ended with status 3"),
        ("kill", PLENTY, "lost", "its process was ended with SIGKILL, by a user or because memory ran out"),
        ("hang", replace(PLENTY, seconds=20), "failed", r"must end within 20 s \(`--trial-timeout`\)"),
        ("memory", replace(PLENTY, memory_bytes=10**9), "failed", r"must do with 1000 MB .*this one took 1\d\d\d MB"),
    ],
)
def test_what_ends_a_process_is_one_failed_job_with_its_reason_and_a_new_process(
    setup: Setup, how: str, limits: Limits, fate: str, said: str
) -> None:
    with processes(setup, limits) as workers:
        done = built(workers, job(3, how))
        assert done.fate == fate
        assert re.search(said, done.reason)
        assert built(workers, job(4)).fate == "built"


@pytest.mark.slow
def test_a_job_that_runs_when_the_time_is_used_up_is_stopped(setup: Setup) -> None:
    with processes(setup) as workers:
        for number in range(2):
            workers.submit(job(number, "hang"))
        done = [workers.wait(ignore, within_s=1.0) for _ in range(2)]
        assert [each.fate for each in done] == ["out of time"] * 2
        assert built(workers, job(4)).fate == "built"


def test_a_job_in_this_process_is_stopped_where_it_reports_its_progress() -> None:
    class Reports:
        def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
            try:
                progress(Progress("training"))
            except Exception:
                pytest.fail("a strategy must not take the end of the search for an error of its own")
            raise AssertionError("it must have been stopped")

    here = InProcess(Reports(), discover(only=""))
    here.submit(Job(0, (), 1.0, 0))
    assert here.wait(ignore, within_s=-1.0).fate == "out of time"


def test_limits_of_memory_are_refused_where_no_memory_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Limits(60.0).shared(2).memory_bytes > 0
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    for limits in (Limits(60.0), PLENTY):
        with pytest.raises(StudyError, match=r"`--trial-memory`.* mount /proc, or give `--workers 0`"):
            limits.shared(1)


@pytest.mark.slow
def test_a_full_disk_is_no_jobs_fault(setup: Setup) -> None:
    with processes(setup) as workers, pytest.raises(StudyError, match="`/somewhere` must be a place to write to"):
        built(workers, job(0, "disk"))


@pytest.mark.slow
def test_processes_stand_still_while_a_latency_is_taken(setup: Setup) -> None:
    def stands(pid: int) -> bool:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] == "T"

    with processes(setup, count=2) as workers:
        for number in range(2):
            workers.submit(job(number, "hang"))
        pids = [each.process.pid for each in workers._workers]
        with workers.paused():
            while not all(stands(pid) for pid in pids):
                time.sleep(0.01)
        while any(stands(pid) for pid in pids):
            time.sleep(0.01)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
def test_two_searches_that_want_the_same_compute_it_once(setup: Setup, tmp_path: Path) -> None:
    with processes(setup) as one, processes(replace(setup, folder=str(tmp_path / "other"))) as other:
        for number, workers in enumerate((one, other)):
            workers.submit(job(number))
        done = [workers.wait(ignore) for workers in (one, other)]
    records = [each.record for each in done]
    assert all(record is not None for record in records), [each.reason for each in done]
    first, second = (np.load(record.files["validation_logits"])["logits"] for record in records if record)
    assert np.array_equal(first, second)
