"""The coordinator's end of worker processes, which are watched and kept within limits.

Both sides write JSON, one value a line: `{"job": ...}` goes in; `{"doing": ...}` and `{"done": ...}` come out, or
`{"refused": ...}` where no other job would fare better. What libraries print goes to a file of its own, whose end is
the reason of a crash in native code.

A worker that exceeds a limit is killed, and what it built is a failed trial. One that was killed from outside, by
a user or by the kernel when memory runs out, has lost its job, which may be tried again. Either way the next job gets
a new process. A training that several jobs share is made by one of them while the others wait to be begun, and counts
against nobody's time. When the coordinator ends, however it ends, its workers end.
"""

import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from eicompress.errors import StudyError
from eicompress.settings import SearchSettings
from eicompress.values import OUT_OF_TIME, SHARED, Done, Fate, Job, Json, Progress

POLL_SECONDS = 0.2
"""Seconds between two checks of the limits."""
MEMORY_SHARE = 0.8
"""Of a machine's memory, divided between its workers, unless a limit is named."""
ENDED_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
LOG_BYTES = 4_000
"""Bytes of a crashed process's output that are kept as the reason."""

_START = (
    "import json, sys; setup = json.loads(sys.stdin.readline()); sys.path[:] = setup['path']; "
    "from eicompress.trials.worker import serve; serve(setup)"
)

Tell = Callable[[int, Progress], None]


@dataclass(frozen=True)
class Setup:
    """The inputs of a worker's builder, as plain data."""

    settings: SearchSettings
    """As they were checked where the search began."""
    folder: str
    """Artifacts are written under it."""
    head: str = ""
    """The folder of the teacher that was trained before; empty for none."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """What the coordinator's builder was made of, which a worker's must equal."""


@dataclass(frozen=True)
class Limits:
    """The limits of one build, the start of its process included."""

    seconds: float
    memory_bytes: int = 0
    """0 for a share of the machine's."""

    def shared(self, workers: int) -> Self:
        """These limits on this machine, divided by the number of workers."""
        return replace(self, memory_bytes=self.memory_bytes or round(MEMORY_SHARE * total_memory() / workers))


@dataclass
class Processes:
    """Builds in `count` processes, which are started when they are first needed. A context manager."""

    setup: Setup
    limits: Limits
    count: int = 1
    threads: int = 0
    """Of each process; 0 for its share of the cores."""
    _processes: "list[_Process]" = field(default_factory=list)
    _waiting: list[Job] = field(default_factory=list)
    """Jobs whose shared training another makes."""
    _made: set[str] = field(default_factory=set)
    """The shared trainings that are there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._processes:
            each.end()
        self._processes.clear()

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

    def _idle(self) -> "_Process":
        idle = next((each for each in self._processes if each.job is None), None)
        if idle is None:
            idle = _Process(self.setup, self.threads or max(1, _cores() // self.count))
            self._processes.append(idle)
        return idle

    def wait(self, progress: Tell, within_s: float = math.inf) -> Done:
        """What became of the job that ends next, or of one that is stopped since none ended within so many seconds.

        Raises `StudyError` where no other job would fare better.
        """
        end = time.monotonic() + within_s
        self._begin()
        while True:
            select.select(self._busy, [], [], POLL_SECONDS)
            for each in self._busy:
                done = each.received(progress) or each.over(self.limits)
                if done is not None:
                    if not each.alive:
                        self._processes.remove(each)
                    if done.fate == "built":
                        self._made.add(done.job.shared)
                    return done
            if time.monotonic() > end:
                return self._stopped()

    def _stopped(self) -> Done:
        """Stop a job."""
        for each in self._busy:
            self._processes.remove(each)
            return each.stopped()
        return Done(self._waiting.pop(), "out of time", reason=OUT_OF_TIME)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause all workers while latency is measured."""
        busy = self._busy
        for each in busy:
            each.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for each in busy:
                each.signal(signal.SIGCONT)

    @property
    def _busy(self) -> "list[_Process]":
        return [each for each in self._processes if each.job is not None]


def next_job(waiting: Sequence[Job], begun: Iterable[Job], made: Collection[str]) -> Job | None:
    """The first of the jobs that can begin: whose shared training, if it has one, is made, or is made by nobody now."""
    under_way = {job.shared for job in begun if job.shared} - {*made}
    return next((job for job in waiting if job.shared not in under_way), None)


class _Process:
    """The coordinator's end of a worker process, and the job it has."""

    def __init__(self, setup: Setup, threads: int) -> None:
        self.job: Job | None = None
        self.alive = True
        self._since = 0.0
        self._unread = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        # A session of its own: Ctrl-C is the coordinator's business, and signals reach what it has started too.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(threads),
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._send({**asdict(setup), "path": sys.path, "parent": os.getpid()})

    def fileno(self) -> int:
        return self._stdout.fileno()

    def begin(self, job: Job) -> None:
        self.job, self._since = job, time.monotonic()
        self._send({"job": asdict(job)})

    def received(self, progress: Tell) -> Done | None:
        """Read what the process wrote; what became of its job, if it says so or has ended."""
        assert self.job is not None
        while (read := self._stdout.read(1 << 16)) != b"":
            if read is None:
                return None
            *lines, self._unread = (self._unread + read).split(b"\n")
            for line in lines:
                done = self._understood(json.loads(line), progress)
                if done is not None:
                    return done
        return self._done("lost" if self._ended_from_outside() else "failed", self._last_words())

    def over(self, limits: Limits) -> Done | None:
        """End the process if it has exceeded a limit; its job has then failed."""
        memory = _memory(self._process.pid)
        if time.monotonic() - self._since > limits.seconds:
            reason = f"a trial must end within {limits.seconds:g} s (`--trial-timeout`), but this one did not"
        elif memory > limits.memory_bytes:
            reason = (
                f"a trial must do with {limits.memory_bytes / 1e6:.0f} MB of memory (`--trial-memory`), but this one "
                f"took {memory / 1e6:.0f} MB"
            )
        else:
            return None
        self.end()
        return self._done("failed", reason)

    def stopped(self) -> Done:
        """End the process; its job is out of time."""
        self.end()
        return self._done("out of time", OUT_OF_TIME)

    def signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def end(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()
        self.alive = False
        for each in (self._stdin, self._stdout, self._log):
            # What could not be sent to a process that has ended is of no use any more.
            with suppress(BrokenPipeError):
                each.close()

    def _understood(self, message: Json, progress: Tell) -> Done | None:
        assert self.job is not None
        if "refused" in message:
            raise StudyError(message["refused"])
        if "doing" in message:
            if message["doing"]["phase"] == SHARED:
                self._since = time.monotonic()
            progress(self.job.number, Progress(**message["doing"]))
            return None
        self.job = None
        return Done.from_json(message["done"])

    def _done(self, fate: Fate, reason: str) -> Done:
        assert self.job is not None
        done, self.job = Done(self.job, fate, reason=reason), None
        return done

    def _ended_from_outside(self) -> bool:
        # Its pipe may be closed a moment before it can be waited for.
        return -self._process.wait() in ENDED_FROM_OUTSIDE

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_BYTES))
        log = self._log.read().decode("utf-8", "replace").strip()
        self.end()
        if -status in ENDED_FROM_OUTSIDE:
            return f"its process was ended with {signal.Signals(-status).name}, by a user or because memory ran out"
        how = f"crashed with {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{log}\nits process {how}"

    def _send(self, message: Json) -> None:
        # A process that has ended is noticed where its answers are read.
        with suppress(BrokenPipeError):
            self._stdin.write(json.dumps(message, default=str).encode() + b"\n")
            self._stdin.flush()


def _environment(threads: int) -> dict[str, str]:
    """A share of the cores for each worker; what the user has set goes before."""
    own = {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    return {**{name: str(value) for name, value in own.items()}, **os.environ}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    """Bytes that this machine, or the container around us, has."""
    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return total if text == "max" else min(total, int(text))


def _memory(pid: int) -> int:
    """Bytes of memory that a process holds; none when it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
