"""A setting is declared once, and everything else is made of that."""

import os
import shlex
import subprocess
import sys
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
from eicompress.spec import read_search

ROOT = Path(__file__).parents[1]
WRITTEN: dict[str, object] = {
    "model": "a-model",
    "data": "data.csv",
    "budget": "2MiB",
    "latency": "500us",
    "memory": "64MiB",
    "min_quality": 0.9,
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
    if EVERY[name].repeated:
        assert isinstance(once[name], tuple)


def test_every_default_is_one_that_could_be_written() -> None:
    found = checked(SearchSettings, {})
    assert found.keys() == {name for name, each in declared(SearchSettings).items() if each.default is not None}
    assert found["teacher_timeout"] == "1800s" and found["workers"] == 1 and found["studies"] == "studies"


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
                SpecError, match=rf"`{flag(name)}` must be a whole number of at (least|most)"
            ) as refused:
                checked(group, {name: value})
            assert len(str(refused.value)) < 200


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
