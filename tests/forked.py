"""Processes that begin with everything imported, for tests that end many of them.

A new Python needs seconds to import torch and what torch's optimizers import, which is most of what a search on a tiny
model takes. Here a process that has only imported is forked instead. What it runs, and how it is ended, is real; tests
that ask how a process starts run `sys.executable`.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NoReturn

IMPORTED = ("eicompress.cli", "eicompress.api.study", "eicompress.trials.worker", "torch._dynamo", "pandas", "pytest")
HERE = multiprocessing.get_context("forkserver")
HERE.set_forkserver_preload([*IMPORTED])


def started(
    run: Callable[..., object], *given: object, folder: Path, environment: Mapping[str, str], log: Path
) -> ForkServerProcess:
    """A process that calls a function of a module in a folder; what it prints is added to a file."""
    process = HERE.Process(target=_begun, args=(run, given, folder, dict(environment), log))
    process.start()
    return process


def _begun(
    run: Callable[..., object], given: tuple[object, ...], folder: Path, environment: dict[str, str], log: Path
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # As many lines of both are in the file, in their order, as were printed before a kill.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    run(*given)


def waited(process: ForkServerProcess, seconds: float = 900.0) -> int:
    """The exit status of a process once it has ended; minus a signal's number for one that a signal has ended."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"a process must end within {seconds:g} s")
    return process.exitcode


def eicompress(*arguments: str) -> None:
    """What the command of this name does; it exits with its status."""
    from eicompress.cli import main

    sys.argv = ["eicompress", *arguments]
    main()


def eicompress_with_forked_workers(*arguments: str) -> None:
    """`eicompress`, whose watched processes are forked of it instead of started anew."""
    import torch

    from eicompress.trials import watched

    # A fork has none of OpenMP's threads, and waits for ever for those that its parent has computed with.
    torch.set_num_threads(1)
    watched.subprocess = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE)  # type: ignore[assignment]
    eicompress(*arguments)


READY = """
import io, json, os, sys, traceback
from eicompress import runtime

for line in sys.stdin:
    code, given = json.loads(line)
    (reads, writes), status = os.pipe(), 0
    if not os.fork():
        sys.stdin, sys.stdout, sys.stderr = io.StringIO(given), io.StringIO(), io.StringIO()
        try:
            exec(code, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            status = 1
        os.write(writes, json.dumps([status, sys.stdout.getvalue(), sys.stderr.getvalue()]).encode())
        os._exit(0)
    os.close(writes)
    with open(reads) as answers:
        answer = answers.read()
    os.wait()
    print(answer or json.dumps([1, "", "it was ended"]), flush=True)
"""


class Ready:
    """`subprocess.run` of `python -c CODE` in forks of a process that has only imported `eicompress.runtime`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, command: list[str], *, input: str, capture_output: bool, text: bool
    ) -> subprocess.CompletedProcess[str]:
        assert command[:2] == [sys.executable, "-c"] and capture_output and text
        if self._process is None:
            # Python warns of forks beside threads, which numpy's library of matrices starts and ends at forks.
            ready = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", READY]
            self._process = subprocess.Popen(ready, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([command[2], input]), file=self._process.stdin, flush=True)
        return subprocess.CompletedProcess(command, *json.loads(self._process.stdout.readline()))

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate()


class Forked:
    """A `subprocess.Popen` of `python -c CODE` with pipes to its input and output, in a fork of this process."""

    def __init__(
        self,
        command: list[str],
        *,
        stdin: int,
        stdout: int,
        stderr: IO[bytes],
        env: Mapping[str, str],
        start_new_session: bool,
    ) -> None:
        assert command[0] == sys.executable and command[-2] == "-c" and start_new_session
        assert stdin == stdout == subprocess.PIPE
        (reads, writes), (answers, answered) = os.pipe(), os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _become(command[-1], (reads, answered, stderr.fileno()), env)
        for end in (reads, answered):
            os.close(end)
        self.stdin, self.stdout = open(writes, "wb"), open(answers, "rb")  # noqa: SIM115

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def _become(code: str, streams: tuple[int, int, int], environment: Mapping[str, str]) -> NoReturn:
    """Run code in a process that was just forked, with nothing of its parent's that a new program would not have."""
    status = 1
    try:
        os.setsid()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        for at, stream in enumerate(streams):
            os.dup2(stream, at)
        # Locks are held by open files. Their numbers stay taken, since objects here still know them.
        nothing = os.open(os.devnull, os.O_RDWR)
        for each in map(int, os.listdir("/dev/fd")):
            if each > 2:
                os.dup2(nothing, each)
        sys.stdin, sys.stdout, sys.stderr = (open(at, mode) for at, mode in enumerate("rww"))  # noqa: SIM115
        os.environ.clear()
        os.environ.update(environment)
        given: dict[str, Any] = {"__name__": "__main__"}
        exec(code, given)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
