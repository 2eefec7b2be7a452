import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eicompress.trials.code import MAKING, MEASURING, code_version, own_code

ROOT = Path(__file__).parents[2]
SAY = "from eicompress.trials.code import *; print(own_code(MAKING), own_code(MEASURING))"


def keys(tree: Path) -> list[str]:
    """The two digests as a new process finds them in a copy of the package."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, "-c", SAY], cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_sources_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in (("one_plugin", "A = 1"), ("two_plugin", "A = 2"), ("same_plugin", "A = 1")):
        (tmp_path / f"{name}.py").write_text(code)
    assert code_version("one_plugin") == code_version("same_plugin") != code_version("two_plugin")
    assert code_version("eicompress") == code_version("eicompress") != code_version("one_plugin")


def test_every_part_has_sources() -> None:
    nothing = code_version("a_package_that_is_not_there")
    assert nothing not in {code_version(f"eicompress.{part}") for part in (*MAKING, *MEASURING)}
    assert own_code(MAKING) != own_code(MEASURING)


def test_only_what_builds_or_measures_changes_the_keys(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "eicompress", tmp_path / "eicompress", ignore=shutil.ignore_patterns("__pycache__"))
    before = keys(tmp_path)

    def changed(*names: str) -> list[bool]:
        texts = {tmp_path / "eicompress" / name: (tmp_path / "eicompress" / name).read_text() for name in names}
        for path, text in texts.items():
            path.write_text(text + "\n# A change.\n")
        after = keys(tmp_path)
        for path, text in texts.items():
            path.write_text(text)
        return [new != old for new, old in zip(after, before, strict=True)]

    assert changed("reporting/page.py", "study/coordinator.py", "cli/study.py", "api/study.py", "settings.py") == [
        False,
        False,
    ]
    assert changed("export/emit.py") == [True, False]
    assert changed("strategies/svd.py") == [True, False]
    assert changed("metrics/latency.py") == [False, True]
