"""`teach` from the outside: a folder that every command takes, and a study that keeps the teacher it began with."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from eicompress import cli
from eicompress.contracts import Candidate, Training
from eicompress.training.trainer import Trainer
from eicompress.trials import teacher_schedule, teacher_search
from eicompress.trials.taught import Taught, is_taught
from tests.test_main_job import RECIPE, SPACE


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working folder and a cache of its own, and short trainings of teachers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    for name, value in (("LEAST_STEPS", 4), ("FIRST_EPOCHS", 0.1), ("LONGEST", 1.0)):
        monkeypatch.setattr(teacher_schedule, name, value)
    monkeypatch.setattr("eicompress.trials.teacher_training.MOST_FOLDS", 1)
    Path("space.toml").write_text(SPACE)
    Path("recipe.toml").write_text(RECIPE)


@pytest.fixture
def headless(model_folder: Path) -> Path:
    """The tiny model without labels of its own."""
    config = json.loads((model_folder / "config.json").read_text())
    config["id2label"] = {"0": "rain", "1": "song"}
    (model_folder / "config.json").write_text(json.dumps(config))
    return model_folder


@pytest.fixture
def teachings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often a search for a teacher ran."""
    found: list[str] = []
    run = teacher_search.TeacherSearch.run

    def counted(self: teacher_search.TeacherSearch, members: int = 1, *, linear_only: bool = False) -> Taught:
        found.append("probe" if linear_only else "teach")
        return run(self, members, linear_only=linear_only)

    monkeypatch.setattr(teacher_search.TeacherSearch, "run", counted)
    return found


def search(model: Path | str, data: Path, *more: str) -> list[str]:
    asked = ["search", "--model", str(model), "--data", str(data), "--budget", "25KB", "--latency", "1s"]
    return [*asked, "--space", "space.toml", "--study", "mine", "--workers", "0", "--trials", "1", *more]


def test_a_teacher_is_written_shown_and_searched_with(headless: Path, data_folder: Path, capsys: Any) -> None:
    asked = ["teach", "--model", str(headless), "--data", str(data_folder), "--output", "mine-to-teach"]
    assert cli.run([*asked, "--members", "2"]) == 0
    shown = capsys.readouterr().out
    assert "member 1 alone" in shown and "tf-idf" in shown
    assert "eicompress search --model mine-to-teach" in shown
    assert cli.run(search("mine-to-teach", data_folder)) == 0
    assert not Path("studies/mine/teacher").exists(), "nothing was trained for the study"
    for output, more in (("alone", []), ("beside", ["--teacher", "mine-to-teach"])):
        built = ["compress", "--model", "mine-to-teach", "--data", str(data_folder), "--recipe", "recipe.toml"]
        assert cli.run([*built, "--output", output, *more]) == 0
    assert cli.run([*asked, "--json"]) == 2
    assert "`--output` must be a new name" in capsys.readouterr().err


def test_a_teacher_is_not_taught_again(headless: Path, data_folder: Path, capsys: Any) -> None:
    asked = ["teach", "--data", str(data_folder), "--timeout", "1s", "--json"]
    assert cli.run([*asked, "--model", str(headless), "--output", "first"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == "first" and len(found["of_members"]) == 1
    assert cli.run([*asked, "--model", "first", "--output", "second"]) == 2
    assert "give the model that it came from" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_keeps_the_teacher_that_was_trained_for_it(
    headless: Path, data_folder: Path, teachings: list[str], capsys: Any
) -> None:
    assert cli.run(search(headless, data_folder, "--teacher-timeout", "2m")) == 0
    shown = capsys.readouterr().out
    announced = "so a teacher is trained first, for at most 120 s, a time that `--teacher-timeout` sets"
    assert 0 < shown.find(announced) < shown.find("so a teacher was trained first")
    for again in (
        ["search", "--study", "mine", "--trials", "2", "--workers", "0"],
        ["plan", "--study", "mine", "--trials", "2"],
        ["compress", "--trial", "mine", "0"],
    ):
        shutil.rmtree("cache")
        assert cli.run(again) == 0
        assert teachings == ["teach"], again


@pytest.mark.slow
def test_another_study_of_the_same_model_and_data_has_the_same_teacher(
    headless: Path, data_folder: Path, teachings: list[str]
) -> None:
    assert cli.run(search(headless, data_folder, "--teacher-training", "probe")) == 0
    assert cli.run(search(headless, data_folder, "--teacher-training", "probe", "--study", "other")) == 0
    assert teachings == ["probe"]
    weights = [Path("studies", name, "teacher", "member-0", "model.safetensors") for name in ("mine", "other")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_teacher_of_other_labels_is_refused(
    headless: Path, model_folder: Path, data_folder: Path, capsys: Any
) -> None:
    rows = [json.loads(line) for line in (data_folder / "train.jsonl").read_text().splitlines()]
    Path("other.jsonl").write_text("\n".join(json.dumps({**row, "label": f"the {row['label']}"}) for row in rows))
    asked = ["teach", "--model", str(headless), "--data", "other.jsonl", "--output", "other", "--timeout", "1s"]
    assert cli.run(asked) == 0
    capsys.readouterr()
    assert cli.run(search(headless, data_folder, "--teacher", "other", "--teacher-training", "probe")) == 2
    assert "The labels of the teacher `other` must be the data's" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_search_for_a_teacher_goes_on(
    headless: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was tried is kept, so that the same command tries the rest alone."""
    tried: list[float] = []
    fit = Trainer.__call__

    def interrupted(self: Trainer, candidate: Candidate, training: Training) -> None:
        if self.checkpoints is not None:
            tried.append(training.learning_rate)
            if len(tried) == 3:
                raise KeyboardInterrupt
        fit(self, candidate, training)

    monkeypatch.setattr(Trainer, "__call__", interrupted)
    asked = ["teach", "--model", str(headless), "--data", str(data_folder), "--output", "taught"]
    assert cli.run(asked) == 130
    assert tried == list(teacher_schedule.LEARNING_RATES) and not Path("taught").exists()
    assert cli.run(asked) == 0
    left = tried[3:]
    assert left[0] == teacher_schedule.LEARNING_RATES[2] and len(left) <= 2, "the third one, and the winner on all rows"
    assert is_taught(Path("taught"))
