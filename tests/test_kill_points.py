"""A command that is killed at a point of its work, and given again, ends as an undisturbed one."""

import os
import re
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import forked
import pytest

import eicompress
from eicompress import cli
from eicompress.study.result import Result

SHORT = {
    "teacher_schedule.LEAST_STEPS": 4,
    "teacher_schedule.FIRST_EPOCHS": 0.1,
    "teacher_schedule.LONGEST": 1.0,
    "teacher_training.MOST_FOLDS": 1,
}
"""What makes trainings of teachers short."""


def run_killed(point: str, short: dict[str, float], command: list[str]) -> None:
    """Run a command that gets a signal when a function is called for the n-th time: `module:function:n:SIGKILL`.

    Trainings of teachers are as short as `short` says.
    """
    module, name, count, how = point.split(":")
    *path, last = name.split(".")
    holder = import_module(module)
    for each in path:
        holder = getattr(holder, each)
    original, left = getattr(holder, last), int(count)

    def killed(*given: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), getattr(signal, how))
        return original(*given, **named)

    setattr(holder, last, killed)
    for name, value in short.items():
        setattr(import_module(f"eicompress.trials.{name.partition('.')[0]}"), name.partition(".")[2], value)
    forked.eicompress_with_forked_workers(*command)


def run_killed_at_rename(renames: int, command: list[str]) -> None:
    """Run a command that is killed after the n-th rename of something into the working folder."""
    left = renames

    def counted(rename: Callable[..., None]) -> Callable[..., None]:
        def renamed(source: Any, target: Any, **named: Any) -> None:
            nonlocal left
            rename(source, target, **named)
            left -= Path(target).absolute().parent == Path.cwd()
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        return renamed

    os.rename, os.replace = counted(os.rename), counted(os.replace)
    forked.eicompress(*command)


SPACE = """
fidelity = 0.5

[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 3 }

[[slot]]
strategy = "distillation"
epochs = 4.0
distortions = 0
learning_rate = { low = 1e-3, high = 1e-2, log = true }
"""
RECIPE = """
[[steps]]
strategy = "thin_student"
layers = 1

[[steps]]
strategy = "distillation"
epochs = 4.0
distortions = 0
"""
SEARCH_POINTS = (
    # While another process is in the middle of a preview, and while this one looks at an artifact of a preview.
    ("eicompress.trials.watched:Watched.received:4:SIGKILL", "1"),
    ("eicompress.trials.measuring:previewed_alone:2:SIGKILL", "0"),
    ("eicompress.study.search:Search.doing:5:SIGTERM", "1"),
    # After the last trial: in the training of a rebuild, and when it is written, before and after its last file.
    ("eicompress.study.search:Search.doing:1:SIGKILL", "0"),
    ("eicompress.study.hand_out:copy:1:SIGKILL", "0"),
    ("eicompress.study.ledger:Ledger.promote:1:SIGKILL", "0"),
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name, value in SHORT.items():
        monkeypatch.setattr(f"eicompress.trials.{name}", value)
    return tmp_path


def enter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go into a folder with a cache of its own."""
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(place / "cache"))


def ended(run: Callable[..., None], *given: object) -> tuple[int, str]:
    """The exit status of a process in this folder, and what it printed."""
    log = Path("../log").absolute()
    log.unlink(missing_ok=True)
    process = forked.started(run, *given, folder=Path.cwd(), environment=os.environ, log=log)
    return forked.waited(process), log.read_text()


def killed_at(point: str, command: list[str]) -> str:
    status, said = ended(run_killed, point, SHORT, command)
    expected = 128 + signal.SIGTERM if point.endswith("SIGTERM") else -signal.SIGKILL
    assert status == expected, (point, said[-4000:])
    return said


def drafts(place: Path) -> list[Path]:
    """What was begun and not finished, but for the cache, which counts with it."""
    left = [each for each in place.rglob(".draft-*") if "cache" not in each.relative_to(place).parts]
    return left + [each for each in place.rglob("previews/*")]


@pytest.mark.slow
def test_a_search_that_is_killed_at_each_point_ends_as_an_undisturbed_one(
    model_folder: Path, data_folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["search", "--model", str(model_folder), "--data", str(data_folder), "--budget", "1MB", "--study", "s"]
    asked += ["--space", str(place / "space.toml"), "--trials", "3", "--workers"]
    results: list[Result] = []
    for name in ("whole", "killed"):
        enter(place / name, monkeypatch)
        for point, workers in SEARCH_POINTS if name == "killed" else ():
            said = killed_at(point, [*asked, workers])
            if "SIGTERM" in point:
                assert said.strip().splitlines()[-1] == (
                    "ended by SIGTERM: what was recorded is kept, and the same command continues"
                )
        assert cli.run([*asked, "0"]) == 0
        assert not drafts(place / name)
        results.append(eicompress.show("s"))
    whole, killed = results
    qualities = [
        {record.draw: (record.recipe, record.value("quality")) for record in each.records.values()} for each in results
    ]
    assert qualities[0] == qualities[1] and len(killed.records) == len(whole.records)
    assert killed.counts == whole.counts and killed.counts.failed == 0
    made = [
        sorted(str(each.relative_to(place / name)) for each in (place / name / "studies/s/artifacts").rglob("*"))
        for name in ("whole", "killed")
    ]
    assert len(made[0]) == len(made[1]) > 0
    best, same = killed.best_candidate, whole.best_candidate
    assert best is not None and same is not None
    assert (best[1].recipe, best[1].value("quality_test")) == (same[1].recipe, same[1].value("quality_test"))


@pytest.mark.slow
@pytest.mark.parametrize(("command", "more"), [("compress", ()), ("ablate", ("--seeds", "1"))])
def test_a_command_that_is_killed_between_two_files_of_its_output_can_be_given_again(
    command: str,
    more: tuple[str, ...],
    model_folder: Path,
    data_folder: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [command, "--model", str(model_folder), "--data", str(data_folder), "--output", "made", *more]
    asked += ["--recipe", "../recipe.toml"]
    enter(place / "killed", monkeypatch)
    cache = str(Path("cache").absolute())
    for renames in range(1, 10):
        # Refused with status 2, it would not be killed.
        status, said = ended(run_killed_at_rename, renames, asked)
        assert status == -signal.SIGKILL, (renames, said[-4000:])
        if Path("made").exists():
            break
    killed = sorted(each for each in Path().glob("made*"))
    enter(place / "whole", monkeypatch)
    monkeypatch.setenv("EICOMPRESS_CACHE", cache)
    assert cli.run(asked) == 0
    assert killed == sorted(Path().glob("made*"))
    for path in (each for made in killed for each in (made, *made.rglob("*")) if each.is_file()):
        # A model card has milliseconds, which differ from run to run.
        assert "README" in path.name or path.read_bytes() == (Path("../killed") / path).read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "more", "points"),
    [
        ("prepare", ["--recipe", "../recipe.toml"], ("training.trainer:Trainer.__call__:1", "trials.candidate:save:2")),
        (
            "ablate",
            ["--recipe", "../recipe.toml", "--seeds", "1"],
            ("trials.builder:Builder.scored:2", "study.ablation:markdown:1"),
        ),
        # In its second training, before the teacher is kept, before it is measured, and in the middle of its writing.
        (
            "teach",
            [],
            (
                "training.trainer:Trainer.__call__:2",
                "trials.teach:read_taught:1",
                "trials.teach:answers_of:1",
                "trials.taught:Taught.write:1",
            ),
        ),
    ],
)
def test_a_command_that_is_killed_at_each_point_writes_what_an_undisturbed_one_writes(
    command: str,
    more: list[str],
    points: tuple[str, ...],
    model_folder: Path,
    data_folder: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [command, "--model", str(model_folder), "--data", str(data_folder), "--output", "made", *more]
    written = []
    for name in ("whole", "killed"):
        enter(place / name, monkeypatch)
        for point in points if name == "killed" else ():
            killed_at(f"eicompress.{point}:SIGKILL", asked)
            assert not list(Path().glob("made*")), point
        assert cli.run(asked) == 0
        assert not drafts(place / name)
        files = sorted(each for path in Path().glob("made*") for each in (path, *path.rglob("*")) if each.is_file())
        written.append({str(each): re.sub(rb'"seconds": [0-9.e-]+', b"", each.read_bytes()) for each in files})
    assert written[0].keys() == written[1].keys() and written[0]
    assert written[0] == written[1]
