"""The documentation says what the code says, and its snippets run."""

import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from eicompress import cli, errors, hookspecs
from eicompress.api import read_recipe
from eicompress.contracts import knobs
from eicompress.encoder.model import Encoder
from eicompress.plugins import discover
from eicompress.space import known_spaces, read_space
from eicompress.template import FILES, template_folder

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted({*DOCS.glob("*.md"), *DOCS.glob("guides/*.md"), DOCS.parent / "README.md"})
TUTORIAL = (DOCS / "write-a-plugin.md").read_text()
BLOCKS = re.findall(r"^```(?:python|toml)\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
HOOKS = [
    each for name, each in vars(hookspecs).items() if inspect.isfunction(each) and hasattr(each, "eicompress_spec")
]


def test_the_tutorial_has_code() -> None:
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_the_tutorials_code_is_cut_from_the_template(block: str) -> None:
    assert any(block in (template_folder() / name).read_text() for name in FILES)


def fenced(page: Path, *languages: str) -> list[str]:
    """The page's blocks of code in any of these languages; an empty one means that none is named."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [code for language, code in blocks if language in languages]


def commands(page: Path) -> list[str]:
    """Every eicompress command of a page, on one line each."""
    lines = "\n".join(fenced(page, "", "sh")).replace("\\\n", " ").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.startswith("eicompress ")]


WRITTEN = [(page, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), WRITTEN, ids=[f"{page.stem}: {line[:60]}" for page, line in WRITTEN])
def test_every_command_in_the_docs_can_be_typed(page: Path, line: str) -> None:
    command: click.Command = cli.cli
    arguments = shlex.split(line.partition(" < ")[0])[1:]
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    arguments = [each for each in arguments if each != "..."]
    above = click.Context(cli.cli, **cli.cli.context_settings)
    assert command.make_context("eicompress", arguments, parent=above)


@pytest.mark.parametrize("page", [page for page in PAGES if fenced(page, "toml") and page.stem != "write-a-plugin"])
def test_every_toml_in_the_docs_is_a_recipe_or_a_search_space(page: Path, tmp_path: Path) -> None:
    for code in fenced(page, "toml"):
        path = tmp_path / "written.toml"
        path.write_text(code)
        if "[[steps]]" in code:
            assert read_recipe(path, discover(only="")).steps
        else:
            assert read_space(str(path), discover(only="")).slots


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_commands_help_is_in_the_reference(
    reference: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = reference.commands()
    for name, command in reference.every_command(cli.cli, "eicompress"):
        assert cli.run([*name.split()[1:], "--help"]) == 0
        shown = capsys.readouterr().out.strip()
        assert f"## `{name}`\n\n```text\n{shown}\n```" in page
        assert all(len(line) <= 80 for line in shown.splitlines())
        assert not isinstance(command, click.Group) or "..." not in shown.partition("Commands:")[2]
        assert isinstance(command, click.Group) or f"\n  {name}" in shown, f"`{name} --help` must have an example"


def test_every_error_is_in_the_reference(reference: ModuleType) -> None:
    page = reference.error_classes()
    known = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, Exception)]
    for error in known:
        assert f"## `{error.__name__}`\n\n{inspect.getdoc(error)}" in page
        assert error.__name__ in page.partition("```text")[2].partition("```")[0], "the tree must name it too"


def test_every_strategy_knob_and_search_space_is_in_the_reference(reference: ModuleType) -> None:
    page, registry = reference.strategies(), discover(only="")
    for name, strategy in registry.strategies.items():
        section = page.partition(f"## `{name}`")[2].partition("\n## ")[0]
        assert str(strategy.__doc__).splitlines()[0] in section and strategy.paper in section
        assert all(f"| `{knob}` |" in section for knob in knobs(strategy))
    assert all(f"`{name}`" in page for name in (*registry.tasks, *registry.metrics))
    assert all(f"## `{name}`" in reference.spaces() for name in known_spaces())


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="needs eicompress[docs]")
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reference" / "commands.html").is_file()


@pytest.mark.slow
def test_the_tutorial_ends_with_a_model(
    model_folder: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its commands and its Python, in their order, on a tiny model and for a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "space.toml").write_text(TINY_SPACE)
    said = {"builtin:minilm": str(model_folder), "builtin:docstrings": str(data_folder), "2MB": "40KB", "5ms": "1s"}
    said |= {"6m": "1m --trials 2 --workers 0 --space space.toml"}
    for line in commands(DOCS / "tutorial.md"):
        for name, here in said.items():
            line = line.replace(name, here)
        if "trial-0000" in line:
            best = next((tmp_path / "studies/first/artifacts").glob("trial-????"))
            line = line.replace("trial-0000", best.name)
        assert cli.run(shlex.split(line)[1:]) == 0, line
    for code in fenced(DOCS / "tutorial.md", "python"):
        exec(compile(code, "tutorial.md", "exec"), {})
    assert list((tmp_path / "studies/first/artifacts").glob("trial-????.zip"))
    assert list((tmp_path / "studies/first/artifacts").glob("trial-????.README.md"))


TINY_SPACE = """
[[slot]]
strategy = "vocabulary_pruning"
num_tokens = { fill = true, low = 100, high = 300 }

[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 2 }

[[slot]]
strategy = "quantization"

[[slot]]
strategy = "distillation"
epochs = 1.0
"""


def test_the_tutorial_names_operations_that_an_encoder_has() -> None:
    calls = re.findall(r"`model\.(\w+)\(([^)`]+)\)`", TUTORIAL)
    assert len(calls) > 10
    for name, arguments in calls:
        expected = [*inspect.signature(getattr(Encoder, name)).parameters][1:]
        assert arguments.split(", ") == expected[: arguments.count(",") + 1], name


def shown(hook: object) -> str:
    """A hook's name and arguments, as the reference writes them."""
    assert inspect.isfunction(hook)
    signature = inspect.signature(hook)
    arguments = [f"{name}: {each.annotation.__name__}" for name, each in signature.parameters.items()]
    returned = signature.return_annotation
    answer = "None" if returned is None else re.sub(r"eicompress\.\w+\.", "", str(returned))
    return f"{hook.__name__}({', '.join(arguments)}) -> {answer}"


def test_every_hook_stands_in_the_reference_with_its_arguments() -> None:
    reference = (DOCS / "reference" / "hooks.md").read_text()
    headings = re.findall(r"^## `(.*)`\n\n(.*)$", reference, re.MULTILINE)
    assert headings == [(shown(hook), inspect.getdoc(hook)) for hook in HOOKS]
    assert len(HOOKS) == 4
