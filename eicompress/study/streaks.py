"""Ends a search after repeated draws in an exhausted space, or after repeated crashes with a common cause."""

from dataclasses import dataclass

from eicompress.errors import StudyError
from eicompress.values import Record

AT_RANDOM = 10
"""Repeated draws in a row after which draws are random."""
REPEATS = 20
"""Repeated draws in a row after which what was never drawn is taken in its order."""
UNTRAINED = 300
"""Draws in a row that reach no training after which the search gives up."""
FAILURES = 10
"""Crashes in a row after which the search ends, since candidates are not the cause."""


@dataclass(frozen=True)
class Streaks:
    """How many draws in a row were repeats, reached no training, or crashed."""

    repeats: int = 0
    untrained: int = 0
    failures: int = 0

    def after(self, record: Record) -> "Streaks":
        """The streaks with one more draw. Raises `StudyError` after too many crashes."""
        repeat = record.repeat_of is not None
        found = Streaks(
            repeats=self.repeats + 1 if repeat else 0,
            untrained=self.untrained + 1 if repeat or not record.trained else 0,
            failures=self.failures + 1 if record.outcome == "failed" else 0,
        )
        if found.failures == FAILURES:
            last = record.reason.strip().splitlines()[-1]
            raise StudyError(f"{FAILURES} candidates in a row crashed, so something else is wrong: {last}")
        return found

    def ended(self) -> str:
        """Why the search ends, or an empty string."""
        if self.untrained >= UNTRAINED:
            return f"{UNTRAINED} draws in a row were not worth training"
        return ""
