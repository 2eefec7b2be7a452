import math

import pytest

from eicompress.study.agreement import Agreement, agreements, rank_correlation
from eicompress.values import Record, Rung


def trial(*qualities: float) -> Record:
    rungs = [Rung(length, quality, 1.0) for length, quality in zip((0.1, 0.3, 0.9), qualities, strict=False)]
    return Record(recipe=(), draw=0, outcome="complete", rungs=tuple(rungs))


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
