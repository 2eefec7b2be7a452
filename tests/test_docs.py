"""The documentation says what the code says. `test_snippets.py` runs what is in it."""

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from eicompress import cli, errors, hookspecs
from eicompress.declaration import declared, flag
from eicompress.encoder.model import Encoder
from eicompress.plugins import discover
from eicompress.recipe import knobs
from eicompress.settings import AblateSettings, SearchSettings
from eicompress.study.space_file import known_spaces
from eicompress.testing.template import FILES, template_folder

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
TUTORIAL = (DOCS / "write-a-plugin.md").read_text()
BLOCKS = re.findall(r"^```(?:python|toml)\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
HOOKS = [
    each for name, each in vars(hookspecs).items() if inspect.isfunction(each) and hasattr(each, "eicompress_spec")
]


def test_the_tutorial_has_code() -> None:
    assert len(BLOCKS) == 15


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_the_tutorials_code_is_cut_from_the_templates_and_the_tests(block: str) -> None:
    sources = [template_folder(kind) / name for kind in FILES for name in FILES[kind]]
    sources += [TESTS / "soft_labels.py", TESTS / "shared_weights.py", TESTS / "trials" / "test_shared_training.py"]
    assert any(block in each.read_text() for each in sources)


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
    source = "".join(path.read_text(encoding="utf-8") for path in Path(str(cli.__file__)).parent.glob("*.py"))
    written = re.findall(r"^@\w+\.(?:command|group)\(", source, re.MULTILINE)
    assert len(re.findall(r"^## `eicompress", page, re.MULTILINE)) == len(written) > 15
    for name, command in reference.every_command(cli.cli, "eicompress"):
        assert cli.run([*name.split()[1:], "--help"]) == 0
        shown = capsys.readouterr().out.strip()
        assert f"## `{name}`\n\n```text\n{shown}\n```" in page
        assert all(len(line) <= 80 for line in shown.splitlines())
        assert not isinstance(command, click.Group) or "..." not in shown.partition("Commands:")[2]
        assert f"\n  {name}" in shown, f"`{name} --help` must have an example"


def test_every_setting_is_in_the_reference_once(reference: ModuleType) -> None:
    page = reference.settings()
    named = re.findall(
        r"^\| `(\w+)` \| `.+` \| `(--[a-z-]+)(?: .+)?` \| .* \| \S.* \| (?:yes|no) \|$", page, re.MULTILINE
    )
    assert sorted(named) == sorted(
        (name, flag(name)) for name in {*declared(SearchSettings), *declared(AblateSettings)}
    )
    taken = page.partition("How latency is measured")[2].partition("\n| ")[0]
    assert re.findall(r"`eicompress (\w+)`", taken) == ["search", "plan", "measure", "compare", "compress"]


def test_every_error_is_in_the_reference(reference: ModuleType) -> None:
    page = reference.error_classes()
    written = re.findall(r"^class (\w+)\(", inspect.getsource(errors), re.MULTILINE)
    assert re.findall(r"^## `(\w+)`", page, re.MULTILINE) == written
    known = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, Exception)]
    for error in known:
        assert f"## `{error.__name__}`\n\n{inspect.getdoc(error)}" in page
        assert error.__name__ in page.partition("```text")[2].partition("```")[0], "the tree must name it too"


def test_every_strategy_knob_and_search_space_is_in_the_reference(reference: ModuleType) -> None:
    page, registry = reference.strategies(), discover(only="")
    assert len(registry.strategies) > 15 and known_spaces()
    for name, strategy in registry.strategies.items():
        section = page.partition(f"## `{name}`")[2].partition("\n## ")[0]
        assert str(strategy.__doc__).splitlines()[0] in section
        assert strategy.paper in re.sub(r"\[(arXiv [\d.]+)\]\(\S+/abs/[\d.]+\)", r"\1", section)
        rows = re.findall(r"^\| `(\w+)` \| .* \| .* \| \S.* \|$", section, re.MULTILINE)
        assert rows == [*knobs(strategy)], "each with a string below its field that says what it is for"
    assert all(f"`{name}`" in page for _, name in registry.sources)
    assert all(f"## `{name}`" in reference.spaces() for name in known_spaces())


def test_the_tutorial_names_operations_that_an_encoder_has() -> None:
    calls = re.findall(r"`model\.(\w+)\(([^)`]+)\)`", TUTORIAL)
    assert len(calls) > 10
    for name, arguments in calls:
        expected = [*inspect.signature(getattr(Encoder, name)).parameters][1:]
        assert arguments.split(", ") == expected[: arguments.count(",") + 1], name


def test_the_encoders_docstring_names_every_operation_that_it_has() -> None:
    named = set(re.findall(r"`(\w+)[`(]", str(inspect.getdoc(Encoder))))
    changing = {name for name, each in vars(Encoder).items() if inspect.isfunction(each) and not name.startswith("_")}
    assert changing - named == {"forward", "pool", "embed", "head", "features", "classify", "residual_norms"}


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
    assert len(HOOKS) == 6
