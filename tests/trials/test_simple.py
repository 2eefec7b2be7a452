import pytest
from conftest import tiny_examples

from eicompress.trials.simple import bounded


def test_of_many_rows_some_are_drawn_with_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eicompress.trials.simple.ROWS", 10)
    first = bounded(tiny_examples(), 3)
    assert len(first) == 10 and first.texts == bounded(tiny_examples(), 3).texts
    assert first.texts != bounded(tiny_examples(), 4).texts
