from pathlib import Path

import pytest
from importlinter.cli import lint_imports


def test_rooms_import_only_from_the_floors_below(capsys: pytest.CaptureFixture[str]) -> None:
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    failed = lint_imports(config_filename=str(pyproject), no_cache=True, no_logo=True)
    assert not failed, capsys.readouterr().out
