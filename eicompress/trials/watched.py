"""A process of ours that is watched: started, spoken with in lines of JSON, kept within limits, and ended.

It runs `worker.serve`. What libraries print there goes to a file of its own, whose end is the reason of a crash in
native code. When the process that started it ends, however it ends, it ends too.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

import psutil

from eicompress.errors import Crashed, StudyError
from eicompress.settings import SearchSettings
from eicompress.values import Json

POLL_SECONDS = 0.2
"""Seconds between two checks of the limits."""
MEMORY_SHARE = 0.8
"""Of a machine's memory, divided between its workers, unless a limit is named."""
LOG_BYTES = 4_000
"""Bytes of a crashed process's output that are kept as the reason."""
ENDED_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
WHERE = signal.SIGUSR1
"""Asks a process where it is: `faulthandler` then writes to the log."""
WHERE_SECONDS = 0.2
"""How long that may take."""
OWN_LIMIT, TRIALS_LIMIT = {"limit": "own"}, {"limit": "of a trial"}
"""Said by a process: what it does from now on may take as long as what it was asked, or as long as a trial."""
_PLACE = re.compile(r'File "(.+)", line (\d+) in apply$', re.MULTILINE)

_START = (
    "import json, sys; setup = json.loads(sys.stdin.readline()); sys.path[:] = setup['path']; "
    "from eicompress.trials.worker import serve; serve(setup)"
)


@dataclass(frozen=True)
class Setup:
    """The inputs of a process's builder, as plain data."""

    settings: SearchSettings
    """As they were checked where the search began."""
    folder: str
    """Artifacts are written under it."""
    head: str = ""
    """The folder of the teacher that was trained before; empty for none."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """What the coordinator's builder was made of, which a process's must equal."""


@dataclass(frozen=True)
class Limits:
    """The limits of one build or preview, the start of its process included."""

    seconds: float
    memory_bytes: int = 0
    """0 for a share of the machine's."""
    what: str = "trial"
    """What it is that they limit."""
    flag: str = " (`--trial-timeout`)"
    """The setting of the seconds, in brackets, where there is one."""

    def shared(self, workers: int) -> Self:
        """These limits on this machine, divided by the number of workers. Raises `StudyError` where none hold."""
        _memory(os.getpid())
        return replace(self, memory_bytes=self.memory_bytes or round(MEMORY_SHARE * total_memory() / workers))


class Watched:
    """The end of a watched process that its owner has. With no `threads` it has those of this process."""

    def __init__(self, setup: Setup, threads: int = 0) -> None:
        self.alive = True
        self._since = time.monotonic()
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
        self.send({**asdict(setup), "path": sys.path, "parent": os.getpid()})

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._stdout.fileno()

    def send(self, message: Json) -> None:
        """Send a message; the clock of its limits begins."""
        self.restart_clock()
        # A process that has ended is noticed where its answers are read.
        with suppress(BrokenPipeError):
            self._stdin.write(json.dumps(message, default=str).encode() + b"\n")
            self._stdin.flush()

    def restart_clock(self) -> None:
        self._since = time.monotonic()

    def received(self) -> list[Json]:
        """What the process has said since; nothing is waited for. Raises `Crashed` if it has ended."""
        while read := self._stdout.read(1 << 16):
            self._unread += read
        *lines, self._unread = self._unread.split(b"\n")
        if read == b"" and not lines:
            raise self._ended()
        return [json.loads(line) for line in lines]

    def check(self, limits: Limits) -> None:
        """End the process if it has exceeded a limit, and raise `Crashed`."""
        memory = _memory(self.pid)
        if time.monotonic() - self._since > limits.seconds:
            reason = f"a {limits.what} must end within {limits.seconds:g} s{limits.flag}, but this one did not"
            reason += self._place()
        elif memory > limits.memory_bytes:
            reason = (
                f"a {limits.what} must do with {limits.memory_bytes / 1e6:.0f} MB of memory (`--trial-memory`), but "
                f"this one took {memory / 1e6:.0f} MB"
            )
        else:
            return
        self.end()
        raise Crashed(reason)

    def signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def end(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()
        self.alive = False
        for each in (self._stdin, self._stdout, self._log):
            # What could not be sent to a process that has ended is of no use any more.
            with suppress(BrokenPipeError):
                each.close()

    def _ended(self) -> Crashed:
        """How the process ended by itself. Its pipe may be closed a moment before it can be waited for."""
        status = self._process.wait()
        log = self._last_words()
        self.end()
        if -status in ENDED_FROM_OUTSIDE:
            name = signal.Signals(-status).name
            return Crashed(f"its process was ended with {name}, by a user or because memory ran out", outside=True)
        how = f"crashed with {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return Crashed(f"{log}\nits process {how}")

    def _place(self) -> str:
        """The line of a strategy's `apply` that the process is at, if it is at one."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, WHERE)
            time.sleep(WHERE_SECONDS)
        found = _PLACE.search(self._last_words())
        return f": it was at line {found[2]} of `{Path(found[1]).name}`" if found else ""

    def _last_words(self) -> str:
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_BYTES))
        return self._log.read().decode("utf-8", "replace").strip()


def _environment(threads: int) -> dict[str, str]:
    """The threads of a process; what the user has set goes before."""
    own = {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads} if threads else {}
    return {**{name: str(value) for name, value in own.items()}, "OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def total_memory() -> int:
    """Bytes that this machine, or the container around us, has. Raises `StudyError` where it does not tell."""
    try:
        total = int(psutil.virtual_memory().total)
    except (psutil.Error, OSError, NotImplementedError) as error:
        raise _not_told() from error
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return total if text == "max" else min(total, int(text))


def _memory(pid: int) -> int:
    """Bytes of memory that a process holds; none when it has ended. Raises `StudyError` where that is not told."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess as error:
        if pid == os.getpid():
            raise _not_told() from error
        return 0
    except (psutil.Error, OSError, NotImplementedError) as error:
        raise _not_told() from error


def _not_told() -> StudyError:
    return StudyError(
        "the memory of a process must be known where it is limited (`--trial-memory`), but this machine does not tell "
        "it: mount /proc, or give `--workers 0`, which trains in this process without limits"
    )
