import numpy as np
import pytest

from eicompress.study.objective import Objective, dominated_by
from eicompress.study.ranking import front_of, ranked, to_promote
from eicompress.values import Measurement, Record


def record(**values: float) -> Record:
    measured = tuple(Measurement(name, value, "") for name, value in values.items())
    return Record(recipe=(), draw=0, outcome="complete", measurements=measured)


def test_constraints_are_shares_of_their_budgets() -> None:
    objective = Objective("quality", {"size_mb": 2.0, "latency_ms": 4.0})
    assert objective.constraints(record(size_mb=3.0, latency_ms=3.0)) == {"size_mb": 0.5, "latency_ms": -0.25}
    assert objective.fits(record(size_mb=2.0, latency_ms=4.0))
    assert not objective.fits(record(size_mb=2.0))


def test_what_was_not_measured_counts_as_infeasible() -> None:
    assert Objective("quality", {"size_mb": 2.0}).constraints(record()) == {"size_mb": 1.0}


def test_the_reward_takes_quality_off_only_beyond_the_target() -> None:
    objective = Objective("reward", {"size_mb": 2.0, "latency_ms": 4.0})
    assert objective.values(record(quality=0.9, latency_ms=2.0)) == (0.9,)
    assert objective.values(record(quality=0.9, latency_ms=8.0)) == pytest.approx((0.9 * 2**-0.07,))
    assert objective.hard == {"size_mb": 2.0}


def test_the_least_quality_is_a_constraint_without_units_and_not_known_in_a_preview() -> None:
    objective = Objective("quality", {"size_mb": 2.0}, min_quality=0.8)
    assert objective.constraints(record(size_mb=1.0, quality=0.6)) == pytest.approx({"size_mb": -0.5, "quality": 0.25})
    assert objective.broken(record(size_mb=1.0, quality=0.6)) == pytest.approx({"quality": 0.25})
    assert objective.broken(record(size_mb=1.0)) == {}
    assert not objective.fits(record(size_mb=1.0))
    assert objective.fits(record(size_mb=1.0, quality=0.8))
    assert objective.compared(record(size_mb=1.0, quality=0.6)) == "size_mb 1 (budget 2), quality 0.6 (at least 0.8)"


FRONT = Objective("pareto", {"latency_ms": 4.0}, metrics=("quality", "size_mb"))
RECORDS = {
    number: record(quality=quality, size_mb=size, latency_ms=latency)
    for number, (quality, size, latency) in enumerate(
        [(0.7, 1.0, 1), (0.9, 2.0, 1), (0.8, 2.0, 1), (0.8, 1.5, 1), (0.95, 3.0, 5), (0.6, 1.0, 1), (0.85, 1.7, 1)]
    )
}


def test_a_front_trades_two_metrics_with_signs_as_the_sampler_needs_them() -> None:
    assert FRONT.directions == ("maximize", "minimize")
    assert FRONT.values(RECORDS[0]) == (0.7, 1.0)
    assert FRONT.gains(RECORDS[0]) == (0.7, -1.0)


def test_the_front_is_what_no_other_within_budget_dominates_best_quality_first() -> None:
    assert [number for number, _ in front_of(RECORDS, FRONT)] == [1, 6, 3, 0]
    assert [number for number, _ in ranked(RECORDS, FRONT)] == [1, 6, 3, 0, 5, 2]


def test_what_is_rebuilt_of_a_front_is_spread_along_it() -> None:
    along = {number: record(quality=0.5 + number / 20, size_mb=1 + number / 10, latency_ms=1) for number in range(10)}
    assert [number for number, _ in to_promote(along, FRONT)] == [9, 6, 3, 0]
    assert [number for number, _ in to_promote({7: along[7]}, FRONT)] == [7]
    assert to_promote({}, FRONT) == []
    assert [number for number, _ in to_promote(along, Objective("quality", {}))] == [9, 8]


def test_domination_is_counted_as_by_hand() -> None:
    gains = np.array([[1.0, 1.0], [2.0, 2.0], [2.0, 2.0], [0.0, 3.0], [0.0, 0.0]])
    assert dominated_by(gains).tolist() == [2, 0, 0, 0, 4]
