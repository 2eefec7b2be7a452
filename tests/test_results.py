import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tables_of_the_page_are_those_of_the_records() -> None:
    """`python studies/results/run.py` writes them."""
    spec = importlib.util.spec_from_file_location("results", ROOT / "studies" / "results" / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert module.with_tables(page, module.tables()) == page
