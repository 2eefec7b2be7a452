"""A setting is declared once, and everything else is made of that."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest

import eicompress
from eicompress import api, cli, settings
from eicompress.declaration import checked, declared, flag
from eicompress.errors import SpecError
from eicompress.reporting.answer import command
from eicompress.settings import AblateSettings, SearchSettings
from eicompress.spec import BY_TASK, read_search

ROOT = Path(__file__).parents[1]
WRITTEN: dict[str, object] = {
    "model": "a-model",
    "data": "data.csv",
    "budget": "2MiB",
    "latency": "500us",
    "memory": "64MiB",
    "min_quality": 0.9,
    "quality": "macro_f1",
    "limit": ["macs_m=5", "energy_mj = 3.0"],
    "timeout": "1h30m",
    "trials": 3,
    "stop_at": "0.95",
    "from_": "another",
    "promotion_seeds": "2",
    "study": "mine",
    "studies": Path("some") / "where",
    "trust": True,
    "objective": "pareto: size_mb, quality",
    "sampler": "random",
    "space": "mine.toml",
    "storage": "sqlite://",
    "workers": "2",
    "engine": "ray",
    "ray_address": "auto",
    "worker_cpus": 2,
    "worker_gpus": 0.5,
    "trial_timeout": "20m",
    "trial_memory": "4GB",
    "task": "classification",
    "text": "words",
    "text_pair": "others",
    "label": "kind",
    "rows": 1000,
    "threads": 2,
    "seq_len": 16,
    "device": "this_machine",
    "seed": 7,
    "teacher_training": "probe",
    "teacher_timeout": "1m",
    "teacher": ["xlnet", "roberta"],
    "ensemble": "best",
    "unlabelled": "text.txt",
    "start": "starts/general",
    "plugin": "mine.py",
    "only_plugins": "",
    "knob": "svd.share=0.5",
    "seeds": 2,
    "fidelity": 0.25,
}
EVERY = {**declared(SearchSettings), **declared(AblateSettings)}
SNIPPET = """
import eicompress

eicompress.search(model="m", data="d", budget="2MB", trials=3, teacher=["a", "b"], studies="here")
eicompress.ablate("s", 7, seeds=5, knob=["svd.share"], on_built=print)
eicompress.search(model="m", data="d", budgett="2MB")
eicompress.search(model="m", data="d", trials="three")
eicompress.compress(model="m", data="d", recipe="r.toml", output="o", budget="2MB")
"""


@pytest.mark.parametrize("name", EVERY)
def test_the_normal_form_of_a_setting_is_of_its_own_type_and_its_own_normal_form(name: str) -> None:
    group: Any = SearchSettings if name in declared(SearchSettings) else AblateSettings
    once = checked(group, {name: WRITTEN[name]})
    assert checked(group, {name: once[name]}) == once
    kind = get_type_hints(group)[name]
    assert isinstance(once[name], kind if isinstance(kind, type) else str | Path | tuple)
    if EVERY[name].repeated and name not in ("data", *BY_TASK):  # one for all tasks is a text
        assert isinstance(once[name], tuple)


def test_every_default_is_one_that_could_be_written() -> None:
    found = checked(SearchSettings, {})
    assert found.keys() == {name for name, each in declared(SearchSettings).items() if each.default is not None}
    assert found["device"] == "this_machine" and found["workers"] == 1 and found["studies"] == "studies"


@pytest.mark.parametrize(
    ("group", "command"),
    [
        (settings.SearchSettings, "search"),
        (settings.SearchSettings, "plan"),
        (settings.CompressSettings, "compress"),
        (settings.PrepareSettings, "prepare"),
        (settings.TeachSettings, "teach"),
        (settings.MeasureSettings, "measure"),
        (settings.MeasureSettings, "compare"),
        (settings.AblateSettings, "ablate"),
    ],
)
def test_a_command_has_the_flags_of_its_settings(group: type, command: str) -> None:
    options = {each.name: each for each in cli.cli.commands[command].params}
    for name, setting in declared(group).items():
        option = options[name]
        assert isinstance(option, click.Option)
        assert option.opts == [flag(name)] and option.metavar == setting.metavar


def test_the_command_that_a_report_shows_reads_back_as_what_was_asked() -> None:
    named = {name: value for name, value in WRITTEN.items() if name in declared(SearchSettings)}
    asked = read_search({**named, "objective": "reward"}).to_toml()
    arguments = shlex.split(command(asked).replace("\\\n", ""))
    assert arguments[:2] == ["eicompress", "search"] and arguments.count("--teacher") == 2
    with cli.cli.commands["search"].make_context("search", arguments[2:]) as context:
        again = {name: value for name, value in context.params.items() if name != "as_json"}
    assert read_search(again).to_toml() == asked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 100_000_000),
        ("threads", -5),
        ("worker_cpus", 2_000),
        ("workers", 1_025),
        ("seq_len", 10**6),
        ("seq_len", -1),
        ("seed", "9" * 5_000),
        ("trials", 2**40),
    ],
)
def test_a_number_out_of_bounds_is_refused_by_every_command_alike(name: str, value: object) -> None:
    groups: list[Any] = [SearchSettings, settings.CompressSettings, settings.MeasureSettings, AblateSettings]
    for group in groups:
        if name in declared(group):
            with pytest.raises(
                SpecError,
                match=rf"`{flag(name)}` must be a whole number from \d to [\d,]+, but got .*: give one of these",
            ) as refused:
                checked(group, {name: value})
            assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("name", "values", "bounds"),
    [
        ("budget", ["0.5B", "2000GB"], "from 1B to 1000GB"),
        ("memory", ["0.5B", "2000GB"], "from 1B to 1000GB"),
        ("trial_memory", ["0.5B", "2000GB"], "from 1B to 1000GB"),
        ("latency", ["0.5us", "1001s"], "from 1us to 1000s"),
        ("timeout", ["0.5s", "367d"], "from 1s to 366d"),
        ("trial_timeout", ["0.5s", "367d"], "from 1s to 366d"),
        ("teacher_timeout", ["0.5s", "367d"], "from 1s to 366d"),
        ("min_quality", [0, 1.01, "nan", True], "a quality above 0 and at most 1"),
        ("stop_at", [0, 1.01, "nan"], "a quality above 0 and at most 1"),
        ("worker_gpus", [-0.1, 1_025, 1.5, "inf"], "a whole number or a share of one GPU, from 0 to 1,024"),
        ("promotion_seeds", [0, 1_001], "a whole number from 1 to 1,000"),
        ("rows", [0, -1, 2.5], "a whole number from 1 to 2,147,483,647"),
        ("seeds", [0, 1_001], "a whole number from 1 to 1,000"),
        ("fidelity", [0, 1.1, "nan"], "a share of the full training above 0 and at most 1"),
    ],
)
def test_every_number_has_bounds_and_one_message(name: str, values: list[object], bounds: str) -> None:
    for group in [each for each in (SearchSettings, AblateSettings) if name in declared(each)]:
        for value in values:
            with pytest.raises(SpecError) as refused:
                checked(group, {name: value})
            said = str(refused.value)
            assert said.startswith(f"`{flag(name)}` must be {bounds}, but got `{value}`: "), said


@pytest.mark.parametrize(
    ("said", "call"),
    [
        ("`threads` must be a whole number from 1 to 1,024", lambda: api.load("none", threads=-5)),
        ("`threads` must be a whole number from 1 to 1,024", lambda: api.load("none", threads=10**8)),
        ("`fidelity` must be a share", lambda: api.compress(model="m", data="d", recipe="r", output="o", fidelity=0.0)),
        ("`--members` must be a whole number", lambda: api.teach(model="m", data="d", output="no-such", members=0)),
        ("`--trial` must be a whole number", lambda: api.replay("none", -1, output="no-such")),
    ],
)
def test_numbers_of_python_functions_have_bounds_too(said: str, call: Callable[[], object]) -> None:
    with pytest.raises(SpecError, match=said):
        call()


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "none", "--trial", "-1"],
        ["predict", "none", "--top", "0", "text"],
        ["dashboard", "none", "--port", "70000"],
        ["teach", "--model", "m", "--data", "d", "--members", "many"],
        ["ablate", "none", "seven"],
    ],
)
def test_numbers_of_commands_end_with_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: `") and "must be a whole number from" in said[0]


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_must_be_one(port: int) -> None:
    with pytest.raises(SpecError, match="`--port` must be a whole number"):
        api.dashboard("none", port=port)


def test_an_unknown_setting_is_refused_wherever_it_is_written() -> None:
    calls: list[Any] = [
        lambda **given: eicompress.search(model="m", data="d", **given),
        lambda **given: eicompress.compress(model="m", data="d", recipe="r", output="no-such-folder", **given),
        lambda **given: eicompress.measure("no-such-artifact", **given),
        lambda **given: eicompress.show("none", **given),
    ]
    for call in calls:
        with pytest.raises(SpecError, match="there is no setting `studees`"):
            call(studees="here")


def test_type_checkers_see_a_misspelt_and_an_ill_typed_setting(tmp_path: Path) -> None:
    code = tmp_path / "snippet.py"
    code.write_text(SNIPPET)
    read = ["__init__.py", "settings.py", *(f"api/{name}.py" for name in ("__init__", "artifact", "model", "study"))]
    files = [str(code), *(str(ROOT / "eicompress" / name) for name in read)]
    options = ["--follow-imports=skip", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    command = [sys.executable, "-m", "mypy", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "MYPYPATH": ""})
    found = [line for line in done.stdout.splitlines() if "snippet.py" in line and ": error:" in line]
    assert len(found) == 3, done.stdout + done.stderr
    assert 'snippet.py:6: error: Unexpected keyword argument "budgett" for "search"' in found[0]
    assert 'snippet.py:7: error: Argument "trials" to "search" has incompatible type "str"; expected "int"' in found[1]
    assert 'snippet.py:8: error: Unexpected keyword argument "budget" for "compress"' in found[2]
