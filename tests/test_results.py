import importlib.util
import json
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

import eicompress

ROOT = Path(__file__).parents[1]
SPACE = """
[[slot]]
strategy = "quantization"
layer_bits = { choices = [4, 8] }

[[slot]]
strategy = "distillation"
epochs = 2.0
distortions = 1
"""


def study(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "studies" / name / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_tables_of_the_page_are_those_of_the_records() -> None:
    """`python studies/results/run.py` writes them."""
    module = study("results")
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert module.with_tables(page, module.tables()) == page


@pytest.mark.slow
def test_a_cell_has_each_seed_of_its_best_recipe_and_is_run_once(
    model_folder: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "space.toml").write_text(SPACE)
    asked = Namespace(output=tmp_path / "out", latency=None, timeout="10m", seeds=2, seed=0)
    words = ["tiny", str(model_folder), str(data_folder), "0.1MB", str(tmp_path / "space.toml")]
    module, search = study("quality"), eicompress.search
    short = {"trials": 1, "workers": 0, "promotion_seeds": 1}
    monkeypatch.setattr(eicompress, "search", lambda **words: search(**{**words, **short}))
    for _ in range(2):
        module.run_cell(asked, tmp_path / "cell.json", *words)
        cell = json.loads((tmp_path / "cell.json").read_text())
        assert sorted(cell["seeds"]) == [0, 1] and cell["teacher_size_mb"] > 0
        for name in ("right", "size_mb", "latency_ms", "training_s", "validation", "fidelity"):
            assert len(cell[name]) == 2
        monkeypatch.setattr(eicompress, "search", pytest.fail)
