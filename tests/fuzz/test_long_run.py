"""The command that runs the fuzzers of a door for a given time."""

import importlib.util
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "studies" / "fuzz" / "run.py"


def study() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_run", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rounds_fill_the_time_and_what_failed_is_named_and_logged(tmp_path: Path) -> None:
    now, sizes = 0.0, []

    def play(door: str, size: int) -> str:
        nonlocal now
        now += 2.0 + 0.1 * size
        sizes.append(size)
        failing = len(sizes) == 2
        said = f"    - {size - failing} passing examples, {int(failing)} failing examples, 3 invalid examples\n"
        return said + ("FAILED tests/fuzz/test_fuzz_data.py::test_rows - AssertionError\n" if failing else "")

    found = study().run("data", 180.0, tmp_path, play, lambda: now)
    assert 150 < found["seconds"] <= 190 and found["executions"] == sum(sizes) and len(sizes) > 2
    assert found["findings"] == {"tests/fuzz/test_fuzz_data.py::test_rows": "data-2.log"}
    assert [each.name for each in tmp_path.iterdir()] == ["data-2.log"]


def test_a_first_round_without_a_count_is_a_finding_and_the_last(tmp_path: Path) -> None:
    found = study().run("data", 60.0, tmp_path, lambda door, size: "ended with -11", lambda: 5.0)
    assert found["findings"] == {"round 1 ended without a count": "data-1.log"}


def test_every_file_of_fuzzers_is_a_door() -> None:
    assert set(study().DOORS) == {"artifact", "config", "data", "space", "study"}
