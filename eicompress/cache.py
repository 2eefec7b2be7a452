"""A store of computed things, each in a folder named by the digest of what it was computed from.

An entry is written under a temporary name and renamed when complete, with the checksum of each file beside it; an
entry whose files do not match is thrown away and computed again. Of several processes that want the same entry one
computes it and the others wait. When the store outgrows its limit, the entries that were used least recently go first.
"""

import errno
import glob
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from eicompress.errors import StudyError
from eicompress.values import digest_of

CHECKSUMS = "checksums.json"
TRAINED = "candidate"
"""The kind of the entries that hold candidates after a training."""
DRAFT = ".draft-"
"""Begins the temporary name of what is being written; what it is to be named follows."""
SWEPT_SHARE = 0.01
"""Share of the size limit after whose addition the store is compared with the limit again."""
STALE_SECONDS = 7 * 86_400.0
"""Age in seconds after which a draft counts as left behind by a killed process."""
FULL_BYTES = 100_000
"""With less room than this, a disk is full."""
_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
}


def default_folder() -> Path:
    """`$EICOMPRESS_CACHE`, or `eicompress` in the user's cache folder."""
    named = os.environ.get("EICOMPRESS_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "eicompress"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: under a temporary name in its folder, then renamed."""
    with draft_beside(path) as draft:
        made = draft / "made"
        made.write_bytes(data)
        made.replace(path)


def write_folder(folder: Path, write: Callable[[Path], object], beside: Mapping[Path, bytes] | None = None) -> None:
    """Write a folder whole or not at all: let `write` fill one beside it, which then takes its place.

    The files that lie `beside` it are written before it does: where the folder is, they are there too.
    """
    with draft_beside(folder) as draft:
        made = draft / "made"
        made.mkdir()
        write(made)
        with suppress(FileNotFoundError):
            folder.rename(draft / "old")
        for path, data in (beside or {}).items():
            write_whole(path, data)
        made.rename(folder)


@contextmanager
def draft_beside(path: Path) -> Iterator[Path]:
    """A temporary folder beside what is to be written, from which it is moved to its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{DRAFT}{path.name}-") as draft:
        yield Path(draft)


def drop_drafts_of(path: Path) -> None:
    """Remove what killed processes have begun to write to this place."""
    drop_drafts(path.parent, f"{DRAFT}{glob.escape(path.name)}-*")


def drop_drafts(folder: Path, pattern: str, age: float = 0.0) -> None:
    """Remove the drafts of killed processes: those under `folder` that the pattern names, of at least `age` seconds."""
    for draft in folder.glob(pattern):
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime < age:
                continue
            if draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            else:
                draft.unlink()


@dataclass(frozen=True)
class Cache:
    folder: Path
    limit_bytes: int = 10_000_000_000
    _added: list[int] = field(default_factory=list, repr=False, compare=False)
    """Bytes of each entry that was stored since the last sweep."""

    def kept(self, kind: str, key: object, write: Callable[[Path], None]) -> Path:
        """The folder of an entry, which `write` fills if it is not there."""
        found = self.find(kind, key)
        if found is not None:
            return found
        with self.alone(kind, key):
            return self.find(kind, key) or self.store(kind, key, write)

    @contextmanager
    def alone(self, kind: str, key: object) -> Iterator[None]:
        """Wait for an entry's lock and hold it; the kernel frees it when the process ends, however it ends."""
        path = self.folder / "locks" / digest_of([kind, key])
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its file stays: who waited for one that was removed would not keep out who makes the next one.
        with FileLock(path):
            yield

    def find(self, kind: str, key: object) -> Path | None:
        """The folder of an entry, its files verified, or None."""
        return self._verified(self._entry(kind, key))

    def entries(self, kind: str) -> list[Path]:
        """The folders of all entries of a kind, their files verified."""
        found = (self._verified(path.parent) for path in sorted((self.folder / kind).glob(f"*/{CHECKSUMS}")))
        return [entry for entry in found if entry]

    def _verified(self, entry: Path) -> Path | None:
        try:
            checksums = json.loads((entry / CHECKSUMS).read_text(encoding="utf-8"))
            if all(sha256_of(entry / name) == checksum for name, checksum in checksums.items()):
                os.utime(entry)
                return entry
        except (FileNotFoundError, NotADirectoryError):
            if not entry.exists():
                return None
        except (ValueError, AttributeError, IsADirectoryError, RecursionError):
            pass
        # Asked for here: configurations of logging that libraries make disable the loggers that are there by then.
        log = logging.getLogger("eicompress")
        log.warning("the cache's entry `%s` is damaged: it is dropped, and made again where it is needed", entry)
        shutil.rmtree(entry, ignore_errors=True)
        return None

    def store(self, kind: str, key: object, write: Callable[[Path], None]) -> Path:
        """Let `write` fill a folder, and keep it as the entry."""
        entry = self._entry(kind, key)

        def write_checked(draft: Path) -> None:
            with self._own_disk_errors():
                write(draft)
            checksums = {str(path.relative_to(draft)): sha256_of(path) for path in _files(draft)}
            (draft / CHECKSUMS).write_text(json.dumps(checksums))

        with self._own_disk_errors():
            write_folder(entry, write_checked)
        self._added.append(_folder_bytes(entry))
        if len(self._added) == 1 or sum(self._added) > SWEPT_SHARE * self.limit_bytes:
            self._added[:] = [0]
            self._sweep(keep=entry)
        return entry

    @contextmanager
    def _own_disk_errors(self) -> Iterator[None]:
        """Let what a full or read-only disk does here name the cache: many a library's error names no file."""
        try:
            yield
        except Exception as error:
            if is_disk_error(error) and isinstance(error, OSError):
                if error.filename is None:
                    error.filename = str(self.folder)
                raise
            if self.folder.is_dir() and shutil.disk_usage(self.folder).free < FULL_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder)) from error
            raise

    def drop(self, kind: str, key: object) -> None:
        """Forget an entry, if there is one."""
        shutil.rmtree(self._entry(kind, key), ignore_errors=True)

    def arrays(
        self, kind: str, key: object, compute: Callable[[], Mapping[str, npt.NDArray[Any]]]
    ) -> Mapping[str, npt.NDArray[Any]]:
        """Named arrays, memory-mapped; computed and stored at the first call."""

        def write(folder: Path) -> None:
            for name, array in compute().items():
                np.save(folder / f"{name}.npy", array, allow_pickle=False)

        return arrays_in(self.kept(kind, key, write))

    def _entry(self, kind: str, key: object) -> Path:
        return self.folder / kind / digest_of(key)

    def _sweep(self, keep: Path) -> None:
        drop_drafts(self.folder, f"*/{DRAFT}*", STALE_SECONDS)
        entries = [path.parent for path in self.folder.glob(f"*/*/{CHECKSUMS}") if path.parent != keep]
        sizes = {entry: _folder_bytes(entry) for entry in entries}
        excess = sum(sizes.values()) + _folder_bytes(keep) - self.limit_bytes
        for entry in sorted(entries, key=lambda path: path.stat().st_mtime):
            if excess <= 0:
                return
            shutil.rmtree(entry, ignore_errors=True)
            excess -= sizes[entry]


def arrays_in(entry: Path) -> Mapping[str, npt.NDArray[Any]]:
    """The arrays of an entry by their names, memory-mapped."""
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(entry.glob("*.npy"))}


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def unwritable(path: Path) -> str:
    """Why nothing can be written at an absolute path, as that something above it is no folder; empty where it can."""
    above = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not above.is_dir():
        return f"`{above}` is no folder"
    return "" if os.access(above, os.W_OK | os.X_OK) else f"`{above}` is write-protected"


def is_disk_error(error: BaseException) -> bool:
    """True for errors of a full or read-only disk, which every other trial would meet too."""
    return isinstance(error, OSError) and error.errno in _DISK


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of a full or read-only disk into a `StudyError`."""
    try:
        yield
    except OSError as error:
        if not is_disk_error(error):
            raise
        place = Path(error.filename or folder)
        ours = place.absolute().is_relative_to(default_folder().absolute())
        raise StudyError(
            f"`{place}` must be a place to write to, but: {error.strerror}. What is recorded is kept: mend it"
            f"{', or name another place for the cache with EICOMPRESS_CACHE' if ours else ''}, and give the same "
            "command again"
        ) from error
