"""The output of a running command: live progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from eicompress.errors import listed
from eicompress.reporting.plan_text import grid, in_short
from eicompress.reporting.record_text import duration, standing, summary
from eicompress.study.events import (
    Compared,
    Comparing,
    Doing,
    Drawn,
    Event,
    Foreseen,
    Noticed,
    Planned,
    Promoted,
    Promoting,
    SearchEnded,
    TrialEnded,
)
from eicompress.study.outcomes import share_text
from eicompress.study.ranking import Counts
from eicompress.study.result import by_quality, warning
from eicompress.values import SHARED, Progress, Quantity, Record, counted

if TYPE_CHECKING:
    from eicompress.trials.taught import Attempt

PLAIN_SECONDS = 60.0
"""How often plain lines tell how far a training is."""


@dataclass
class Screen:
    """Shows a search's events: one live picture on a terminal, plain lines elsewhere. A context manager."""

    console: Console
    title: str
    trials: int | None = None
    timeout_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    _live: Live | None = None
    _counts: Counts = field(default_factory=Counts)
    _baseline: Record | None = None
    _best: Record | None = None
    _extra: tuple[Quantity, ...] = ()
    """What the search goes by beside size, latency and quality."""
    _simple: str = ""
    """What the best of the simple baselines reaches."""
    _doing: str = "preparing"
    _seconds: float = 0.0
    _seconds_at: float = 0.0
    _said: dict[str, tuple[str, float]] = field(default_factory=dict)
    """The last phase that a plain line reported of each trial, and when."""

    def __enter__(self) -> Self:
        self._seconds_at = self.clock()
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._picture, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def preparing(self, progress: Progress) -> None:
        """Progress before there is a search, such as the training of a teacher."""
        if progress.note:
            self._line(f"note: {progress.note}")
        self._do("preparing", progress)

    def attempted(self, attempt: "Attempt") -> None:
        """One way to train a teacher was tried."""
        self._line(f"{attempt.quality:.4f} on held-out rows · {attempt.what} · {duration(attempt.seconds)}")

    def show(self, event: Event) -> None:
        """Take in an event of the search."""
        match event:
            case Foreseen(forecast=forecast):
                for line in in_short(forecast):
                    self._line(line)
            case Compared():
                self._compare(event)
            case Planned():
                self._plan(event)
            case Drawn(number=number):
                self._doing = f"trial {number}"
            case Doing(number=number, progress=progress):
                self._do(f"trial {number}", progress)
            case TrialEnded():
                self._show_end(event)
            case SearchEnded(reason=reason, finished_before=finished):
                self._line(f"{'this study is finished' if finished else 'search ended'}: {reason}")
            case Comparing(number=number, fidelity=fidelity):
                self._line(
                    f"training trial {number} for {share_text(fidelity)} of the full length, to compare the best"
                )
            case Promoting(number=number, fidelity=fidelity, finish=finish):
                part = f"{share_text(fidelity)} of the full length, since time is short"
                length = "full length" if fidelity == 1.0 else part
                self._line(f"rebuilding trial {number}{f', then {listed(finish)},' if finish else ''} at {length}")
            case Promoted(number=number, record=record, rebuilt=rebuilt):
                length = "" if rebuilt else f" as it was after {share_text(record.fidelity)} of the {record.whole}"
                what = f"{'rebuilt' if rebuilt else 'kept'} trial {number}{length}"
                self._line(f"{what}: {summary(record, self._baseline, self._extra)}")
            case Noticed(text=text):
                self._line(f"note: {text}")

    def _compare(self, event: Compared) -> None:
        self._baseline, self._extra = event.baseline, event.objective.extra
        self._line(f"baseline: {summary(event.baseline, None, self._extra)}")
        for name, record in by_quality(event.simple):
            self._simple = f"{name}: {standing(record, event.baseline, event.objective)}"
            self._line(self._simple)
        if worse := warning(event.baseline, event.simple):
            self._line(f"warning: {worse}")

    def _plan(self, event: Planned) -> None:
        if self._baseline is None:
            self._line(f"baseline: {summary(event.baseline, None, self._extra)}")
        self._baseline, self._counts, self._best = event.baseline, event.counts, event.best
        self._at(event.seconds)
        if event.counts.reached or event.recovered.recorded:
            trained = counted(event.counts.trained, "candidate")
            self._line(f"continuing with {trained} trained, {duration(event.seconds)} of the time used")
        if event.recovered.again:
            self._line(f"starting {counted(event.recovered.again, 'interrupted trial')} again")

    def _show_end(self, event: TrialEnded) -> None:
        self._counts, self._best = event.counts, event.best
        self._at(event.seconds)
        record = event.record
        if record.trained and record.outcome != "failed":
            outcome = summary(record, self._baseline, self._extra) + (f", {record.reason}" if record.reason else "")
        else:
            last = (record.reason.strip().splitlines() or [""])[-1]
            outcome = f"{record.outcome}: {last}"
        # On a terminal the counters tell of the cheap ones.
        if record.trained or record.outcome == "failed" or not self._live:
            self._line(f"trial {event.number}: {outcome}")

    def _do(self, what: str, progress: Progress) -> None:
        self._doing = f"{what}: {doing(progress)}"
        if self._live or progress.phase not in ("teacher", SHARED, "training"):
            return
        phase, at = self._said.get(what, ("", 0.0))
        if progress.phase != phase or self.clock() - at >= PLAIN_SECONDS:
            self._line(self._doing)
            self._said[what] = progress.phase, self.clock()

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _at(self, seconds: float) -> None:
        self._seconds, self._seconds_at = seconds, self.clock()

    def _picture(self) -> RenderableType:
        counts, rows = self._counts, grid()
        others = (
            f"over budget {counts.over_budget} · stopped early {counts.stopped} · repeats {counts.repeats} · "
            f"inapplicable {counts.inapplicable} · failed {counts.failed}"
        )
        rows.add_row("trained", f"{counts.trained}{self._to_come()}")
        rows.add_row("not trained", others)
        rows.add_row("now", self._doing)
        rows.add_row("best", summary(self._best, self._baseline, self._extra) if self._best else "none yet")
        if self._simple:
            rows.add_row("simple", self._simple)
        rows.add_row("time", self._time())
        return Group(Text(self.title, style="bold"), rows)

    def _to_come(self) -> str:
        if self.trials is not None:
            return f" · {max(0, self.trials - self._counts.reached)} to come"
        left = self._left()
        if left is None or not self._counts.reached:
            return ""
        # Some of the time goes into rebuilding the best.
        return f" · about {max(0, int(0.6 * left / (self._used() / self._counts.reached)))} to come"

    def _time(self) -> str:
        left = self._left()
        return f"{duration(self._used())} used" + (f" · {duration(left)} left" if left is not None else "")

    def _used(self) -> float:
        return self._seconds + self.clock() - self._seconds_at

    def _left(self) -> float | None:
        return None if self.timeout_s is None else max(0.0, self.timeout_s - self._used())


def doing(progress: Progress) -> str:
    """A phase with its step and loss, where it has them."""
    steps = f", step {progress.step:,} of {progress.steps:,}" if progress.steps else ""
    loss = f", loss {progress.loss:.3f}" if progress.loss is not None else ""
    return f"{progress.phase}{steps}{loss}"
