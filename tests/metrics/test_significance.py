import numpy as np
import pytest

from eicompress.metrics.significance import Difference, mcnemar, over_seeds, paired_difference


def right(share: float, examples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(examples) < share


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Difference(0.02, 0.01, 0.03), "gain"),
        (Difference(-0.02, -0.03, -0.01), "loss"),
        (Difference(0.02, -0.01, 0.05), "no gain"),
        (Difference(0.0, 0.0, 0.0), "no gain"),
    ],
)
def test_a_verdict_is_what_the_interval_leaves_no_doubt_of(difference: Difference, verdict: str) -> None:
    assert difference.verdict == verdict


def test_the_interval_of_one_training_is_that_of_the_normal_distribution() -> None:
    ours, theirs = right(0.9, 4000, 0), right(0.85, 4000, 1)
    found = paired_difference(ours, theirs)
    apart = ours.astype(float) - theirs
    error = apart.std() / np.sqrt(len(apart))
    assert found.mean == pytest.approx(apart.mean())
    assert found.low == pytest.approx(apart.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(apart.mean() + 1.96 * error, abs=0.1 * error)


def test_seeds_that_disagree_widen_the_interval() -> None:
    base = right(0.8, 3000, 0)
    better = base | right(0.2, 3000, 1)
    agreeing = paired_difference(np.stack([better] * 3), np.stack([base] * 3))
    disagreeing = paired_difference(np.stack([better, base, better]), np.stack([base, better, base]))
    assert agreeing.verdict == "gain"
    assert disagreeing.verdict == "no gain"
    assert disagreeing.high - disagreeing.low > 3 * (agreeing.high - agreeing.low)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered = 0
    for trial in range(25):
        found = paired_difference(right(0.8, 300, 2 * trial), right(0.8, 300, 2 * trial + 1))
        covered += found.low <= 0 <= found.high
    assert covered >= 21


def test_sides_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="the same examples"):
        paired_difference(np.ones(3), np.ones(4))


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [
        (5, 0, 2 / 32),  # two tails of (1/2)^5
        (4, 1, 2 * (1 + 5) / 32),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_counts_coins(ours: int, theirs: int, p: float) -> None:
    left = np.array([True] * ours + [False] * theirs + [True, False])
    right = np.array([False] * ours + [True] * theirs + [True, False])
    assert mcnemar(left, right) == pytest.approx(p)


def test_mcnemar_survives_many_examples() -> None:
    left = np.arange(100_000) < 52_000
    assert 0 < mcnemar(left, ~left) < 1e-30


def test_several_trainings_are_as_uncertain_as_one_and_by_what_they_differ() -> None:
    one = Difference(0.02, 0.01, 0.04)
    assert all(vars(over_seeds([one] * count)) == pytest.approx(vars(one)) for count in (1, 3))
    apart = over_seeds([one, Difference(0.04, 0.03, 0.06)])
    spread = 1.96 * 0.01
    assert apart.mean == pytest.approx(0.03)
    assert apart.low == pytest.approx(0.03 - np.hypot(0.01, spread))
    assert apart.high == pytest.approx(0.03 + np.hypot(0.02, spread))
