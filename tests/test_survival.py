"""A search on a tiny real model that is killed again and again ends where an undisturbed one ends."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import forked
import pytest
from optuna.trial import FrozenTrial

import eicompress
from eicompress.errors import StudyError
from eicompress.study.ask_and_tell import RESTARTS
from eicompress.study.ledger import Ledger
from eicompress.study.result import Result
from eicompress.study.store import read_ledger
from eicompress.values import Record

KILLS, TRIALS = 30, 16
SPACE = """
fidelity = [0.17, 0.5]

[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 3 }
neurons = { low = 0.25, high = 1.0 }

[[slot]]
strategy = "distillation"
epochs = 100.0
label_weight = 1.0
learning_rate = { low = 1e-4, high = 1e-2, log = true }
distortions = 4

[[recipe]]
steps = [{ strategy = "thin_student", layers = 1 }, { strategy = "distillation" }]

[[recipe]]
steps = [{ strategy = "thin_student", layers = 2 }, { strategy = "distillation" }]
"""


class Search:
    """A search in a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, model: Path, data: Path) -> None:
        folder.mkdir()
        (folder / "space.toml").write_text(SPACE)
        self.folder = folder
        self.study = folder / "studies" / "s"
        self.arguments = [
            *("search", "--model", str(model), "--data", str(data), "--budget", "1MB", "--space", "space.toml"),
            *("--trials", str(TRIALS), "--study", "s"),
        ]
        self.environment = {**os.environ, "EICOMPRESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def run(self) -> int:
        """In new processes; the exit status."""
        command = [sys.executable, "-c", "from eicompress.cli import main; main()", *self.arguments]
        with (self.folder / "log").open("ab") as log:
            return subprocess.run(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log).returncode

    def start(self) -> ForkServerProcess:
        """In processes that need no time to start, so that kills hit what a search does."""
        return forked.started(
            forked.eicompress_with_forked_workers,
            *self.arguments,
            folder=self.folder,
            environment=self.environment,
            log=self.folder / "log",
        )

    def ledger(self) -> Ledger | None:
        """None before the search has made its study, and where it was killed between the file and the study in it."""
        try:
            return read_ledger(self.study)
        except StudyError as error:
            assert "there is no study" in str(error) or "is empty" in str(error), error
            return None

    def records(self) -> dict[int, Record]:
        ledger = self.ledger()
        return ledger.records() if ledger else {}

    def trials(self) -> list[FrozenTrial]:
        ledger = self.ledger()
        return ledger.study.get_trials(deepcopy=False) if ledger else []

    def draws(self) -> int:
        return len({trial.user_attrs.get("draw", 0) for trial in self.trials()})

    def hits(self) -> int:
        """How often the trial that runs now has lost its process before."""
        unfinished = [trial for trial in self.trials() if not trial.state.is_finished()]
        return max((trial.user_attrs.get("restarts", 0) for trial in unfinished), default=0)

    def restarts(self) -> int:
        return sum(trial.user_attrs.get("restarts", 0) for trial in self.trials())

    def result(self) -> Result:
        return eicompress.show("s", studies=self.folder / "studies")


def worker_of(process: ForkServerProcess) -> int | None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return next((int(each) for each in children.read_text().split()), None) if children.exists() else None


def awaited_worker_of(process: ForkServerProcess) -> int | None:
    """On a busy machine it takes a while until a search that was started again has a worker."""
    while process.exitcode is None:
        if worker := worker_of(process):
            return worker
        time.sleep(0.1)
    return None


def killed_off(worker: int) -> bool:
    """False if the process had ended by itself."""
    try:
        os.kill(worker, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait_until(true: Callable[[], bool]) -> None:
    """Or a few seconds, since a worker that had nothing to do is missed by nobody."""
    for _ in range(30):
        if true():
            return
        time.sleep(0.1)


@pytest.mark.slow
def test_thirty_kills_lose_nothing_and_count_nothing_twice(
    model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    whole, killed = (Search(tmp_path / name, model_folder, data_folder) for name in ("whole", "killed"))
    assert whole.run() == 0, (whole.folder / "log").read_text()
    chance, seen, kills = random.Random(0), dict[int, Record](), {"coordinator": 0, "worker": 0}
    process = killed.start()
    try:
        while sum(kills.values()) < KILLS and process.exitcode is None:
            time.sleep(chance.uniform(0.0, 1.0))
            found = killed.records()
            # Kills are spread over the search, in turns while there are trials to run, and none hits a trial or a
            # rebuild more often than the search tries it again.
            if process.exitcode is not None or 2 * killed.draws() < sum(kills.values()) or killed.hits() >= RESTARTS:
                continue
            if len(found) < TRIALS and kills["worker"] <= kills["coordinator"]:
                worker, restarts = awaited_worker_of(process), killed.restarts()
                # Asked again, since only a search that has a worker has counted the kill before.
                if worker is not None and killed.hits() < RESTARTS and killed_off(worker):
                    kills["worker"] += 1
                    wait_until(lambda before=restarts: killed.restarts() > before)  # type: ignore[misc]
                continue
            kills["coordinator"] += 1
            process.kill()
            process.join()
            found = killed.records()
            assert seen.items() <= found.items()
            seen = found
            process = killed.start()
        assert forked.waited(process) == 0, (killed.folder / "log").read_text()
    finally:
        process.kill()
        process.join()
    assert sum(kills.values()) == KILLS and min(kills.values()) >= 5

    expected, result = whole.result(), killed.result()
    assert seen.items() <= result.records.items()
    by_draw = {record.draw: record for record in result.records.values()}
    assert len(by_draw) == len(result.records)
    assert {draw: record.recipe for draw, record in by_draw.items()} == {
        record.draw: record.recipe for record in expected.records.values()
    }
    assert result.counts == expected.counts and result.counts.failed == 0
    best, same = result.best_candidate, expected.best_candidate
    assert best is not None and same is not None
    assert best[1].recipe == same[1].recipe
    assert best[1].value("quality") == same[1].value("quality")
