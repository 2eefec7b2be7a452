"""Files that are sent to a Ray cluster and come back: bytes by their paths, with a digest of their contents."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any

from eicompress.cache import CHECKSUMS, DRAFT, TRAINED, Cache, write_whole
from eicompress.declaration import declared
from eicompress.errors import StudyError, shortened
from eicompress.parsing import NAMED
from eicompress.settings import SearchSettings
from eicompress.trials.watched import Setup
from eicompress.values import Artifact, Json, Record, digest_of

MOST_BYTES = 4_000_000_000
"""Limit for all files that are sent to a node."""
SENT = "sent"
"""A table with this key stands for a file or folder that was sent; its value is the path in the folder of all that was
sent."""
TASK = "task"
"""A second key of such a table: the task that the file or folder is of, where there are several."""
Files = Mapping[str, bytes]
"""Files by their paths in a folder."""


def packed_setup(setup: Setup) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The inputs of a worker's builder as plain data, and the files that they name.

    Raises `StudyError` where the files are too large to send.
    """
    places: dict[Path, str] = {}

    def packed(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [packed(each) for each in value]
        named = NAMED.fullmatch(value or "")
        path = Path(named["value"] if named else value or "").expanduser()
        if not value or not path.exists():
            return value
        sent = {SENT: places.setdefault(path.resolve(), f"{len(places)}/{path.absolute().name}")}
        return {**sent, TASK: named["name"]} if named else sent

    paths = {name for name, setting in declared(SearchSettings).items() if setting.is_path}
    settings = {name: packed(value) if name in paths else value for name, value in setup.settings.items()}
    described = {**asdict(setup), "settings": settings, "folder": "", "head": packed(setup.head)}
    size = sum(file.stat().st_size for path in places for file in _below(path))
    if size > MOST_BYTES:
        raise StudyError(
            f"model, data and all else that the flags name must be at most {MOST_BYTES / 1e9:g} GB to be sent to a Ray "
            f"cluster, but are {size / 1e9:.1f} GB: give folders that hold nothing else, or less text"
        )
    files = {f"{place}{name}": data for path, place in places.items() for name, data in files_in(path, "/").items()}
    return described, files


def unpacked(setup: Json, folder: Path) -> dict[str, Any]:
    """Plain data, in which each sent file or folder is named by its path below `folder`."""

    def found(value: Any) -> Any:
        if isinstance(value, list):
            return [found(each) for each in value]
        if not isinstance(value, dict):
            return value
        if value.keys() in ({SENT}, {SENT, TASK}):
            path = str(folder / value[SENT])
            return f"{value[TASK]}={path}" if TASK in value else path
        return {name: found(each) for name, each in value.items()}

    return {name: found(value) for name, value in setup.items()}


def arrived(record: Record, files: Files, folder: Path) -> Record:
    """The record of a build on another machine, with its files written where a build on this machine writes them."""
    from eicompress.export.folder import copy

    for name in record.files.values():
        check_below(name)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{DRAFT}arriving-") as draft:
        write_files(files, Path(draft))
        for name in record.files.values():
            if (Path(draft) / name).is_dir():
                copy(Artifact(Path(draft) / name), folder / name)
            else:
                write_whole(folder / name, files[name])
    return replace(record, files={name: str((folder / path).resolve()) for name, path in record.files.items()})


def trained_in(cache: Cache, key: str) -> Files:
    """The files of a trained candidate in a cache, by paths that begin with its key; none where it is not there."""
    return {f"{key}/{name}": data for name, data in files_of_entry(cache, TRAINED, key).items()}


def files_of_entry(cache: Cache, kind: str, key: str) -> Files:
    """The files of a cache entry; none where the entry does not exist."""
    entry = cache.find(kind, key)
    files = files_in(entry) if entry else {}
    return {name: data for name, data in files.items() if name != CHECKSUMS}


def keep_trained(cache: Cache, files: Files) -> None:
    """Keep a trained candidate from another machine's cache under the same key."""
    (key,) = {name.partition("/")[0] for name in files}
    cache.kept(TRAINED, key, lambda folder: write_files(_under(files, key), folder))


def _under(files: Files, key: str) -> Files:
    return {name.removeprefix(f"{key}/"): data for name, data in files.items()}


def _below(path: Path) -> list[Path]:
    """The files of a folder, without those in `.git`; or the file itself."""
    if path.is_file():
        return [path]
    found = (each for each in sorted(path.rglob("*")) if each.is_file())
    return [each for each in found if ".git" not in each.relative_to(path).parts]


def files_in(folder: Path, before: str = "") -> dict[str, bytes]:
    """The bytes of each file by its path in the folder; of a single file by an empty name."""
    return {
        f"{before}{file.relative_to(folder).as_posix()}" if file != folder else "": file.read_bytes()
        for file in _below(folder)
    }


def write_files(files: Files, folder: Path) -> None:
    """Write files from another machine. Raises `StudyError`, before anything is written, for a path that leads out of
    the folder."""
    for name in files:
        check_below(name)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def check_below(name: str) -> None:
    """Raise `StudyError` unless a path from another machine is relative and stays in its folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise StudyError(
            f"another machine must name its files by paths in a folder, but sent {shortened(name)}: use only a Ray "
            "cluster that you trust, with the same eicompress on each node"
        )


def files_digest(files: Files) -> str:
    return digest_of({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
