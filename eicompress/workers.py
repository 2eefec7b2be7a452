"""Where candidates are built: in watched processes of their own, or in this one.

A worker process makes the coordinator's workshop once more, from the same inputs, and then builds one job after the
other. Both sides write JSON, one value a line: `{"job": ...}` goes in; `{"doing": ...}` and `{"done": ...}` come out,
or `{"refused": ...}` where no other job would fare better. What libraries print goes to a file of its own, whose end
is the reason of a crash in native code.

A worker that exceeds a limit is killed, and what it built is a failed trial. One that was killed from outside, by
somebody or by the kernel for want of memory, has lost its job, which may be tried again. Either way the next job gets
a new process. When the coordinator ends, however it ends, its workers end.
"""

import ctypes
import faulthandler
import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from eicompress.errors import EicompressError, Inapplicable, StudyError
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.record import disk, is_disk_error
from eicompress.values import Done, Job, Json, Progress, Record
from eicompress.workshop import open_workshop

POLL_SECONDS = 0.2
"""How often limits are looked at."""
ENDED_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
LOG_BYTES = 4_000
"""How much of what a crashed process wrote is kept as the reason."""
FIRST_TO_GO = 500
"""What the kernel adds to a worker's badness when memory runs out, so that it does not choose the coordinator."""
PR_SET_PDEATHSIG = 1

_START = (
    "import json, sys; setup = json.loads(sys.stdin.readline()); sys.path[:] = setup['path']; "
    "from eicompress.workers import serve; serve(setup)"
)

Tell = Callable[[int, Progress], None]


class Builder(Protocol):
    """A workshop, as workers need it."""

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        """Trained, exported, checked and scored; the artifact's folder is `files["artifact"]`."""


def perform(job: Job, workshop: Builder, registry: Registry, progress: Callable[[Progress], None]) -> Done:
    """Build, whatever becomes of it. Raises only what no other job would escape either."""
    try:
        recipe = registry.recipe(job.recipe)
        record = workshop.build(recipe, fidelity=job.fidelity, seed=job.seed, progress=progress)
    except Inapplicable as error:
        return Done(job, "inapplicable", reason=str(error))
    except Exception as error:
        if is_disk_error(error) or isinstance(error, StudyError):
            raise
        return Done(job, "failed", reason="".join(traceback.format_exception(error)))
    return Done(job, "built", record)


@dataclass
class InProcess:
    """Builds in this process, one job at a time and unwatched: for a debugger."""

    workshop: Builder
    registry: Registry
    _jobs: list[Job] = field(default_factory=list)

    @property
    def free(self) -> bool:
        return not self._jobs

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self, progress: Tell) -> Done:
        job = self._jobs.pop()
        return perform(job, self.workshop, self.registry, lambda each: progress(job.number, each))


@dataclass(frozen=True)
class Setup:
    """What a worker makes its workshop of, as plain data: arguments of `open_workshop`, and which plug-ins load."""

    inputs: Mapping[str, Any]
    plugin: str | None = None
    only_plugins: str | None = None


@dataclass(frozen=True)
class Limits:
    """What one build may take, start of its process included."""

    seconds: float
    memory_bytes: int


@dataclass
class Processes:
    """Builds in `count` processes, which are started when they are first needed. A context manager."""

    setup: Setup
    limits: Limits
    count: int = 1
    _processes: "list[_Process]" = field(default_factory=list)

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
        return len(self._busy) < self.count

    def submit(self, job: Job) -> None:
        idle = next((each for each in self._processes if each.job is None), None)
        if idle is None:
            idle = _Process(self.setup, max(1, _cores() // self.count))
            self._processes.append(idle)
        idle.begin(job)

    def wait(self, progress: Tell) -> Done:
        """What became of the job that ends next. Raises `StudyError` where no other job would fare better."""
        while True:
            select.select(self._busy, [], [], POLL_SECONDS)
            for each in self._busy:
                done = each.heard(progress) or each.over(self.limits)
                if done is not None:
                    if not each.alive:
                        self._processes.remove(each)
                    return done

    @contextmanager
    def paused(self) -> Iterator[None]:
        """All of them stand still, so that a latency can be taken."""
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

    def heard(self, progress: Tell) -> Done | None:
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

    def signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
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
            progress(self.job.number, Progress(**message["doing"]))
            return None
        record = message["done"].pop("record")
        return self._done(**message["done"], record=None if record is None else Record.from_json(record))

    def _done(self, fate: Any, reason: str, record: Record | None = None) -> Done:
        assert self.job is not None
        done, self.job = Done(self.job, fate, record, reason), None
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
            return f"its process was ended with {signal.Signals(-status).name}, by somebody or for want of memory"
        how = f"crashed with {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{log}\nits process {how}"

    def _send(self, message: Json) -> None:
        # A process that has ended is noticed where its answers are read.
        with suppress(BrokenPipeError):
            self._stdin.write(json.dumps(message, default=str).encode() + b"\n")
            self._stdin.flush()


def serve(setup: Json) -> None:
    """A worker process: make the workshop, then build job after job, until the coordinator closes stdin."""
    faulthandler.enable()
    _end_with(setup["parent"])
    jobs: queue.Queue[Job] = queue.Queue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: Json) -> None:
        print(json.dumps(message), file=answers, flush=True)

    def progress(each: Progress) -> None:
        say({"doing": asdict(each)})

    inputs = {**setup["inputs"], "folder": Path(setup["inputs"]["folder"])}
    try:
        registry = discover(setup["plugin"], setup["only_plugins"])
        workshop = open_workshop(**inputs, registry=registry, progress=progress)
        while True:
            with disk(inputs["folder"]):
                done = perform(jobs.get(), workshop, registry, progress)
            record = None if done.record is None else done.record.to_json()
            say({"done": {"fate": done.fate, "reason": done.reason, "record": record}})
    except EicompressError as error:
        say({"refused": str(error)})


def _read_jobs(jobs: "queue.Queue[Job]") -> None:
    for line in sys.stdin:
        jobs.put(Job.from_json(json.loads(line)["job"]))
    os._exit(0)


def _end_with(parent: int) -> None:
    """End when the coordinator does, even while standing still: on Linux the kernel sees to it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO))
    if os.getppid() != parent:
        os._exit(0)


def _environment(threads: int) -> dict[str, str]:
    """A share of the cores for each worker; what the user has set goes before."""
    own = {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    return {**{name: str(value) for name, value in own.items()}, **os.environ}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    """Bytes that this machine, or the container around us, has."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return total if text == "max" else min(total, int(text))


def _memory(pid: int) -> int:
    """Bytes of memory that a process holds, as far as the system tells (Linux does)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
