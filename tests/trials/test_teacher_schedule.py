"""What a search for a teacher trains next: no model is trained here, and a clock is moved by hand."""

from collections.abc import Mapping

import numpy as np
import pytest

from eicompress.trials.taught import Attempt
from eicompress.trials.teacher_schedule import FIRST_EPOCHS, LEARNING_RATES, Schedule

ROWS = 10_000
FIRST = FIRST_EPOCHS


class Trained:
    """Trainings that take a second an epoch over all rows, and reach the quality that is given for each length."""

    def __init__(self, limit_s: float, qualities: Mapping[tuple[float, float], float | None], members: int = 1) -> None:
        self.left_s, self.qualities = limit_s, qualities
        # A fifth of the rows is held out once, so that an attempt learns from four fifths.
        self.schedule = Schedule(ROWS, [np.arange(ROWS // 5)], members, lambda: self.left_s)

    def __call__(self, rate: float, epochs: float) -> Attempt | None:
        quality = self.qualities.get((rate, epochs), 0.5)
        self.left_s -= 0.8 * epochs
        return quality if quality is None else Attempt("mean", 0.1, rate, epochs, quality, seconds=0.8 * epochs)


def lengths(trained: Trained, best: Attempt) -> list[float]:
    return [each.epochs for each in trained.schedule.longer(trained, best)]


FIRST_BEST = Attempt("mean", 0.1, 1e-4, FIRST, 0.6, seconds=0.8 * FIRST)


def test_all_rates_are_tried_for_the_same_length_where_there_is_time() -> None:
    trained = Trained(100.0, {})
    found = list(trained.schedule.at_rates(trained, FIRST, 1.0))
    assert [(each.learning_rate, each.epochs) for each in found if each] == [(rate, FIRST) for rate in LEARNING_RATES]
    assert not list(trained.schedule.notes(100.0, len(found), FIRST, 1.0, "the linear classifier alone"))


@pytest.mark.parametrize(
    ("limit_s", "members", "tried"),
    # An attempt takes 1.6 s, and as long a training of a member on all rows 2 s.
    [(3.5, 1, 0), (3.7, 1, 1), (5.3, 1, 2), (6.9, 1, 3), (5.5, 2, 0), (5.7, 2, 1)],
)
def test_nothing_begins_that_leaves_no_time_for_the_members(limit_s: float, members: int, tried: int) -> None:
    trained = Trained(limit_s, {}, members)
    assert len(list(trained.schedule.at_rates(trained, FIRST, 1.0))) == tried


def test_once_a_training_ran_its_own_time_counts_and_not_the_estimate() -> None:
    trained = Trained(10.0, {})
    assert len(list(trained.schedule.at_rates(trained, FIRST, 2.5))) == len(LEARNING_RATES)


def test_a_rate_that_diverges_is_no_end() -> None:
    trained = Trained(100.0, {(LEARNING_RATES[1], FIRST): None})
    assert [each is None for each in trained.schedule.at_rates(trained, FIRST, 1.0)] == [False, True, False]


def test_the_length_is_doubled_up_to_the_longest_while_that_gains() -> None:
    gains = {(1e-4, FIRST * factor): 0.6 + factor / 100 for factor in (2, 4, 8, 16)}
    assert lengths(Trained(1000.0, gains), FIRST_BEST) == [2 * FIRST, 4 * FIRST, 8 * FIRST]


def test_what_gains_nothing_ends_the_doubling() -> None:
    assert lengths(Trained(1000.0, {(1e-4, 2 * FIRST): 0.7, (1e-4, 4 * FIRST): 0.65}), FIRST_BEST) == [4.0, 8.0]


def test_a_longer_training_that_diverges_ends_the_doubling() -> None:
    assert lengths(Trained(1000.0, {(1e-4, 2 * FIRST): 0.7, (1e-4, 4 * FIRST): None}), FIRST_BEST) == [4.0]


def test_no_longer_training_begins_without_time_for_it() -> None:
    gains = {(1e-4, FIRST * factor): 0.6 + factor / 100 for factor in (2, 4, 8)}
    # 4 epochs take 3.2 s and then 4 s; 8 take 6.4 s and then 8 s.
    assert lengths(Trained(7.1, gains), FIRST_BEST) == []
    assert lengths(Trained(7.3, gains), FIRST_BEST) == [4.0]


def test_few_rows_are_read_more_often() -> None:
    few, many = (Schedule(rows, [], 1, lambda: 100.0).first_epochs(1.0) for rows in (64, ROWS))
    assert few > many == FIRST


# An epoch takes 1.8 s with that of a member; 300 steps of 32 of 10,000 rows are 0.96 epochs.
@pytest.mark.parametrize(
    ("limit_s", "rows", "epochs"), [(3.7, ROWS, 2), (3.5, ROWS, 1), (0.1, ROWS, 1), (0.1, 80_000, 0.125)]
)
def test_the_first_trainings_are_halved_where_time_is_short(limit_s: float, rows: int, epochs: float) -> None:
    schedule = Schedule(rows, [np.arange(rows // 5)], 1, lambda: limit_s)
    assert schedule.first_epochs(1.0) == epochs


@pytest.mark.parametrize(("limit_s", "epochs"), [(1.0, 0.8), (0.0, 0.0032), (100.0, 2.0)])
def test_where_there_is_time_for_one_training_alone_it_takes_what_is_left(limit_s: float, epochs: float) -> None:
    schedule = Schedule(10_000, [np.arange(2_000)], 1, lambda: limit_s)
    assert schedule.only_epochs(1.0) == pytest.approx(epochs)


@pytest.mark.parametrize(("tried", "said"), [(0, "the linear classifier alone"), (2, "2 of 3 learning rates")])
def test_too_little_time_is_said(tried: int, said: str) -> None:
    (note,) = Trained(9.0, {}).schedule.notes(9.0, tried, FIRST, 30.0, "the linear classifier alone")
    assert note == (
        f"In 9 s the teacher search tried {said}, since 2 epochs of training all weights take about 60 s: "
        "more time may make a better teacher."
    )
