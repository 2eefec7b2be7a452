import re
from pathlib import Path

import pytest
from importlinter.cli import lint_imports


def test_rooms_import_only_from_the_floors_below(capsys: pytest.CaptureFixture[str]) -> None:
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    failed = lint_imports(config_filename=str(pyproject), no_cache=True, no_logo=True)
    assert not failed, capsys.readouterr().out


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
