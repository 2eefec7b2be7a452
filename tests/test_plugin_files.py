"""A study remembers the plug-in file that it was started with."""

import textwrap
from pathlib import Path

import pytest
from test_plugins import STRATEGY

import eicompress
from eicompress import cli

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
    monkeypatch.setattr("eicompress.trials.measuring.CAREFUL_SECONDS", 0.01)
    monkeypatch.setattr("eicompress.trials.measuring.QUICK_SECONDS", 0.01)
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


def test_a_file_that_has_changed_is_refused_before_it_is_loaded(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("trial.py").write_text("raise SystemExit('must not be loaded')")
    for command in (["search", "--study", "mine"], [*asked, "--plugin", "trial.py"]):
        assert cli.run([*command, "--trials", "2"]) == 2
        told = capsys.readouterr().err
        assert "the contents of the plug-in: digest was" in told and "must not be loaded" not in told


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
