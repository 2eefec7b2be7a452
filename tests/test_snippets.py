"""Every snippet of the documentation runs, page by page from top to bottom, as a reader would type it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer

import click
import pytest
from conftest import MUSIC, WEATHER
from test_template import enter_as_installed
from tiny_teachers import write_tiny_teacher

from eicompress import cli
from eicompress.plugins import discover
from eicompress.study.recipe_file import read_recipe
from eicompress.study.space_file import read_space
from eicompress.testing import write_tiny_data, write_tiny_model

ROOT = Path(__file__).parents[1]
MADE = {ROOT / line for line in (ROOT / ".gitignore").read_text().splitlines()}
PAGES = [page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))) if page not in MADE]

STANDS_IN = {
    # A model and data of a moment instead of the reader's, and a budget that suits them.
    r"builtin:minilm": "my-model",
    r"builtin:docstrings": "my-data",
    r"\b[\d.]+[KM]B\b": "40KB",
    r"(--latency |latency=\")[\w.]+": r"\g<1>1s",
    r"ARTIFACT": "studies/NAME/artifacts/trial-0000",
    # The one trial there is.
    r"trial-\d{4}": "trial-0000",
    r"(ablate \S+) 7": r"\1 0",
    # As little of everything as proves it.
    r"(eicompress (search|plan) .*)": r"\1 --trials 1 --workers 0 --teacher-timeout 1s",
    r"(eicompress (search|plan) (?!.*--space).*)": r"\1 --space space.toml",
    r'study="mine"': 'study="mine", space="space.toml", trials=1, workers=0',
    r"(--seeds) \d+": r"\1 1",
    r"(eicompress teach .*)": r"\1 --timeout 1s",
    r"(eicompress dashboard .*)": r"\1 --port 0",
}

SEARCH = "eicompress search --model my-model --data my-data --budget 2MB"
RAY = f"{SEARCH} --engine ray --ray-address auto --workers"

NOT_RUN = {
    "make quickstart": "minutes of training; its search is the tutorial's",
    "make test": "runs this very test",
    "eicompress compress --model builtin:minilm --data texts --recipe studies/embedding/student.toml --output out": (
        "minutes of training"
    ),
    "eicompress compress --model builtin:minilm --data texts --recipe studies/embedding/start.toml --output start": (
        "minutes of training"
    ),
    "pip install 'eicompress[quickstart]'": "changes the environment; the extra is looked up",
    "pip install 'eicompress[postgres]'": "changes the environment; the extra is looked up",
    "pip install --editable '.[studies]'": "changes the environment; the extra is looked up",
    "eicompress report my-data --png figures": "ten starts of Chromium; `test_browser.py` draws one",
    "python -m pytest": "what `test_template.py` does with this package",
    "eicompress plugins check my_strategy --plugin my-strategy/my_strategy.py": "the same claims again",
    'eicompress plugins check my_strategy --knob deviations=2.0 --skip "uses no pickle: its library does"': (
        "the same claims again; `test_verdicts.py` gives these flags"
    ),
    "eicompress plugins check my_strategy --plugin my_strategy.py --only-plugins ''": "the same claims again",
    f"{SEARCH} --storage postgresql://me@server/optuna --study shared": "needs PostgreSQL; `test_database.py` has it",
    "pip install 'eicompress[ray]'": "changes the environment; the extra is looked up",
    "ray start --head --port 6379 --include-dashboard false --disable-usage-stats": "starts servers",
    "ray start --address first-machine:6379 --disable-usage-stats": "needs a second machine",
    f"{RAY} 16 --worker-cpus 4": "needs a Ray cluster; `test_cluster.py` starts one",
    f"{RAY} 4 --worker-gpus 1": "needs a Ray cluster; `test_cluster.py` starts one",
}
"""Lines that are not run, with the reason. `python studies/...` takes minutes or hours: its flags are looked up."""

NOT_INSTALLED = ("faiss", "sentence_transformers")
"""Libraries of readers that tests have not: what imports them is not run here, but by hand, by a study that says so."""

RUN_ELSEWHERE = {
    ("run-anywhere", "python"): "test_run_anywhere.py",
    ("run-anywhere", "js"): "test_run_anywhere.py",
    ("write-a-plugin", "python"): "test_docs.py",
    ("write-a-plugin", "toml"): "test_docs.py",
}
"""Snippets that a test of their own runs, or cuts from code that is run."""

BEFORE = {"reading-the-report": SEARCH}
"""What a page takes for done."""

AFTER = {"tutorial": ("trial-0000.zip", "trial-0000.README.md")}
"""What a page must end with, among the artifacts."""

SPACE = """
[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 2 }

[[slot]]
strategy = "quantization"

[[slot]]
strategy = "distillation"
epochs = 1.0
"""
RECIPE = SPACE.replace("slot", "steps").replace("{ low = 1, high = 2 }", "1")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    page: str
    language: str
    code: str

    @property
    def lines(self) -> list[str]:
        """The commands of a shell's block, without comments, on one line each."""
        joined = re.sub(r" *\\\n *", " ", self.code)
        return [line for each in joined.splitlines() if (line := each.partition(" #")[0].strip())]


def snippets(page: Path) -> list[Snippet]:
    blocks = re.findall(r"^ *```([^\n]*)\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Snippet(page.stem, language, code) for language, code in blocks if not language.startswith("{")]


SNIPPETS = [each for page in PAGES for each in snippets(page)]
LINES = [line for each in SNIPPETS if each.language == "sh" for line in each.lines]
STUDIES = [line for line in LINES if line.startswith("python studies/")]


def test_no_snippet_slips_past() -> None:
    nameless = [each for each in SNIPPETS if each.language not in ("sh", "python", "toml", "json", "js", "text")]
    assert not nameless, "every snippet must say what language it is in"
    assert len(LINES) > 50 and set(NOT_RUN) <= {*LINES}, "a line that is gone must go from `NOT_RUN` too"
    assert set(RUN_ELSEWHERE) <= {(each.page, each.language) for each in SNIPPETS}
    assert all((ROOT / "tests" / name).is_file() for name in RUN_ELSEWHERE.values())
    for each in SNIPPETS:
        named = re.match(r"# ([\w-]+\.toml)\n", each.code)
        assert each.language != "toml" or named or (each.page, "toml") in RUN_ELSEWHERE, f"name it: {each.code}"
        below = "\n".join(other.code for other in SNIPPETS if other.page == each.page and other.language == "sh")
        assert not named or named.group(1) in below, f"no command of the page reads {named and named.group(1)}"


def test_what_is_installed_or_made_is_there_to_be() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    written = re.findall(r"pip install .*?\[([\w,]+)\]", "\n".join(LINES))
    assert written and {each for names in written for each in names.split(",")} - {"test"} <= set(extras)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in LINES if line.startswith("make ")} <= {*targets}


@pytest.mark.parametrize("line", STUDIES)
def test_a_study_of_ours_has_the_flags_that_are_written(line: str) -> None:
    _, script, *arguments = shlex.split(line)
    code = (ROOT / script).read_text(encoding="utf-8")
    beside = [each for each in (ROOT / script).parent.glob("*.py") if f"from {each.stem} import" in code]
    code += "".join(each.read_text(encoding="utf-8") for each in beside)
    assert all(f'"{each}"' in code for each in arguments if each.startswith("--"))


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("eicompress ")])
def test_every_command_can_be_typed(line: str) -> None:
    command: click.Command = cli.cli
    arguments = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    above = click.Context(cli.cli, **cli.cli.context_settings)
    assert command.make_context("eicompress", arguments, parent=above)


@pytest.mark.parametrize("code", [each.code for each in SNIPPETS if each.language == "toml" and each.code[0] == "#"])
def test_every_toml_is_a_recipe_or_a_search_space(code: str, tmp_path: Path) -> None:
    path, registry = tmp_path / "written.toml", discover(only="")
    path.write_text(code)
    assert read_recipe(path, registry).steps if "[[steps]]" in code else read_space(str(path), registry).slots


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has: models, data and texts of their own, under the names that the pages give them."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("my-model", "my-minilm", "my-finetuned-model", "MODEL", "TEACHER"):
        write_tiny_model(folder / name)
    for name, kind in (("my-xlnet", "XLNet"), ("my-roberta", "Roberta")):
        write_tiny_teacher(folder / name, kind)
    for name in ("my-data", "DATA", "clinc150", "clinc30", "qnli"):
        write_tiny_data(folder / name)
    labelled = [(text, "music") for text in MUSIC] + [(text, "weather") for text in WEATHER]
    rows = [{"question": text, "topic": label, "more": at} for at in range(6) for text, label in labelled]
    write_rows(folder / "my-questions.jsonl", [{**row, "question": f"{row['question']} {row['more']}"} for row in rows])
    pairs = [{"text": a, "answer": b, "label": str(x == y)} for a, x in labelled for b, y in labelled]
    write_rows(folder / "my-pairs.jsonl", pairs)
    matches = [{"text": row["text"], "text_pair": row["answer"], "label": row["label"]} for row in pairs]
    write_rows(folder / "my-matches.jsonl", matches)
    grades = [{"text": f"{text} {at}", "label": at + len(text) / 4 + 0.1} for at in range(3) for text, _ in labelled]
    write_rows(folder / "my-grades.jsonl", grades)
    things = [(text, text.split()[-1]) for text, _ in labelled]
    entities = [
        {"text": f"{text} {at}", "entities": [{"start": len(text) - len(word), "end": len(text), "label": "thing"}]}
        for at in range(3)
        for text, word in things
    ]
    write_rows(folder / "my-entities.jsonl", entities)
    commands = [{**row, "label": label} for row, (_, label) in zip(entities, 3 * labelled, strict=True)]
    write_rows(folder / "my-commands.jsonl", commands)
    answers = [
        {
            "question": f"what is it {at}",
            "context": text,
            "answers": {"text": [word], "answer_start": [text.rfind(word)]},
        }
        for at in range(3)
        for text, word in things
    ]
    write_rows(folder / "my-answers.jsonl", answers)
    write_tiny_model(folder / "my-embedder")
    write_rows(folder / "my-texts.jsonl", [{"text": f"{text} {at}"} for at in range(4) for text, _ in labelled])
    topics = [{"text": f"{text} {at}", "labels": [label][: at % 3]} for at in range(3) for text, label in labelled]
    write_rows(folder / "my-topics.jsonl", topics)
    (folder / "my-text.txt").write_text("\n".join(text for text, _ in labelled))
    (folder / "space.toml").write_text(SPACE)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


@pytest.fixture
def at_the_desk(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """In a copy of the desk; a server is stopped as soon as it serves, as by Ctrl-C."""
    shutil.copytree(desk, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.setenv("EICOMPRESS_CACHE", str(desk / "cache"))

    def interrupted(_: BaseServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BaseServer, "serve_forever", interrupted)
    return monkeypatch


def here(text: str) -> str:
    """What is written, with what stands in for it in these tests."""
    for written, stands_in in STANDS_IN.items():
        text = re.sub(written, stands_in, text)
    return text


def type_in(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a shell would do with a line."""
    match shlex.split(here(line)):
        case ["eicompress", *arguments]:
            assert cli.run(arguments) == 0, line
        case ["cd", folder]:
            monkeypatch.chdir(folder)
        case ["pip", "install", "--editable", ".[test]"]:
            site = Path.cwd().parent / "site"
            enter_as_installed(Path.cwd(), site)
            for each in (site, Path.cwd()):
                monkeypatch.syspath_prepend(str(each))
        case ["python", "-c", code]:
            path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            subprocess.run([sys.executable, "-c", code], env=path, check=True)
        case _:
            raise AssertionError(f"`{line}` must be run here, or be in `NOT_RUN` with the reason")


def play(snippet: Snippet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a reader does with a snippet."""
    match snippet.language:
        case "sh":
            for line in snippet.lines:
                if line not in NOT_RUN and line not in STUDIES:
                    type_in(line, monkeypatch)
        case "python" if not re.search(rf"^(import|from) ({'|'.join(NOT_INSTALLED)})\b", snippet.code, re.MULTILINE):
            exec(compile(here(snippet.code), snippet.page, "exec"), {})
        case "toml":
            Path(snippet.code.splitlines()[0].removeprefix("# ")).write_text(here(snippet.code))
        case "json":
            json.loads(snippet.code)


PLAYED = [page for page in PAGES if snippets(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PLAYED, ids=[page.stem for page in PLAYED])
def test_every_snippet_of_a_page_runs(page: Path, at_the_desk: pytest.MonkeyPatch) -> None:
    if page.stem in BEFORE:
        type_in(BEFORE[page.stem], at_the_desk)
    for snippet in snippets(page):
        if (snippet.page, snippet.language) not in RUN_ELSEWHERE:
            play(snippet, at_the_desk)
    assert {*AFTER.get(page.stem, ())} <= {path.name for path in Path().glob("studies/*/artifacts/*")}
