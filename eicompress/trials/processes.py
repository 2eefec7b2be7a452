"""The coordinator's worker processes, which are watched and kept within limits.

Both sides write JSON, one value a line: `{"job": ...}` goes in; `{"doing": ...}` and `{"done": ...}` come out, or
`{"refused": ...}` where no other job would fare better.

A worker that exceeds a limit is killed, and what it built is a failed trial. One that was killed from outside, by
a user or by the kernel when memory runs out, has lost its job, which may be tried again. Either way the next job gets
a new process. A training that several jobs share is made by one of them while the others wait to be begun, and counts
against nobody's time.
"""

import math
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Self

from eicompress.errors import Crashed, StudyError
from eicompress.trials.watched import POLL_SECONDS, Limits, Setup, Watched
from eicompress.values import OUT_OF_TIME, SHARED, Done, Job, Json, Progress

Tell = Callable[[int, Progress], None]


@dataclass
class Processes:
    """Builds in `count` processes, which are started when they are first needed. A context manager."""

    setup: Setup
    limits: Limits
    count: int = 1
    threads: int = 0
    """Of each process; 0 for its share of the cores."""
    _workers: "list[_Worker]" = field(default_factory=list)
    _waiting: list[Job] = field(default_factory=list)
    """Jobs whose shared training another makes."""
    _made: set[str] = field(default_factory=set)
    """The shared trainings that are there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._workers:
            each.process.end()
        self._workers.clear()

    @property
    def free(self) -> bool:
        return len(self._busy) + len(self._waiting) < self.count

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self._begin()

    def _begin(self) -> None:
        """Begin the jobs that need not wait."""
        while job := next_job(self._waiting, [each.job for each in self._busy if each.job], self._made):
            self._waiting.remove(job)
            self._idle().begin(job)

    def _idle(self) -> "_Worker":
        idle = next((each for each in self._workers if each.job is None), None)
        if idle is None:
            idle = _Worker(Watched(self.setup, self.threads or max(1, _cores() // self.count)))
            self._workers.append(idle)
        return idle

    def wait(self, progress: Tell, within_s: float = math.inf) -> Done:
        """What became of the job that ends next, or of one that is stopped since none ended within `within_s` seconds.

        Raises `StudyError` where no other job would fare better.
        """
        end = time.monotonic() + within_s
        self._begin()
        while True:
            select.select(self._busy, [], [], POLL_SECONDS)
            for each in self._busy:
                done = each.outcome(self.limits, progress)
                if done is not None:
                    if not each.process.alive:
                        self._workers.remove(each)
                    if done.fate == "built":
                        self._made.add(done.job.shared)
                    return done
            if time.monotonic() > end:
                return self._stopped()

    def _stopped(self) -> Done:
        """Stop a job."""
        for each in self._busy:
            self._workers.remove(each)
            return each.stopped()
        return Done(self._waiting.pop(), "out of time", reason=OUT_OF_TIME)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause all workers while latency is measured."""
        busy = self._busy
        for each in busy:
            each.process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for each in busy:
                each.process.signal(signal.SIGCONT)

    @property
    def _busy(self) -> "list[_Worker]":
        return [each for each in self._workers if each.job is not None]


def next_job(waiting: Sequence[Job], begun: Iterable[Job], made: Collection[str]) -> Job | None:
    """The first of the jobs that can begin: whose shared training, if it has one, is made, or is made by nobody now."""
    under_way = {job.shared for job in begun if job.shared} - {*made}
    return next((job for job in waiting if job.shared not in under_way), None)


@dataclass
class _Worker:
    """A worker process, and the job it has."""

    process: Watched
    job: Job | None = None

    def fileno(self) -> int:
        return self.process.fileno()

    def begin(self, job: Job) -> None:
        self.job = job
        self.process.send({"job": asdict(job)})

    def outcome(self, limits: Limits, progress: Tell) -> Done | None:
        """What became of the job, if the process says so, has ended or is ended for a limit."""
        assert self.job is not None
        job = self.job
        try:
            for message in self.process.received():
                done = self._understood(message, job, progress)
                if done is not None:
                    self.job = None
                    return done
            self.process.check(limits)
        except Crashed as error:
            self.job = None
            return Done(job, "lost" if error.outside else "failed", reason=str(error))
        return None

    def stopped(self) -> Done:
        """End the process; its job is out of time."""
        assert self.job is not None
        job, self.job = self.job, None
        self.process.end()
        return Done(job, "out of time", reason=OUT_OF_TIME)

    def _understood(self, message: Json, job: Job, progress: Tell) -> Done | None:
        if "refused" in message:
            raise StudyError(message["refused"])
        if "doing" in message:
            if message["doing"]["phase"] == SHARED:
                self.process.restart_clock()
            progress(job.number, Progress(**message["doing"]))
        return Done.from_json(message["done"]) if "done" in message else None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
