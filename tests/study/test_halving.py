import math

import pytest

from eicompress.study.halving import (
    Agreement,
    Rung,
    agreements,
    cost_s,
    described,
    goes_on,
    one_in,
    rank_correlation,
    rungs_fact,
    rungs_of,
)
from eicompress.values import Measurement, Record


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
    return Record(recipe=(), draw=0, outcome="complete", facts={"rungs": rungs_fact(trainings)})


@pytest.mark.parametrize(
    ("rungs", "expected"),
    [((1 / 9, 1 / 3, 1.0), [3, 3]), ((0.03, 0.1), [3]), ((1 / 9, 1.0), [9]), ((0.8, 1.0), [2])],
)
def test_as_many_come_to_a_rung_as_the_next_training_is_longer(rungs: tuple[float, ...], expected: list[int]) -> None:
    assert [one_in(rungs, place) for place in range(len(rungs) - 1)] == expected


@pytest.mark.parametrize(("others", "first_to_stop"), [(0, 1), (1, 1), (2, 1), (3, 2), (5, 2), (6, 3)])
def test_the_best_third_goes_on(others: int, first_to_stop: int) -> None:
    qualities = [(place / 10,) for place in range(others + 1)]
    going = [goes_on(each, [other for other in qualities if other != each], 3) for each in reversed(qualities)]
    assert going == [place < first_to_stop for place in range(others + 1)]


def test_of_a_trade_those_go_on_that_few_dominate() -> None:
    front = [(0.9, -3.0), (0.8, -2.0), (0.7, -1.0)]
    worse = [(0.6, -3.0), (0.6, -2.5), (0.5, -4.0)]
    for own in front:
        assert goes_on(own, [each for each in front + worse if each != own], 3)
    assert not goes_on(worse[2], front + worse[:2], 3)


def test_a_trial_tells_what_each_of_its_trainings_came_to() -> None:
    record = trial(0.5, 0.6)
    assert rungs_of(record) == (Rung(0.1, 0.5, 2.0), Rung(0.3, 0.6, 2.0))
    assert cost_s(record) == 4.0
    assert cost_s(trained(0.5, 0.9, 7.0)) == 8.0


def test_rank_correlation_is_spearmans() -> None:
    assert rank_correlation([(0.1, 0.5), (0.2, 0.6), (0.3, 0.9)]) == pytest.approx(1.0)
    assert rank_correlation([(0.1, 0.9), (0.2, 0.6), (0.3, 0.5)]) == pytest.approx(-1.0)
    # scipy.stats.spearmanr([1, 2, 3, 4, 4], [3, 1, 2, 5, 4])
    assert rank_correlation([(1, 3), (2, 1), (3, 2), (4, 5), (4, 4)]) == pytest.approx(0.6668859)
    assert rank_correlation([(0.1, 0.5), (0.2, 0.6)]) is None
    assert rank_correlation([(0.1, 0.5)] * 3) is None


def test_a_rank_correlation_has_an_interval() -> None:
    # Fisher's z of 0.59 is 0.6777, and its standard error for 20 ranks sqrt((1 + 0.59 ** 2 / 2) / 17) = 0.2628.
    interval = Agreement(0.03, 0.1, 20, 0.59).interval
    assert interval == pytest.approx((math.tanh(0.6777 - 0.5151), math.tanh(0.6777 + 0.5151)), abs=1e-3)
    assert "0.59 (95 % interval 0.16 to 0.83), of 20 candidates" in str(Agreement(0.03, 0.1, 20, 0.59))
    assert Agreement(0.03, 0.1, 20, 0.59).to_json()["interval"] == interval


def test_few_candidates_in_perfect_order_prove_little() -> None:
    low, high = Agreement(0.03, 0.1, 5, 1.0).interval or (0.0, 0.0)
    assert low < 0.4 < 0.9 < high < 1.0
    assert Agreement(0.03, 0.1, 3, 1.0).interval is None
    assert Agreement(0.03, 0.1, 1, None).interval is None


def test_lengths_are_described_with_their_steps() -> None:
    assert described((0.03, 0.1), None) == "3.0%, then 10.0% of the full training"
    assert (
        described((0.08, 0.24), 5_000)
        == "8.0% (400 steps), then 24.0% (1,200 steps) of the full training (5,000 steps)"
    )


def test_each_rung_is_compared_with_the_last_by_the_trials_that_had_both() -> None:
    trials = [trial(0.5, 0.6, 0.9), trial(0.4, 0.7, 0.8), trial(0.3, 0.5, 0.7), trial(0.2, 0.9), trial(0.1)]
    first, second = agreements(trials, [0.1, 0.3, 0.9])
    assert (first.short, first.full, first.pairs, first.correlation) == (0.1, 0.9, 3, pytest.approx(1.0))
    assert (second.short, second.pairs, second.correlation) == (0.3, 3, pytest.approx(0.5))
    assert second.doubtful and not first.doubtful
    assert "It is below 0.7" in str(second)
    assert str(Agreement(0.1, 0.9, 1, None)).endswith("is not known: too few candidates (1) had both.")
    assert str(Agreement(0.1, 0.9, 7, None)).endswith(
        "is not known: the 7 candidates that had both were all alike in one."
    )
