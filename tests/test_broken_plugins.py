"""A plug-in that is broken, in whichever way, leaves other studies alone and gets one message with its package."""

import re
import textwrap
from pathlib import Path

import pytest
from test_plugins import STRATEGY, install

import eicompress
from eicompress import cli

GOOD = STRATEGY.format(name="grow", default=0.5)
BAD = STRATEGY.format(name="shrink", default=0.5)
TWICE = "`shrink` must come from one package, but `bad 1.2` and `other 1.2` provide it"
WAYS = {
    "import": (f"import a_module_that_is_not_there\n{textwrap.dedent(BAD)}", "No module named"),
    "hook": (BAD.replace("register_strategies", "register_strategy"), "there is no hook `register_strategy`"),
    "interface": (f"{textwrap.dedent(BAD)}\nEICOMPRESS_INTERFACE = 9\n", "is made for interface 9: upgrade eicompress"),
    "name": (BAD, TWICE),
}
SPACE = """
[[slot]]
strategy = "{name}"
optional = {optional}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def search(model: Path, data: Path, name: str, *more: str, optional: str = "false") -> int:
    Path(f"{name}.toml").write_text(SPACE.format(name=name, optional=optional))
    asked = ["search", "--model", str(model), "--data", str(data), "--budget", "1MB", "--trials", "1"]
    asked += ["--workers", "0"]
    return cli.run([*asked, "--space", f"{name}.toml", "--study", name, *more])


@pytest.mark.parametrize("way", WAYS)
def test_a_study_that_names_a_broken_plug_in_is_refused_with_its_package(
    way: str, place: Path, model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = WAYS[way]
    install(place, "bad", code)
    if way == "name":
        install(place, "other", BAD)
    assert search(model_folder, data_folder, "shrink") == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "Traceback" not in shown.err
    assert said in shown.err and "`bad 1.2`" in shown.err


@pytest.mark.slow
def test_all_other_studies_go_on_beside_broken_plug_ins(
    place: Path, model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for way, (code, _) in WAYS.items():
        install(place, f"bad-{way}", code)
    install(place, "other", BAD)
    install(place, "raises", BAD.replace("shrink", "explode").replace("return subject", "raise ValueError(self)"))
    install(place, "good", GOOD)
    assert search(model_folder, data_folder, "grow") == 0
    capsys.readouterr()
    assert cli.run(["plugins", "list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for way in ("import", "hook", "interface"):
        assert f"broken: `bad-{way}` of bad-{way} 1.2" in shown
    assert "bad-name 1.2 and other 1.2: a clash" in shown


@pytest.mark.slow
def test_a_strategy_that_raises_fails_its_trials_with_its_package(
    place: Path, model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(place, "raises-it", BAD.replace("return subject", 'raise ValueError("too small")'))
    assert search(model_folder, data_folder, "shrink", "--seed", "2", optional="true") == 0
    records = eicompress.show("shrink").records.values()
    (failed,) = {record.reason.splitlines()[-1] for record in records if record.outcome == "failed"}
    assert re.fullmatch(r"ValueError in `shrink`, of the package `raises-it`, line \d+ of `\w+\.py`: too small", failed)
    assert any(record.outcome == "complete" for record in records)


@pytest.mark.slow
def test_a_file_that_raises_is_named(
    place: Path, model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = textwrap.dedent(BAD.replace("return subject", 'raise ValueError("too small")'))
    (place / "trial.py").write_text(code)
    assert search(model_folder, data_folder, "shrink", "--plugin", "trial.py") == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "ValueError in `shrink`, of the file" in shown and "of `trial.py`: too small" in shown


@pytest.mark.slow
@pytest.mark.parametrize("when", ["preview", "training"])
def test_a_strategy_that_would_end_the_process_fails_its_trials_wherever_it_does(
    when: str, place: Path, model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = f"if context.preview == {when == 'preview'}: raise SystemExit(0)\n        return subject"
    code = textwrap.dedent(BAD).replace("return subject", ends)
    (place / "trial.py").write_text(code)
    line = next(number for number, each in enumerate(code.splitlines(), start=1) if "SystemExit" in each)
    assert search(model_folder, data_folder, "shrink", "--plugin", "trial.py", "--seed", "2", optional="true") == 0
    (failed,) = {each.reason for each in eicompress.show("shrink").records.values() if each.outcome == "failed"}
    assert f"line {line} of `trial.py`: `apply` must return or raise" in failed.splitlines()[-1]


@pytest.mark.slow
def test_a_search_outlives_a_strategy_that_ends_the_process_of_previews(
    place: Path, model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "trial.py").write_text(
        textwrap.dedent(BAD).replace("return subject", "__import__('ctypes').CDLL(None)._exit(0)")
    )
    asked = ["--plugin", "trial.py", "--seed", "2", "--workers", "1"]
    assert search(model_folder, data_folder, "shrink", *asked, optional="true") == 0
    records = eicompress.show("shrink").records.values()
    assert {each.reason.strip() for each in records if each.outcome == "failed"} == {"its process ended with status 0"}
    assert any(record.outcome == "complete" for record in records)
