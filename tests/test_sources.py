import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eicompress.study.space_file import known_spaces

ROOT = Path(__file__).parents[1]
CELL: dict[str, Any] = {
    "set": "clinc150",
    "budget": "1.0MB",
    "recipe": [{"strategy": "quantization"}],
    "seconds": 1800.0,
    "seeds": [0, 1],
    "size_mb": [0.9, 0.8],
    "latency_ms": [0.5, 0.7],
    "latency_ratio": [0.04, 0.06],
    "training_s": [0.1, 400.0],
    "right": [[1, 1, 0, 1], [1, 0, 0, 1]],
    "teacher_right": [1, 1, 1, 1],
    "teacher_size_mb": 90.0,
}


@pytest.fixture(scope="module")
def sources() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sources", ROOT / "studies" / "sources" / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_sources_is_that_of_the_records(sources: ModuleType, tmp_path: Path) -> None:
    """`python studies/sources/run.py` writes it."""
    page = ROOT / "docs" / "sources.md"
    (tmp_path / "sources.md").write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    sources.write_page(sources.RECORDS, tmp_path / "sources.md")
    assert (tmp_path / "sources.md").read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_a_system_without_a_record_is_not_run(sources: ModuleType, tmp_path: Path) -> None:
    made = sources.tables(tmp_path)
    assert all("not run" in row for lines in made.values() for row in lines[2:])
    assert [len(made[each][2:]) for each in ("systems", "claims")] == [11, 10], "the default space claims nothing"


def test_every_system_has_a_search_space(sources: ModuleType) -> None:
    assert {system.space for system in sources.SYSTEMS} <= {*known_spaces()}


def test_a_record_is_a_row_of_means_over_its_seeds(sources: ModuleType, tmp_path: Path) -> None:
    larger = {**CELL, "budget": "1.91MB", "recipe": [], "seeds": [], "why": "no candidate can meet the budget"}
    for cell in (CELL, larger):
        (tmp_path / f"albert-{cell['budget']}.json").write_text(json.dumps(cell))
    made = sources.tables(tmp_path)
    first, second = (line for line in made["systems"] if line.startswith("| ALBERT"))
    assert first == "| ALBERT | `albert` | clinc150 | 1.91MB |  |  | no candidate fits |  |  |  |  |"
    before = "| ALBERT | `albert` | clinc150 | 1.0MB | 0.900 | 0.60 | **62.50%** (75.0%, 50.0%) | 62.5% | "
    assert second == before + " | 400 s | 30 min |"
    (line,) = (line for line in made["claims"] if line.startswith("| ALBERT"))
    assert "no candidate within 1.91MB; 62.5% of the teacher's accuracy, 100.0 times smaller and 20.0 times" in line


def test_a_system_stands_beside_the_default_at_its_budget(sources: ModuleType, tmp_path: Path) -> None:
    worse = {**CELL, "right": [[1, 1, 0, 0], [0, 0, 0, 1]]}
    for space, cell in (("albert", CELL), ("edge", worse), ("deebert", {**CELL, "budget": "1.91MB"})):
        (tmp_path / f"{space}-{cell['budget']}.json").write_text(json.dumps(cell))
    lines = {line.split(" | ")[1]: line for line in sources.tables(tmp_path)["systems"][2:]}
    assert re.search(r"\| 62\.5% \| \+25\.00 \(\+0\.00 to \+[5-9]\d\.\d\d\) \| 400 s", lines["`albert`"])
    assert "| 62.5% |  | 400 s" in lines["`deebert`"], "the default has no record at its budget"
    assert "| 37.5% |  | 400 s" in lines["`edge`"]
