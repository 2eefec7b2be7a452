import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import LONGEST
from importlinter.cli import lint_imports


def test_rooms_import_only_from_the_floors_below(capsys: pytest.CaptureFixture[str]) -> None:
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    failed = lint_imports(config_filename=str(pyproject), no_cache=True, no_logo=True)
    assert not failed, capsys.readouterr().out


STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*/*.py"))


@pytest.mark.parametrize("study", STUDIES, ids=[f"{study.parent.name}/{study.name}" for study in STUDIES])
def test_a_study_imports_what_there_is(study: Path) -> None:
    """They take too long to be run here, and would otherwise be left behind by a move."""
    for each in ast.walk(ast.parse(study.read_text(encoding="utf-8"))):
        if isinstance(each, ast.ImportFrom) and each.module and each.module.split(".")[0] == "eicompress":
            module = importlib.import_module(each.module)
            below = {path.stem for path in Path(str(module.__file__)).parent.iterdir()}
            missing = [name.name for name in each.names if not hasattr(module, name.name) and name.name not in below]
            assert not missing, f"{each.module} has no {', '.join(missing)}"


def test_the_page_of_where_a_change_goes_names_files_that_are_there() -> None:
    root = Path(__file__).parents[1]
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8").partition("### Where a change goes")[2]
    named = re.findall(r"`((?:eicompress|tests|docs|search_spaces)/[^`]+)`", page)
    missing = [each for each in named if not list(root.glob(each.replace("NAME", "*")))]
    assert len(named) > 12 and not missing


def test_the_page_of_rooms_names_all_that_is_at_the_top() -> None:
    root = Path(__file__).parents[1]
    rooms = (root / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Rooms")[2]
    table = rooms.partition("### Where")[0]
    there = {each.stem for each in (root / "eicompress").iterdir() if not each.name.startswith((".", "_"))} - {"py"}
    assert there == set(
        re.findall(r"`([a-z]+)`", "".join(line.split("|")[1] for line in table.splitlines() if "| `" in line))
    )


MOST_LINES = {"class": 200, "module": 350}
MOST_PARAMETERS = 8
"""Of a function; the constructors that dataclasses write do not count."""
TOO_HEAVY = {"class Encoder in encoder/model.py"}
"""What is known to be beyond that, and still to be split."""


def heavy(tree: ast.Module, name: str) -> Iterator[str]:
    """What of a module is over its weight."""
    lines = max((node.end_lineno or 0 for node in tree.body), default=0)
    if lines > MOST_LINES["module"]:
        yield f"module {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES["class"]:
            yield f"class {node.name} in {name}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            if len([each for each in named if each and each.arg not in ("self", "cls")]) > MOST_PARAMETERS:
                yield f"function {node.name} in {name}"


def test_no_class_module_or_list_of_parameters_is_over_its_weight() -> None:
    """Split what this names into functions and small values; what is on the list and light by now, take off it."""
    room = Path(__file__).parents[1] / "eicompress"
    found = {
        each
        for path in sorted(room.rglob("*.py"))
        for each in heavy(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(room).as_posix())
    }
    assert found == TOO_HEAVY


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class Big:\n" + "    a = 1\n" * 200, ["class Big in here.py"]),
        ("class Fits:\n" + "    a = 1\n" * 199, []),
        ("a = 1\n" * 351, ["module here.py"]),
        ("a = 1\n" * 350, []),
        ("def wide(a, b, c, d, /, e, f, *, g, h, **i): ...", ["function wide in here.py"]),
        ("class Some:\n    async def fits(self, a, b, c, d, e, f, g, *h): ...", []),
    ],
)
def test_weight_is_counted_in_lines_and_parameters(source: str, said: list[str]) -> None:
    assert list(heavy(ast.parse(source), "here.py")) == said


def test_the_tests_that_run_first_are_there() -> None:
    assert {*LONGEST} <= {path.name for path in Path(__file__).parent.rglob("test_*.py")}
