import math
from dataclasses import replace

import pytest

from eicompress.study.time_keeping import Cost, TimeLeft, full_seconds, longer_cost, training_seconds, trial_seconds
from eicompress.trials.training_time import TimeEstimate
from eicompress.values import Record, Rung


def trained(training: float, fidelity: float = 0.1, other: float = 1.0) -> Record:
    seconds = {"training": training, "export": other}
    return Record((), 0, "complete", fidelity=fidelity, trained=True, seconds_by_phase=seconds)


def test_until_a_candidate_is_within_budget_all_of_the_time_is_for_the_search() -> None:
    assert TimeLeft(100.0, 99.0).allows_search(50.0)
    assert not TimeLeft(100.0, 100.0).allows_search(0.0)
    assert TimeLeft(100.0, 50.0).in_a_hurry and not TimeLeft(math.inf, 50.0).in_a_hurry


def test_then_the_time_of_promotion_is_kept() -> None:
    left = TimeLeft(100.0, 50.0, kept_s=30.0)
    assert left.allows_search(19.0) and not left.allows_search(20.0)
    assert not left.in_a_hurry
    assert not TimeLeft(100.0, 101.0, kept_s=0.0).allows_search(-5.0)


def test_what_is_not_a_trial_may_take_all_that_is_left() -> None:
    left = TimeLeft(100.0, 50.0, kept_s=30.0)
    assert left.allows(50.0) and not left.allows(50.5)


def test_without_a_limit_there_is_time_for_everything() -> None:
    left = TimeLeft(math.inf, 1e9, kept_s=0.0)
    assert left.allows_search(1e9) and left.allows(1e9)
    assert left.affordable_fidelity(Cost(1e9), caution=1.0) == 1.0


@pytest.mark.parametrize(
    ("spent_s", "fidelity"), [(0.0, 1.0), (60.0, 1.0), (61.0, 0.97), (75.0, 0.62), (99.0, 0.02), (200.0, 0.0)]
)
def test_too_little_time_makes_a_shorter_training(spent_s: float, fidelity: float) -> None:
    left = TimeLeft(100.0, spent_s, kept_s=30.0)
    assert left.affordable_fidelity(Cost(40.0), caution=1.0) == fidelity
    assert left.affordable_fidelity(Cost(20.0), caution=2.0) == fidelity


@pytest.mark.parametrize(("length", "texts"), [(0.1, 0.4), (0.25, 1.0), (0.55, 1.0)])
def test_the_teacher_answers_each_text_once_and_knows_those_that_were_read(length: float, texts: float) -> None:
    cost = Cost(training_s=400.0, answers_s=75.0, epochs=4.0, answered=0.2, fixed_s=10.0)
    assert cost.length_in(10.0 + 400.0 * length + 75.0 * (texts - 0.2)) == pytest.approx(length)


def test_what_longer_training_takes_has_the_answers_of_the_estimate_and_not_those_of_the_trial() -> None:
    record = replace(trained(10.0, 0.1), seconds_by_phase={"training": 10.0, "export": 1.0, "teacher": 30.0})
    found = longer_cost(record, [record], TimeEstimate(training=7.0, teacher=60.0, epochs=5.0))
    assert found == Cost(training_s=100.0, answers_s=60.0, epochs=5.0, answered=0.5, fixed_s=1.0)


def test_a_training_takes_as_much_longer_as_it_is_longer_and_measuring_does_not() -> None:
    assert full_seconds(trained(10.0, 0.25, other=3.0)) == 43.0
    assert training_seconds(trained(10.0, 0.25, other=3.0), 0.5, []) == 23.0


def test_a_training_that_came_from_the_cache_is_estimated_from_the_others() -> None:
    others = [trained(2.0), trained(4.0), trained(9.0)]
    assert training_seconds(trained(0.0), 1.0, others) == 1.0 + 40.0
    assert training_seconds(trained(6.0), 1.0, others) == 1.0 + 60.0
    assert training_seconds(trained(0.0, other=0.0), 1.0, []) == 1e-3


def test_a_trial_takes_what_those_took_that_came_to_the_last_rung() -> None:
    assert trial_seconds([trained(1.0, 0.1), trained(2.0, 0.1), trained(7.0, 0.3)]) == 8.0


def test_a_trial_takes_the_median_with_all_of_its_rungs() -> None:
    in_rungs = replace(trained(9.0), rungs=(Rung(0.1, 0.5, 3.0), Rung(0.3, 0.6, 10.0)))
    assert trial_seconds([]) == 0.0
    assert trial_seconds([trained(1.0), trained(99.0), in_rungs]) == 13.0
