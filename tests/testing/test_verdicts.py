from pathlib import Path
from typing import Any

import pytest

from eicompress import cli

BROKEN = """
import random
from dataclasses import dataclass
from typing import ClassVar

from eicompress.contracts import ModelStrategy
from eicompress.hookspecs import hookimpl

@dataclass(frozen=True)
class Noisy(ModelStrategy):
    name: ClassVar[str] = "noisy"

    def apply(self, subject, context):
        random.random()
        return subject

@hookimpl
def register_strategies():
    return [Noisy]
"""


def test_what_keeps_its_contract_passes(capsys: Any) -> None:
    assert cli.run(["plugins", "check", "size_mb"]) == 0
    shown = capsys.readouterr().out
    assert "holds   size_mb says its unit and what is better" in shown
    assert "2 holds, 0 missed, 0 broken" in shown
    assert cli.run(["plugins", "check", "classification"]) == 0


def test_a_broken_claim_is_named_with_what_to_do(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "noisy.py"
    path.write_text(BROKEN)
    assert cli.run(["plugins", "check", "noisy", "--plugin", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "broken  noisy leaves the global random state alone" in shown
    assert "that of random changed: draw from a generator made with `context.seed`" in shown
    assert "1 broken" in shown


@pytest.mark.parametrize("name", ["distilation", "noisy"])
def test_an_unknown_name_is_refused(name: str, capsys: Any) -> None:
    assert cli.run(["plugins", "check", name]) == 2
    assert f"no plug-in provides `{name}`" in capsys.readouterr().err
