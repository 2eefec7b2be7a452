from dataclasses import replace

import pytest

from eicompress.study.halving import (
    Arrival,
    among_best,
    beyond_mending,
    compared,
    cost_s,
    described,
    gains_at_rungs,
    goes_on,
    one_in,
    rungs_of,
)
from eicompress.study.objective import Objective
from eicompress.values import Measurement, Record, Rung


def trained(fidelity: float, quality: float, seconds: float = 1.0) -> Record:
    return Record(
        recipe=(),
        draw=0,
        outcome="complete",
        fidelity=fidelity,
        measurements=(Measurement("quality", quality, ""),),
        seconds_by_phase={"training": seconds, "export": 1.0},
    )


def trial(*qualities: float) -> Record:
    lengths = (0.1, 0.3, 0.9)
    trainings = [trained(*each) for each in zip(lengths, qualities, strict=False)]
    return Record(recipe=(), draw=0, outcome="complete", rungs=rungs_of(trainings))


@pytest.mark.parametrize(
    ("rungs", "expected"),
    [((1 / 9, 1 / 3, 1.0), [3, 3]), ((0.03, 0.1), [3]), ((1 / 9, 1.0), [9]), ((0.8, 1.0), [2])],
)
def test_as_many_come_to_a_rung_as_the_next_training_is_longer(rungs: tuple[float, ...], expected: list[int]) -> None:
    assert [one_in(rungs, place) for place in range(len(rungs) - 1)] == expected


@pytest.mark.parametrize(("others", "first_to_stop"), [(0, 1), (1, 1), (2, 1), (3, 2), (5, 2), (6, 3)])
def test_the_best_third_goes_on(others: int, first_to_stop: int) -> None:
    qualities = [(place / 10,) for place in range(others + 1)]
    going = [among_best(each, [other for other in qualities if other != each], 3) for each in reversed(qualities)]
    assert going == [place < first_to_stop for place in range(others + 1)]


def test_of_a_trade_those_go_on_that_few_dominate() -> None:
    front = [(0.9, -3.0), (0.8, -2.0), (0.7, -1.0)]
    worse = [(0.6, -3.0), (0.6, -2.5), (0.5, -4.0)]
    for own in front:
        assert among_best(own, [each for each in front + worse if each != own], 3)
    assert not among_best(worse[2], front + worse[:2], 3)


def test_a_trial_tells_what_each_of_its_trainings_came_to() -> None:
    record = trial(0.5, 0.6)
    assert record.rungs == (Rung(0.1, 0.5, 2.0), Rung(0.3, 0.6, 2.0))
    assert cost_s(record) == 4.0
    assert cost_s(trained(0.5, 0.9, 7.0)) == 8.0


def test_lengths_are_described_with_their_steps() -> None:
    assert described((0.03, 0.1), None) == "3.0%, then 10.0% of the full training"
    assert (
        described((0.08, 0.24), 5_000)
        == "8.0% (400 steps), then 24.0% (1,200 steps) of the full training (5,000 steps)"
    )


def arrival(*others: float, rung: int = 0, own: float = 0.5, given: bool = False) -> Arrival:
    return Arrival(rung, (own,), [(each,) for each in others], one_of=3, given=given)


@pytest.mark.parametrize(
    ("come", "who"),
    [
        (arrival(), "later"),
        (arrival(0.1), "later"),
        (arrival(0.1, 0.2), "all"),
        (arrival(0.1, 0.2, 0.3), "later"),
        (arrival(0.1, 0.2, 0.3, 0.4, 0.5), "all"),
        (arrival(rung=1), "alone"),
        (arrival(0.1, rung=1), "later"),
        (arrival(0.1, given=True), "alone"),
        (arrival(0.1, 0.2, given=True), "all"),
    ],
)
def test_every_third_has_all_compared_and_others_wait(come: Arrival, who: str) -> None:
    assert compared(come, hurry=False) == who


def test_in_a_hurry_nobody_waits() -> None:
    assert compared(arrival(), hurry=True) == compared(arrival(0.1, 0.2, 0.3), hurry=True) == "alone"
    assert compared(arrival(0.1, 0.2), hurry=True) == "all"


def test_who_is_behind_does_not_go_on_unless_it_was_given() -> None:
    assert goes_on(arrival(0.1, 0.2))
    assert not goes_on(arrival(0.6, 0.2))
    assert goes_on(arrival(0.6, 0.2, given=True))


TWO_MB = Objective("quality", {"size_mb": 2.0, "quality": 0.9})


def sized(size: float, *qualities: float) -> Record:
    return replace(trial(*qualities), measurements=(Measurement("size_mb", size, "MB"),))


def test_a_size_is_beyond_mending_and_a_quality_is_not() -> None:
    assert beyond_mending(sized(2.5, 0.5), TWO_MB)
    low = replace(sized(1.5, 0.5), measurements=(Measurement("quality", 0.5, ""),))
    assert TWO_MB.broken(low) and not beyond_mending(low, TWO_MB)


def test_a_trial_that_ended_is_compared_by_what_it_gained_at_each_rung() -> None:
    ended = sized(1.5, 0.5, 0.7)
    assert gains_at_rungs(ended, TWO_MB) == ((0.5,), (0.7,))
    assert gains_at_rungs(sized(2.5, 0.5, 0.7), TWO_MB) == ()
    assert gains_at_rungs(replace(ended, repeat_of=3), TWO_MB) == ()
    traded = Objective("pareto", {}, metrics=("quality", "size_mb"))
    assert gains_at_rungs(ended, traded) == ((0.5, -1.5), (0.7, -1.5))
