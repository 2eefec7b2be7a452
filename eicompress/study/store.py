"""Where a study lies, and how it is opened: by the one coordinator that holds it, or only to be read.

studies/<name>/lock         held by the one coordinator
studies/<name>/owner        which process that is
studies/<name>/study.toml   what was asked, with the digests of model, data and search space
studies/<name>/study.db     Optuna's tables, unless a server has them; `user_attrs["record"]` of a trial is its record
studies/<name>/records/     records that are too long for a database field
"""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from eicompress.cache import DRAFT, disk_errors, drop_drafts, unwritable
from eicompress.errors import StudyError
from eicompress.spec import STUDY_FILE, read_study_file
from eicompress.study.asked import check, claim
from eicompress.study.database import FILE, connect, damaged, is_damage, is_empty, leave, why
from eicompress.study.ledger import Ledger
from eicompress.values import Direction

FORMAT = 2
"""The number of the form in which records are stored. A study in another form is refused, since it would be counted
wrongly."""


@contextmanager
def opened(
    folder: Path,
    asked: Mapping[str, Any],
    digests: Mapping[str, str],
    directions: Sequence[Direction] = ("maximize",),
    storage: str = "",
) -> Iterator[Ledger]:
    """The ledger of a study that is made here or goes on, held alone; `storage` is the URL of its database.
    What a killed coordinator had begun to write is removed.

    Raises `StudyError` if another process holds it, if something else was asked, or if disk or database refuse.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            check(folder, asked, digests)
            for place in ("", "*/"):
                drop_drafts(folder, f"{place}{DRAFT}*")
            connected = connect(folder, storage)
            try:
                # A database that does not answer is not remembered: its name may be mistyped.
                identity = claim(folder, asked, digests)
                ledger = _ledger(folder, connected, directions)
                ledger.study.set_user_attr("format", FORMAT)
                if storage:
                    _check_identity(ledger, identity)
                yield ledger
            finally:
                leave(connected)


def check_usable(folder: Path, storage: str) -> None:
    """Raise `StudyError` where a search could not be recorded, before anything is trained for it."""
    if refused := unwritable(folder.absolute()):
        raise StudyError(f"a study must be in a folder to write to, but {refused}: choose another `--studies`")
    if storage:
        with storage_errors(folder):
            leave(connect(folder, storage))


def read_ledger(folder: Path) -> Ledger:
    """The ledger of a study to look at; no lock is taken. Raises `StudyError`."""
    known = (folder / STUDY_FILE).is_file()
    storage = str(read_study_file(folder)["asked"].get("storage", "")) if known else ""
    if not storage and not (folder / FILE).is_file():
        raise StudyError(f"there is no study in `{folder}` (no `{FILE}`): check its name")
    with storage_errors(folder):
        try:
            return _ledger(folder, connect(folder, storage, once=True))
        except (TypeError, LookupError, RuntimeError) as error:  # of Optuna, which trusts its tables
            raise damaged(folder, f"Optuna cannot read it ({type(error).__name__}: {error})") from error


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what a full or read-only disk, or a damaged database, does to us into a `StudyError`."""
    try:
        with disk_errors(folder):
            yield
    except UnicodeDecodeError as error:  # in SQLite's own message about what it cannot read
        raise damaged(folder, "a name in it is no UTF-8") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        path = folder / FILE
        if not path.is_file():
            raise StudyError(
                f"the database of the study in `{folder}` must answer, but: {why(error)}. What is recorded is kept: "
                "see to it, and give the same command again"
            ) from error
        if is_damage(why(error)):
            raise damaged(folder, why(error)) from error
        raise StudyError(f"`{path}` must be a place to write to, but: {why(error)}") from error


def _ledger(folder: Path, storage: BaseStorage, directions: Sequence[Direction] = ()) -> Ledger:
    """`directions` are those of the objective where the study may not be there yet."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if directions:
        study = optuna.create_study(
            storage=storage, study_name=folder.name, directions=directions, load_if_exists=True, sampler=RandomSampler()
        )
    else:
        known = optuna.get_all_study_names(storage)
        if not known:
            raise is_empty(folder)
        if folder.name not in known:
            raise StudyError(
                f"a study's folder must keep its name, but the database in `{folder}` holds {' and '.join(known)}"
            )
        study = optuna.load_study(storage=storage, study_name=folder.name, sampler=RandomSampler())
    if study.user_attrs.get("baseline") and study.user_attrs.get("format") != FORMAT:
        raise StudyError(
            f"a study must have been made by this version of eicompress, but the records of the one in `{folder}` were "
            "written by another, and would be counted wrongly: look at it with that version, or give another `--study`"
        )
    return Ledger(study, folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a study's lock, which the kernel frees when the process ends, however it ends."""
    owner = folder / "owner"
    try:
        lock = FileLock(folder / "lock", blocking=False).acquire()
    except Timeout as error:
        named = owner.read_text(encoding="utf-8").strip() if owner.is_file() else "an unknown process"
        raise StudyError(
            f"a study has one coordinator, but `{folder}` is held by {named}: wait for it, or end it"
        ) from error
    with lock:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        owner.write_text(f"process {os.getpid()} on {platform.node()} since {now}\n", encoding="utf-8")
        yield
        owner.unlink(missing_ok=True)


def _check_identity(ledger: Ledger, identity: str) -> None:
    """Refuse a study of the same name on a server that belongs to another folder."""
    if ledger.study.user_attrs.setdefault("identity", identity) != identity:
        raise StudyError(
            f"the database of `--storage` has a study `{ledger.folder.name}` already, which is not the one in "
            f"`{ledger.folder}`: give another `--study`"
        )
    ledger.study.set_user_attr("identity", identity)
