from pathlib import Path
from typing import Any

import pytest

from eicompress import cli
from eicompress.errors import DataError
from eicompress.plugins import discover
from eicompress.testing.verdicts import claims_of

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

PICKY = """
from dataclasses import dataclass
from typing import Annotated, ClassVar

from optuna.distributions import CategoricalDistribution, FloatDistribution

from eicompress.contracts import ModelStrategy
from eicompress.errors import Inapplicable
from eicompress.hookspecs import hookimpl

@dataclass(frozen=True)
class Picky(ModelStrategy):
    share: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.5
    of: Annotated[str, CategoricalDistribution(("row", "table"))] = "row"

    name: ClassVar[str] = "picky"

    def apply(self, subject, context):
        if self.share > 0.2:
            raise Inapplicable(f"{self.share} of the {self.of} is too much")
        return subject

@hookimpl
def register_strategies():
    return [Picky]
"""


def test_what_keeps_its_contract_passes(capsys: Any) -> None:
    assert cli.run(["plugins", "check", "size_mb"]) == 0
    shown = capsys.readouterr().out
    assert "holds   size_mb says its unit and what is better" in shown
    assert "4 holds, 0 missed, 0 broken" in shown
    assert cli.run(["plugins", "check", "classification"]) == 0


@pytest.mark.slow
def test_a_broken_claim_is_named_with_what_to_do(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "noisy.py"
    path.write_text(BROKEN)
    assert cli.run(["plugins", "check", "noisy", "--plugin", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "broken  noisy leaves the global random state alone" in shown
    assert "that of random changed: draw from a generator made with `context.seed`" in shown
    assert "1 broken" in shown


@pytest.mark.slow
def test_a_claim_is_missed_with_its_reason(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "noisy.py"
    path.write_text(BROKEN)
    missed = "leaves the global random state alone: for the sake of it"
    assert cli.run(["plugins", "check", "noisy", "--plugin", str(path), "--skip", missed]) == 0
    shown = capsys.readouterr().out
    assert "missed  noisy leaves the global random state alone" in shown and "missed: for the sake of it" in shown
    assert "1 missed, 0 broken" in shown


@pytest.mark.slow
def test_a_strategy_is_tried_with_the_knobs_that_are_given(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "picky.py"
    path.write_text(PICKY)
    check = ["plugins", "check", "picky", "--plugin", str(path)]
    assert cli.run([*check, "--knob", "share=0.1", "--knob", "of=table"]) == 0
    assert "0 missed, 0 broken" in capsys.readouterr().out
    assert cli.run([*check, "--knob", "of=row"]) == 1
    assert "is inapplicable (0.5 of the row is too much)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["svd", "--knob", "share"], "as in `share=0.1`, but got `share`"),
        (["svd", "--knob", "shore=0.1"], "`svd` has no knob `shore`: did you mean `share`"),
        (["svd", "--knob", "share=7"], "`svd.share` must be in"),
        (["size_mb", "--knob", "share=0.1"], "must be one of a strategy's, but `size_mb` is none"),
        (["svd", "--skip", "uses no pickel: why"], "there is no `uses no pickel`: did you mean `uses no pickle`"),
        (["svd", "--skip", "uses no pickle"], "must give a reason"),
        (["size_mb", "--skip", "sings: no"], "there is no `sings`"),
    ],
)
def test_knobs_and_skipped_claims_are_checked(arguments: list[str], said: str, capsys: Any) -> None:
    assert cli.run(["plugins", "check", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_rows_are_for_a_task(data_folder: Path, capsys: Any) -> None:
    assert cli.run(["plugins", "check", "svd", "--data", str(data_folder)]) == 2
    assert "must be a task's rows, but `svd` is no task" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["distilation", "noisy"])
def test_an_unknown_name_is_refused(name: str, capsys: Any) -> None:
    assert cli.run(["plugins", "check", name]) == 2
    assert f"no plug-in provides `{name}`" in capsys.readouterr().err


CODES = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eicompress.contracts import Examples
from eicompress.hookspecs import hookimpl
from eicompress.tasks.classification import Classification

@dataclass(frozen=True)
class Codes(Classification):
    name: ClassVar[str] = "codes"

    @classmethod
    def read(cls, splits, columns):
        rows = {split: [{**row, columns["label"]: int(row[columns["label"]], 16)} for row in rows]
                for split, rows in splits.items()}
        return super().read(rows, columns)

@hookimpl
def register_tasks():
    return [Codes]
"""


def test_a_task_is_tried_with_the_rows_that_are_given(tmp_path: Path, capsys: Any) -> None:
    plugin, data = tmp_path / "codes.py", tmp_path / "rows.csv"
    plugin.write_text(CODES)
    data.write_text("text,label\nplay a song,0xA\nstop it,0xB\nwill it rain,0xA\n")
    check = ["plugins", "check", "codes", "--plugin", str(plugin)]
    assert cli.run(check) == 1, "hexadecimal labels are no words"
    capsys.readouterr()
    assert cli.run([*check, "--data", str(data)]) == 0, capsys.readouterr().out


def test_rows_of_another_task_are_refused_and_break_no_claim() -> None:
    rows = [{"tokens": ["play"], "tags": ["O"]}]
    with pytest.raises(DataError, match="`--data` must have the column `text`"):
        claims_of(discover(), "classification", rows=rows)
