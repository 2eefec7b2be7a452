import math

import numpy as np
import pytest

from eicompress.study.objective import Objective, built_in, dominated_by
from eicompress.study.ranking import front_of, ranked, to_promote
from eicompress.values import Measurement, Quantity, Record


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
    objective = Objective("quality", {"size_mb": 2.0, "quality": 0.8})
    assert objective.constraints(record(size_mb=1.0, quality=0.6)) == pytest.approx({"size_mb": -0.5, "quality": 0.25})
    assert objective.broken(record(size_mb=1.0, quality=0.6)) == pytest.approx({"quality": 0.25})
    assert objective.broken(record(size_mb=1.0)) == {}
    assert not objective.fits(record(size_mb=1.0))
    assert objective.fits(record(size_mb=1.0, quality=0.8))
    assert objective.compared(record(size_mb=1.0, quality=0.6)) == "size_mb 1 (budget 2), quality 0.6 (at least 0.8)"


ENERGY = Quantity("energy_mj", "mJ", "minimize", "energy", preview=True)
CLEAR = Quantity("margin", "", "maximize", "margin", preview=False)
KNOWN = {**built_in(), "energy_mj": ENERGY, "margin": CLEAR}


def test_a_limit_bounds_what_is_minimised_from_above_and_what_is_maximised_from_below() -> None:
    objective = Objective("quality", {"energy_mj": 4.0, "margin": 0.5}, known=KNOWN)
    assert objective.constraints(record(energy_mj=5.0, margin=0.4)) == pytest.approx({"energy_mj": 0.25, "margin": 0.2})
    assert objective.fits(record(energy_mj=4.0, margin=0.5))
    assert objective.compared(record(energy_mj=5.0, margin=0.4)) == "energy_mj 5 (budget 4), margin 0.4 (at least 0.5)"
    assert objective.missed(record(), "energy_mj", 0.25) == "energy_mj 25.0% over budget"
    assert objective.missed(record(), "margin", 0.2) == "margin 20.0% below the least"
    assert objective.extra == (ENERGY, CLEAR)


@pytest.mark.parametrize(("bound", "value", "expected"), [(0.0, 2.0, 2.0), (-2.0, -1.0, 0.5), (-2.0, -3.0, -0.5)])
def test_a_limit_of_zero_or_below_has_an_excess_too(bound: float, value: float, expected: float) -> None:
    least, most = (Objective("quality", {name: bound}, known=KNOWN) for name in ("energy_mj", "margin"))
    assert least.excess("energy_mj", value) == expected
    assert most.excess("margin", value) == -expected


def test_any_metric_is_optimised_in_its_own_direction() -> None:
    least, most = (Objective(name, {}, (name,), KNOWN) for name in ("energy_mj", "margin"))
    assert (least.directions, most.directions) == (("minimize",), ("maximize",))
    assert least.gains(record(energy_mj=5.0)) == (-5.0,) and most.gains(record(margin=0.4)) == (0.4,)
    assert least.values(record()) == (math.inf,) and most.values(record()) == (-math.inf,)
    records = {at: record(energy_mj=energy, quality=0.5) for at, energy in enumerate((3.0, 1.0, 2.0))}
    assert [number for number, _ in ranked(records, least)] == [1, 2, 0]


def test_only_what_previews_measure_is_broken_for_good() -> None:
    objective = Objective("quality", {"energy_mj": 4.0, "margin": 0.5, "quality": 0.9}, known=KNOWN)
    assert objective.broken_for_good(record(energy_mj=5.0, margin=0.1, quality=0.1)) == {"energy_mj": 0.25}


def test_a_metric_that_could_not_be_measured_matters_where_the_search_goes_by_it() -> None:
    missing = record().with_measured((), {"energy_mj": "no meter", "margin": "no logits"})
    assert Objective("quality", {"energy_mj": 4.0}, known=KNOWN).unmeasured(missing) == {"energy_mj": "no meter"}
    assert Objective("margin", {}, ("margin",), KNOWN).unmeasured(missing) == {"margin": "no logits"}


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
