from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fake_builder import Bench, bed, knobs_of, measured

from eicompress.errors import BudgetError, Crashed, StudyError
from eicompress.recipe import Recipe
from eicompress.study.reach import check_reachable
from eicompress.study.streaks import FAILURES
from eicompress.values import Record


@dataclass
class Reversed(Bench):
    """The more layers are asked for, the smaller: as a count of layers that are pruned."""

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        record = super().preview(recipe)
        tokens, layers, _ = knobs_of(recipe)
        size = tokens / 10_000 + 0.3 * (8 - layers)
        return replace(record, measurements=measured(size, 0.5, None))


@dataclass
class ReversedLatency(Bench):
    """The more layers are asked for, the faster and the larger."""

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        record = super().preview(recipe)
        _, layers, _ = knobs_of(recipe)
        return replace(record, measurements=measured(0.1 * layers, 0.3 * (9 - layers), None))


@dataclass
class Noisy(Bench):
    """Quick previews that say three times the true latency."""

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        record = super().preview(recipe)
        return record if careful else replace(record, measurements=measured(0.4, 1.5, None))


def test_a_knob_whose_high_end_is_small_is_found(tmp_path: Path) -> None:
    bench, made = Reversed(tmp_path / "made"), bed(tmp_path, budgets={"size_mb": 0.2})
    smallest = check_reachable(bench, made.space, made.goal.objective)
    assert smallest is not None
    assert smallest.value("size_mb") == pytest.approx(0.1)


def test_what_is_refused_names_the_smallest_that_was_found(tmp_path: Path) -> None:
    bench, made = Reversed(tmp_path / "made"), bed(tmp_path, budgets={"size_mb": 0.05})
    with pytest.raises(BudgetError, match=r"budget of 0.05 MB: the smallest reachable is 0.1 MB"):
        check_reachable(bench, made.space, made.goal.objective)


def test_a_corner_within_the_budget_is_previewed_and_nothing_else(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path, budgets={"size_mb": 0.5})
    assert check_reachable(bench, made.space, made.goal.objective) is not None
    assert bench.calls["preview"] == 2


def test_what_ends_its_process_is_previewed_once_and_left_to_the_trials_that_use_it(tmp_path: Path) -> None:
    def fails(stage: str, recipe: Recipe, calls: int) -> None:
        raise Crashed("a preview must end within 60 s, but this one did not")

    bench, made = Bench(tmp_path / "made", fails), bed(tmp_path, budgets={"size_mb": 0.05}, trials=99)
    with pytest.raises(StudyError, match=r"10 candidates in a row crashed, .*: a preview must end within 60 s"):
        made.run(bench)
    assert bench.calls["preview"] == 1 + FAILURES
    assert {each.record.reason for each in made.trials_ended()} == {
        "a preview must end within 60 s, but this one did not"
    }


def test_a_latency_is_refused_only_where_a_careful_measurement_says_so(tmp_path: Path) -> None:
    made = bed(tmp_path, budgets={"latency_ms": 1.0})
    smallest = check_reachable(Noisy(tmp_path / "made"), made.space, made.goal.objective)
    assert smallest is not None
    assert smallest.value("latency_ms") == pytest.approx(0.5)
    made = bed(tmp_path, budgets={"latency_ms": 0.1})
    with pytest.raises(BudgetError, match=r"0.1 ms: the smallest reachable is 0.5 ms"):
        check_reachable(Noisy(tmp_path / "made"), made.space, made.goal.objective)


def test_a_knob_whose_high_end_is_fast_is_found_within_the_size_budget(tmp_path: Path) -> None:
    made = bed(tmp_path, budgets={"size_mb": 1.0, "latency_ms": 0.5})
    fastest = check_reachable(ReversedLatency(tmp_path / "made"), made.space, made.goal.objective)
    assert fastest is not None and fastest.value("latency_ms") == pytest.approx(0.3)
    made = bed(tmp_path, budgets={"latency_ms": 0.1})
    with pytest.raises(BudgetError, match=r"0.1 ms: the smallest reachable is 0.3 ms"):
        check_reachable(ReversedLatency(tmp_path / "made"), made.space, made.goal.objective)
    made = bed(tmp_path, budgets={"size_mb": 0.5, "latency_ms": 0.5})
    with pytest.raises(BudgetError, match=r"0.5 ms: the smallest reachable is 1.2 ms"):
        check_reachable(ReversedLatency(tmp_path / "made"), made.space, made.goal.objective)
