import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from conftest import tiny_candidate
from fake_builder import Bench, bed, measured
from rich.console import Console

import eicompress
from eicompress import api, cli
from eicompress.answers import Labels, LabelSet, Number
from eicompress.api.opening import artifact_at
from eicompress.errors import SpecError, StudyError
from eicompress.export.folder import write
from eicompress.reporting.live_view import Screen
from eicompress.reporting.record_text import duration
from eicompress.reporting.tables import show_result
from eicompress.study.coordinator import run_search
from eicompress.study.events import Compared, Doing
from eicompress.study.objective import Objective
from eicompress.values import Artifact, Progress, Record


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = list(commands(cli.cli))


@pytest.mark.parametrize("path", [(), *(path for path, _ in ALL)], ids=" ".join)
def test_help_fits_into_80_columns_and_shows_an_example(path: tuple[str, ...], capsys: Any) -> None:
    assert cli.run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    if path != ("plugins",):
        assert "  eicompress " in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "--data", "d", "--budget", "2MB"], "`--model` must name the folder of a model"),
        (["search", "--model", "m", "--data", "d", "--budget", "2 megs"], "but got `2 megs`: write for example 1.91MB"),
        (["search", "--model", "m", "--data", "d", "--budget", "2MB", "--study", "a/b"], "without a path"),
        (["search", "--model", "m", "--data", "d"], "must have a budget"),
        (["search", "--model", "m", "--data", "d", "--budget", "2MB", "--space", "egde"], "did you mean `edge`"),
        (
            ["search", "--model", "m", "--data", "d", "--budget", "2MB", "--task", "clasification"],
            "did you mean `class",
        ),
        (["search", "--study", "none"], "there is no study"),
        (["search", "--budgets", "2MB"], "No such option"),
        (["show", "none"], "there is no study"),
        (["show", "../none"], "without a path"),
        (["predict", "no-such-folder", "hello"], "no-such-folder"),
        (["compress", "--model", "m", "--data", "d"], "either `--recipe FILE` or `--trial STUDY NUMBER`"),
        (["compress", "--model", "m", "--data", "d", "--recipe", "none.toml"], "none.toml"),
        (
            ["compress", "--trial", "s", "one"],
            "`--trial` must be a whole number from 0 to 2,147,483,647, but got `one`: give one of these",
        ),
        (
            ["compress", "--trial", "base", "\u00b2"],
            "`--trial` must be a whole number from 0 to 2,147,483,647, but got `\u00b2`",
        ),
        (
            ["compress", "--trial", "base", "9" * 5000],
            "`--trial` must be a whole number from 0 to 2,147,483,647, but got `",
        ),
        (["plugins", "show", "distilation"], "did you mean `distillation`"),
        (["predict", "a\udcff", "x"], "every argument must be text in UTF-8, but got `a\\udcff`"),
        (["teach", "--model", "m", "--data", "d", "--timeout", "0s"], "`--timeout` must be above zero, but got `0s`"),
        (["teach", "--model", "m", "--data", "d", "--output", ""], "`--output` must be a new name, but is empty"),
        (["compress", "--trial", "base", "7", "--seed", "3"], "`--seed` must not be given with `--trial`"),
        (["ablate", "base", "7", "--data", "d"], "`--data` must not be given with a study, which has its own"),
        (["pick", "base", "--budget", "1MB", "--limit", "size_mb=2"], "`--budget` must be the only limit of `size_mb`"),
        (["predict", ".", "x"], "`.` must be a folder that `search`, `compress` or `pick` has written, but has no"),
    ],
)
def test_what_is_the_users_to_mend_is_one_message_and_exit_2(
    arguments: list[str], said: str, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('[[steps]]\nstrategy = "quantisation"', "did you mean `quantization`"),
        ('[[steps]]\nstrategy = "quantization"\nlayer_bit = 4', "did you mean `layer_bits`"),
        ('[[steps]]\nstrategy = "quantization"\nlayer_bits = 5', "`quantization.layer_bits` must be one of"),
        ('[[step]]\nstrategy = "quantization"', "must have `[[steps]]`"),
        ("steps = 4", "must have `[[steps]]`"),
    ],
)
def test_a_bad_recipe_file_is_named(code: str, said: str, capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(code)
    assert cli.run(["compress", "--model", "m", "--data", "d", "--recipe", str(path)]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert str(path) in shown


def test_plugins_are_listed_and_shown(capsys: Any) -> None:
    assert cli.run(["plugins", "list", "--json"]) == 0
    provided = json.loads(capsys.readouterr().out)["provided"]
    assert {"kind": "strategy", "name": "distillation"}.items() <= next(
        each for each in provided if each["name"] == "distillation"
    ).items()
    assert cli.run(["plugins", "list"]) == 0
    assert "thin_student" in capsys.readouterr().out
    assert cli.run(["plugins", "show", "quantization"]) == 0
    shown = capsys.readouterr().out
    assert "layer_bits" in shown
    assert "4, 8" in shown
    assert "paper" in shown


@pytest.fixture
def study(tmp_path: Path) -> str:
    """A finished study of a builder that builds nothing, in `tmp_path/study`."""
    made = bed(tmp_path, trials=4)
    made.run(Bench(tmp_path / "made"))
    toml = tmp_path / "study" / "study.toml"
    asked = '[asked]\nmodel = "m"\ndata = "d"\nbudget = "2MB"\nlatency = "2ms"\n'
    toml.write_text(asked)
    return "study"


def test_show_tells_what_a_study_found(study: str, tmp_path: Path, capsys: Any) -> None:
    assert cli.run(["show", study, "--studies", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "4 trained" in shown
    assert "baseline" in shown
    assert "of baseline" in shown
    assert "eicompress predict" in shown


def test_pick_refuses_a_limit_of_a_metric_that_is_not_known(study: str, tmp_path: Path, capsys: Any) -> None:
    words = ["--studies", str(tmp_path), "--output", str(tmp_path / "small"), "--limit", "siz_mb=2"]
    assert cli.run(["pick", study, *words]) == 2
    assert "`--limit` must name a metric, but" in capsys.readouterr().err


def test_show_prints_json_for_scripts(study: str, tmp_path: Path, capsys: Any) -> None:
    assert cli.run(["show", study, "--studies", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["counts"]["trained"] == 4
    assert shown["best"]["fidelity"] == 1.0
    assert len(shown["trials"]) >= 4


def test_show_prints_one_trial_with_its_recipe(study: str, tmp_path: Path, capsys: Any) -> None:
    assert cli.run(["show", study, "--studies", str(tmp_path), "--trial", "0"]) == 0
    shown = capsys.readouterr().out
    assert '[[steps]]\nstrategy = "words"' in shown
    assert "rate = 0.5" in shown
    assert cli.run(["show", study, "--studies", str(tmp_path), "--trial", "999"]) == 2


def test_the_artifact_of_any_trial_is_named_by_its_number(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = api.show(study, studies=tmp_path).records
    trained = next(number for number, record in records.items() if record.trained)
    monkeypatch.chdir(tmp_path)
    found = artifact_at(f"{study}:{trained}")
    assert Artifact(found).onnx.is_file()
    (tmp_path / "studies").mkdir()
    (tmp_path / study).rename(tmp_path / "studies" / study)
    assert artifact_at(f"{study}:{trained}") == found
    assert artifact_at(found) == found
    shutil.rmtree(found)
    with pytest.raises(
        StudyError, match=f"build it again with `eicompress compress --trial {study} {trained} --studies studies --out"
    ):
        artifact_at(f"{study}:{trained}")
    with pytest.raises(SpecError, match=f"`{study}:999` must name a trial of the study, but it has {len(records)} tr"):
        artifact_at(f"{study}:999")
    with pytest.raises(SpecError, match="there is no study"):
        artifact_at("other:1")


def shown_by(tmp_path: Path, *, terminal: bool) -> str:
    console = Console(record=True, force_terminal=terminal, width=100, file=io.StringIO())
    made, bench = bed(tmp_path, trials=4), Bench(tmp_path / "made")
    with made.ledger() as ledger, Screen(console, "study", trials=4, timeout_s=999.0) as screen:
        run_search(made.search(bench, ledger, screen.show))
        screen.console.print(screen._picture())
    return console.export_text()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_search_shows_what_it_does(tmp_path: Path, terminal: bool) -> None:
    shown = shown_by(tmp_path, terminal=terminal)
    assert "baseline: 90.000 MB · 20.00 ms · quality 0.9600" in shown
    assert "search ended: 4 candidates reached training, as asked" in shown
    assert "rebuilding trial" in shown
    assert "4 · 0 to come" in shown
    assert "over budget" in shown
    assert "left" in shown
    assert ("over budget: size_mb" in shown or "over budget: latency_ms" in shown) == (not terminal)


def test_plain_lines_tell_a_phase_once_a_minute() -> None:
    console, now = Console(record=True, force_terminal=False, width=100, file=io.StringIO()), [0.0]
    screen = Screen(console, "study", clock=lambda: now[0])
    for step in range(0, 2 * 90):
        now[0] = float(step)
        for number in (3, 4):  # two workers, in two phases
            screen.show(Doing(number, Progress("training" if number == 3 else "teacher", step, 1000)))
    lines = console.export_text().splitlines()
    assert lines == [
        f"trial {number}: {phase}, step {step} of 1,000"
        for step in (0, 60, 120)
        for number, phase in ((3, "training"), (4, "teacher"))
    ]


def test_what_should_be_known_before_a_long_phase_is_a_line(capsys: Any) -> None:
    with Screen(Console(width=100, force_terminal=False), "compress") as screen:
        screen.preparing(Progress("teacher", note="A teacher is trained first, for at most 300 s."))
    assert capsys.readouterr().out.splitlines()[0] == "note: A teacher is trained first, for at most 300 s."


def test_a_finished_study_is_said_to_be_finished(tmp_path: Path) -> None:
    shown_by(tmp_path, terminal=False)
    assert "this study is finished: 4 candidates reached training, as asked" in shown_by(tmp_path, terminal=False)


def test_durations_read_as_clocks() -> None:
    assert duration(59.9) == "0:59"
    assert duration(3723) == "1:02:03"


def test_an_interruption_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupted(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.cli, "main", interrupted)
    assert cli.run(["show", "x"]) == 130
    assert "the same command continues" in capsys.readouterr().err


def test_an_interruption_where_a_class_is_made_is_one(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    class Interrupts:
        def __set_name__(self, owner: type, name: str) -> None:
            raise cli.Ended(signal.SIGTERM)

    def makes_a_class(*arguments: Any, **more: Any) -> None:
        type("Made", (), {"field": Interrupts()})

    monkeypatch.setattr(cli.cli, "main", makes_a_class)
    assert cli.run(["show", "x"]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err.startswith("ended by SIGTERM: what was recorded is kept")


def test_code_that_would_end_the_command_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def ends(*arguments: Any, **more: Any) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(cli.cli, "main", ends)
    assert cli.run(["show", "x"]) == 2
    line = ends.__code__.co_firstlineno + 1
    assert capsys.readouterr().err == (
        f"error: no code may end the command, but line {line} of `{__file__}` did, with SystemExit(0): let it raise an "
        "error\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_command_is_named_and_ends_it_as_ctrl_c_does(number: signal.Signals) -> None:
    code = (
        f"import os, signal; signal.signal({int(number)}, signal.SIG_DFL); "  # which nohup may have ignored
        "from eicompress import cli; "
        f"cli.cli.add_command(cli.click.Command('wait', callback=lambda: os.kill(os.getpid(), {int(number)}))); "
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "wait"], capture_output=True, text=True)
    assert done.returncode == 128 + number
    assert done.stderr.strip() == (f"ended by {number.name}: what was recorded is kept, and the same command continues")


def compared(tfidf: Record) -> Compared:
    majority = Record(recipe=(), draw=-1, outcome="complete", measurements=measured(None, None, 0.1))
    static = replace(tfidf, outcome="complete", measurements=measured(1.7, 0.02, 0.5))
    baseline = replace(majority, measurements=measured(90.0, 20.0, 0.9))
    simple = {"tf-idf": tfidf, "majority class": majority, "static embeddings": static}
    return Compared(baseline, simple, Objective("quality", {"size_mb": 1.0, "latency_ms": 1.0}))


def lines_of(event: Compared) -> list[str]:
    console = Console(record=True, force_terminal=False, width=100, file=io.StringIO())
    Screen(console, "study").show(event)
    return console.export_text().splitlines()


TFIDF = Record(
    recipe=(), draw=-1, outcome="complete", measurements=measured(0.5, 0.03, 0.8), files={"artifact": "somewhere"}
)


def test_baselines_are_shown_before_anything_is_tried() -> None:
    assert lines_of(compared(TFIDF)) == [
        "baseline: 90.000 MB · 20.00 ms · quality 0.9000",
        "majority class: quality 0.1000 (no artifact)",
        "static embeddings: 1.700 MB · 0.02 ms · quality 0.5000 (55.6% of the baseline) · over budget: size_mb 1.7 "
        "(budget 1)",
        "tf-idf: 0.500 MB · 0.03 ms · quality 0.8000 (88.9% of the baseline) · within budget",
    ]
    large = lines_of(compared(replace(TFIDF, measurements=measured(2.0, 0.03, 0.8))))
    assert large[-1].endswith("over budget: size_mb 2 (budget 1)")
    assert "tf-idf: no room" in lines_of(compared(replace(TFIDF, outcome="inapplicable", reason="no room")))


def test_a_teacher_that_a_simple_baseline_beats_is_warned_of() -> None:
    shown = lines_of(compared(replace(TFIDF, measurements=measured(0.5, 0.03, 0.95))))[-1]
    assert shown.startswith("warning: the baseline model must be better than the simple baselines")
    assert "tf-idf reaches 0.9500" in shown and "eicompress teach" in shown and "--teacher-timeout" in shown


def test_the_last_table_holds_simple_baselines_and_names_the_one_to_ship(tmp_path: Path) -> None:
    console = Console(record=True, force_terminal=False, width=200, file=io.StringIO())
    found = bed(tmp_path, trials=2).run(Bench(tmp_path / "made"))
    show_result(console, replace(found, simple={"tf-idf": replace(TFIDF, measurements=measured(0.5, 0.03, 0.99))}))
    shown = console.export_text()
    assert re.search(r"^ *tf-idf +0\.500 +0\.03 +0\.9900", shown, re.MULTILINE)
    assert "Ship the simple baseline tf-idf (0.9900 in 0.500 MB)" in shown
    assert "artifact  somewhere" in shown and "--trial" not in shown


def test_predict_refuses_an_empty_text(tmp_path: Path, capsys: Any) -> None:
    write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "artifact", pairs=False, manifest={})
    assert cli.run(["predict", str(tmp_path / "artifact"), "play", " "]) == 2
    assert "a TEXT must not be empty, but text 2 is" in capsys.readouterr().err


def test_predict_gives_the_likeliest_labels_with_their_probabilities(tmp_path: Path, capsys: Any) -> None:
    write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "artifact", pairs=False, manifest={})
    asked = ["predict", str(tmp_path / "artifact"), "play the song", "--top", "5"]
    assert cli.run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    shares = [each["confidence"] for each in found["top"]]
    assert {each["label"] for each in found["top"]} == {"music", "weather"}
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1.0)
    assert (found["label"], found["confidence"]) == tuple(found["top"][0].values())
    assert cli.run(asked) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        each["label"] for each in found["top"]
    ]


def test_predict_ranks_the_labels_of_a_set_and_says_which_are_answered(tmp_path: Path, capsys: Any) -> None:
    artifact, names = tmp_path / "artifact", ("music", "weather", "weekly")
    write(tiny_candidate(outputs=3), LabelSet(names), artifact, pairs=False, manifest={})
    shares = sorted((1 / (1 + np.exp(-eicompress.load(artifact).logits(["play the song"])[0]))).tolist(), reverse=True)
    config = json.loads((artifact / "config.json").read_text())
    (artifact / "config.json").write_text(json.dumps({**config, "threshold": sum(shares[1:]) / 2}))
    Artifact(artifact).manifest.unlink()
    asked = ["predict", str(artifact), "play the song", "--top", "3"]
    assert cli.run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["confidence"] for each in found["top"]] == pytest.approx(shares)
    assert [each["answered"] for each in found["top"]] == [True, True, False]
    assert found["labels"] == [each["label"] for each in found["top"][:2]]
    assert cli.run(asked) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [each["label"] for each in found["top"]]
    assert [line[2:] for line in lines] == [["answered", "play the song"]] * 2 + [["-", "play the song"]]


def test_no_other_numbers_are_asked_of_a_regressor(tmp_path: Path, capsys: Any) -> None:
    candidate = tiny_candidate(outputs=1)
    write(candidate, Number(3.0, 2.0), tmp_path / "artifact", pairs=False, manifest={})
    assert cli.run(["predict", str(tmp_path / "artifact"), "play", "--top", "2"]) == 2
    assert "this one is a regressor" in capsys.readouterr().err
    assert cli.run(["predict", str(tmp_path / "artifact"), "play", "--json"]) == 0
    assert "number" in json.loads(capsys.readouterr().out)


def test_predict_answers_several_lines_at_a_time_as_one_by_one(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "artifact", pairs=False, manifest={})
    lines = "".join(f"play {'rain ' * (place % 25)}\n" for place in range(300))
    printed = []
    for parallel in ("1", "2"):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert cli.run(["predict", str(tmp_path / "artifact"), "--parallel", parallel]) == 0
        printed.append(capsys.readouterr())
    assert printed[0] == printed[1] and len(printed[0].out.splitlines()) == 300 and "text 299 is cut" in printed[0].err


def test_predict_notes_on_stderr_which_text_is_cut(tmp_path: Path, capsys: Any) -> None:
    write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "artifact", pairs=False, manifest={})
    assert cli.run(["predict", str(tmp_path / "artifact"), "play the song", "rain " * 30]) == 0
    shown = capsys.readouterr()
    assert shown.err == "note: text 2 is cut: 20 of its 32 tokens were read\n"
    assert len(shown.out.splitlines()) == 2


START = "import sys; from eicompress.cli import main; sys.argv[0] = 'eicompress'; main()"


def started(arguments: list[str], stdout: Any, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, in an environment of another encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", START, *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False)


@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_a_stream_that_is_closed_is_one_without_content(
    closed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "a", pairs=False, manifest={}).folder
    monkeypatch.setattr(sys, closed, None)
    monkeypatch.setattr(sys, "argv", ["eicompress", "predict", str(folder), *(["play"] if closed == "stdout" else [])])
    monkeypatch.setattr("eicompress.cli._end_as_interrupted", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0


def test_lines_of_no_text_and_with_a_byte_order_mark_are_read(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "a", pairs=False, manifest={}).folder
    lines = io.BytesIO(b"\xef\xbb\xbfplay it\r\nplay \xff it\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(lines, encoding="utf-8"))
    monkeypatch.setattr(sys, "argv", ["eicompress", "predict", str(folder), "--json"])
    monkeypatch.setattr("eicompress.cli._end_as_interrupted", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert texts == ["play it", "play \N{REPLACEMENT CHARACTER} it"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("arguments", [["plugins", "list", "--json"], ["--help"]], ids=" ".join)
@pytest.mark.slow
def test_output_that_cannot_be_written_is_one_message(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = started(arguments, full)
    said = b"error: the output must be a place to write to, but: No space left on device: choose another\n"
    assert (ended.returncode, ended.stderr) == (2, said)


@pytest.mark.parametrize("command", ["report", "compress", "compare", "ablate"])
def test_nothing_is_overwritten_and_nothing_written_inside_an_artifact(
    command: str, study: str, tmp_path: Path, capsys: Any
) -> None:
    made = write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "a", pairs=False, manifest={})
    (tmp_path / "mine.json").write_text("keep me")
    given = {
        "report": ["report", study, "--studies", str(tmp_path)],
        "compress": ["compress", "--trial", study, "0", "--studies", str(tmp_path)],
        "compare": ["compare", str(made.folder), str(made.folder), "--data", "d"],
        "ablate": ["ablate", study, "0", "--studies", str(tmp_path)],
    }[command]
    before = {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
    outputs = {
        "exists: choose another, or remove it": [tmp_path / "mine.json", made.folder / "config.json"],
        "must not be inside an artifact": [made.folder / "page.html", made.folder / "onnx" / "new" / "page.html"],
    }
    for said, paths in outputs.items():
        for path in paths:
            assert cli.run([*given, "--output", str(path)]) == 2
            assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()} == before
    assert (tmp_path / "mine.json").read_text() == "keep me"


@pytest.mark.parametrize("place", [".", "onnx/new"])
def test_no_pictures_and_no_package_are_written_inside_an_artifact(
    place: str, study: str, tmp_path: Path, capsys: Any
) -> None:
    folder = write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "a", pairs=False, manifest={}).folder
    before = sorted(folder.rglob("*"))
    given = {
        "--png": ["report", study, "--studies", str(tmp_path), "--png"],
        "--into": ["plugins", "new", "good-neurons", "--into"],
    }
    for setting, command in given.items():
        assert cli.run([*command, str(folder / place)]) == 2
        assert f"`{setting}` must not be inside an artifact, whose bytes count" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("command", ["teach", "compress", "prepare"])
def test_nothing_is_trained_for_an_output_that_cannot_be_written(command: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("keep me")
    words = ["--model", "m", "--data", "d", *([] if command == "teach" else ["--recipe", "r.toml"])]
    assert cli.run([command, *words, "--output", str(tmp_path / "file" / "new" / "one")]) == 2
    assert (
        f"`--output` must be in a folder to write to, but `{tmp_path / 'file'}` is no folder" in capsys.readouterr().err
    )


def test_a_terminal_with_few_letters_shows_the_rest(tmp_path: Path) -> None:
    folder = str(
        write(tiny_candidate(), Labels(("musik \u97f3", "weather")), tmp_path / "a", pairs=False, manifest={}).folder
    )
    plain = started(["predict", folder, "play \u97f3\U0001f600"], subprocess.PIPE, "latin-1")
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert plain.stdout.endswith(b"\tplay ??\n")
    found = started(["predict", folder, "play \u97f3\U0001f600", "--json"], subprocess.PIPE, "latin-1")
    assert json.loads(found.stdout)["text"] == "play \u97f3\U0001f600"


def test_what_a_plug_in_prints_is_no_part_of_the_json(tmp_path: Path, capsys: Any) -> None:
    plugin = tmp_path / "loud.py"
    plugin.write_text(
        "from eicompress import hookimpl\nprint('I am loaded')\n@hookimpl\ndef register_strategies():\n    return []\n"
    )
    assert cli.run(["plugins", "list", "--plugin", str(plugin), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["provided"]
    assert shown.err == "I am loaded\n"
    assert cli.run(["plugins", "list", "--plugin", str(plugin)]) == 0
    assert "I am loaded" in capsys.readouterr().out
