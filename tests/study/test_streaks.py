import itertools

import pytest

from eicompress.errors import StudyError
from eicompress.study.streaks import FAILURES, UNTRAINED, Streaks
from eicompress.values import Record

TRAINED = Record((), 0, "complete", trained=True)
REPEATED = Record((), 0, "complete", trained=True, repeat_of=3)
OVER = Record((), 0, "over budget")
CRASHED = Record((), 0, "failed", "Traceback\nZeroDivisionError: a bug", trained=True)


def after(*records: Record) -> Streaks:
    streaks = Streaks()
    for record in records:
        streaks = streaks.after(record)
    return streaks


@pytest.mark.parametrize(
    ("record", "most", "said"), [(REPEATED, UNTRAINED, "not worth training"), (OVER, UNTRAINED, "not worth training")]
)
def test_draws_that_lead_nowhere_end_the_search(record: Record, most: int, said: str) -> None:
    assert after(*[record] * (most - 1)).ended() == ""
    assert said in after(*[record] * most).ended()
    assert after(*[record] * (most - 1), TRAINED, record).ended() == ""


def test_ten_crashes_in_a_row_are_no_candidates_fault() -> None:
    assert after(*itertools.chain.from_iterable([CRASHED, TRAINED] for _ in range(FAILURES))).ended() == ""
    with pytest.raises(StudyError, match=r"10 candidates in a row crashed, .*: ZeroDivisionError: a bug"):
        after(*[CRASHED] * FAILURES)
