"""A study remembers the plug-in file that it was started with."""

import hashlib
import re
import textwrap
from pathlib import Path

import pytest
import tomli_w
from test_plugins import STRATEGY

import eicompress
from eicompress import cli
from eicompress.spec import read_search

SPACE = """
[[slot]]
strategy = "shrink"
ratio = { low = 0.1, high = 0.9 }
"""


@pytest.fixture
def asked(tmp_path: Path, model_folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A search that has ended, of a strategy in `trial.py`; its command, without the plug-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)
    Path("trial.py").write_text(textwrap.dedent(STRATEGY.format(name="shrink", default=0.5)))
    search = ["search", "--model", str(model_folder), "--data", str(data_folder), "--budget", "1MB", "--study", "mine"]
    search += ["--space", "space.toml", "--workers", "0"]
    assert cli.run([*search, "--trials", "1", "--plugin", "trial.py"]) == 0
    return search


@pytest.mark.slow
def test_a_search_that_goes_on_needs_no_flag_again(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["search", "--study", "mine", "--trials", "2", "--workers", "0"]) == 0
    assert "trial.py, which the study remembers" in capsys.readouterr().out
    assert cli.run([*asked, "--trials", "3"]) == 0
    Path("elsewhere.py").write_bytes(Path("trial.py").read_bytes())
    assert cli.run([*asked, "--trials", "4", "--plugin", "elsewhere.py"]) == 0
    result = eicompress.show("mine")
    assert [step["strategy"] for record in result.records.values() for step in record.recipe] == ["shrink"] * 4
    assert result.records[0].versions["trial.py"] == "(a file)"
    assert cli.run(["compress", "--trial", "mine", "0", "--output", "again"]) == 0


@pytest.mark.slow
def test_a_file_that_has_changed_is_refused_before_it_is_loaded(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("trial.py").write_text("raise SystemExit('must not be loaded')")
    for command in (["search", "--study", "mine"], [*asked, "--plugin", "trial.py"]):
        assert cli.run([*command, "--trials", "2"]) == 2
        shown = capsys.readouterr().err
        assert "the contents of the plug-in: digest was" in shown and "must not be loaded" not in shown


@pytest.mark.slow
def test_a_file_that_is_gone_is_named(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("trial.py").rename("renamed.py")
    assert cli.run(["search", "--study", "mine", "--trials", "2"]) == 2
    assert "was started with, but `trial.py` is gone" in capsys.readouterr().err
    assert cli.run(["search", "--study", "mine", "--trials", "2", "--workers", "0", "--plugin", "renamed.py"]) == 0


@pytest.mark.slow
def test_a_study_without_a_file_is_not_continued_with_one(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.toml").write_text(SPACE.replace("shrink", "thin_student").replace("ratio", "neurons"))
    asked[asked.index("mine")] = "other"
    assert cli.run([*asked, "--trials", "1"]) == 0
    assert cli.run([*asked, "--trials", "2", "--plugin", "trial.py"]) == 2
    assert "`plugin` was not given, and is `trial.py`" in capsys.readouterr().err


def test_the_code_of_a_study_from_elsewhere_runs_only_with_a_flag(
    asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    Path("trial.py").write_text(
        Path("trial.py").read_text() + f"\nimport pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    )
    toml = Path("studies/mine/study.toml")
    digest = hashlib.sha256(Path("trial.py").read_bytes()).hexdigest()[:16]
    toml.write_text(re.sub('plugin = "[0-9a-f]{16}"', f'plugin = "{digest}"', toml.read_text()))
    goes_on = ["search", "--study", "mine", "--trials", "1", "--workers", "0"]
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "another machine"))
    again = ["compress", "--trial", "mine", "0", "--output", "again"]
    pick = ["pick", "mine", "--budget", "1MB", "--output", "picked"]
    for command in (goes_on, asked, again, pick, ["ablate", "mine", "0"], ["plan", "--study", "mine"]):
        assert cli.run(command) == 2
        assert "runs the code of `trial.py`: look at it, and give `--trust` or `--plugin`" in capsys.readouterr().err
    assert cli.run(["show", "mine"]) == 0
    assert not ran.exists()
    assert cli.run([*goes_on, "--trust"]) == 0
    assert ran.exists()
    # Trusted once, it is known.
    assert cli.run(goes_on) == 0


def test_the_database_of_a_study_from_elsewhere_is_reached_only_with_a_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    database, folder = tmp_path / "elsewhere.db", tmp_path / "studies" / "mine"
    folder.mkdir(parents=True)
    asked = read_search(
        {"study": "mine", "model": "m", "data": "d", "budget": "2MB", "storage": f"sqlite:///{database}"}
    ).to_toml()
    (folder / "study.toml").write_text(tomli_w.dumps({"asked": asked}))
    goal = ["--model", "m", "--data", "d", "--budget", "2MB"]
    commands = [["show"], ["report"], ["dashboard"], ["search", "--study"], ["search", *goal, "--from"]]
    for command in [*([*each, "mine"] for each in commands), ["predict", "mine:0", "a text"]]:
        assert cli.run(command) == 2
        assert "connects to `sqlite:///" in capsys.readouterr().err
        assert not database.exists()
    assert cli.run(["show", "mine", "--trust"]) == 2
    assert database.exists() and "must hold the study, but is empty" in capsys.readouterr().err
