"""A real PostgreSQL server on this machine, from its packages; it listens on a socket in a folder of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def programs() -> Path | None:
    """The folder of the server's programs, which Debian keeps off the path."""
    found = [Path(path).parent for path in (shutil.which("initdb"),) if path]
    return next(iter(found + sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@dataclass(frozen=True)
class Server:
    bin: Path
    folder: Path

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        options = f"-c listen_addresses= -k {self.folder}"
        self._run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", "data")

    def create(self) -> None:
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "--no-sync")

    def _run(self, program: str, *arguments: str) -> None:
        # The server refuses to run as root.
        user = "postgres" if os.getuid() == 0 else None
        subprocess.run([self.bin / program, *arguments], cwd=self.folder, user=user, check=True, capture_output=True)


@contextmanager
def server() -> Iterator[Server]:
    """A server that is up. Its folder has a short name, since that of a socket must."""
    bin = programs()
    assert bin is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.getuid() == 0:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    made = Server(bin, folder)
    made.create()
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)
