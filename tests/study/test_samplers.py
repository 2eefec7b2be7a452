"""On a recorded table of scores, samplers find better choices of feed-forward blocks than random draws do."""

import sys
from pathlib import Path
from statistics import median

import optuna
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_evolution_and_tpe_beat_random_draws_on_the_recorded_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "studies" / "ffn_search"))
    study = __import__("samplers")
    monkeypatch.delitem(sys.modules, "samplers")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = study.Table.read(limit=0.5)
    found = {
        name: median(study.best(study.SAMPLERS[name](table, seed, 80)) for seed in range(10))
        for name in ("random", "nsga2", "tpe")
    }
    assert found["random"] < found["nsga2"] and found["random"] < found["tpe"] <= table.best
