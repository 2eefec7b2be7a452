"""Where Optuna keeps a study: SQLite in the study's folder, or a database server that several studies share."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from eicompress.errors import StudyError
from eicompress.study.optuna_private import CheckedStorage

FILE = "study.db"
VERSION = "alembic_version"
"""The table with the version of Optuna's tables."""
CONNECT_SECONDS = 10
"""Seconds that a connection to PostgreSQL may take, unless its URL sets `connect_timeout`; a host that drops packets
would hold a command for minutes."""
PATIENCE_SECONDS = 600.0
"""Seconds that a server may be unreachable, for example while it restarts."""
EXTRAS = {"psycopg": "postgres"}
"""The extra of ours that installs a driver."""

Answer = TypeVar("Answer")


def connect(folder: Path, url: str, *, once: bool = False) -> RDBStorage:
    """The storage at `url`, or in the folder where that is empty; `once` for what is read and left again.

    A reader makes no tables: it would be in the way of the search that makes them. Raises `StudyError`.
    """
    pool: dict[str, Any] = {"poolclass": NullPool} if once else {}
    if not url:
        creator = {"creator": lambda: _sqlite(folder / FILE, journal=not once)}
        return _storage(folder, f"sqlite:///{folder / FILE}", {**creator, **pool}, made=once)
    try:
        # A connection that broke while nobody used it is made again.
        url_of_driver = _with_driver(url)
        return _storage(folder, url_of_driver, {"pool_pre_ping": True, **_patience(url_of_driver), **pool}, made=once)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise StudyError(
            f"`--storage` must be the URL of a database, but got `{url}`: write for example "
            "postgresql://user@host/database"
        ) from error
    except ImportError as error:
        missing = next((driver for driver in EXTRAS if driver in str(error)), "")
        remedy = f"pip install 'eicompress[{EXTRAS[missing]}]'" if missing else "install its driver"
        raise StudyError(f"`--storage {url}` needs a driver that is not installed: {remedy}") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StudyError(f"`--storage {url}` must answer, but: {why(error)}") from error


def is_empty(folder: Path) -> StudyError:
    """The error of a reader that finds no study in the database."""
    return StudyError(
        f"the database of the study in `{folder}` must hold the study, but is empty: put a copy of it back, or give "
        "the search's command again"
    )


def leave(storage: RDBStorage) -> None:
    """Close its connections."""
    storage.remove_session()
    storage.engine.dispose()


def lasting(call: Callable[[], Answer]) -> Answer:
    """The result of the call, which is repeated while the server is unreachable and so must be idempotent."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except (SQLAlchemyError, StorageInternalError) as error:
            if not _is_away(error) or time.monotonic() > end:
                raise
            time.sleep(1.0)


def damaged(folder: Path, reason: str) -> StudyError:
    """The error of a database that is there and cannot be read."""
    path = folder / FILE
    named = f"`{path}`" if path.is_file() else f"the database of the study in `{folder}`"
    return StudyError(
        f"{named} is damaged: {reason}. Put a copy of it back, or move it away: the same command then "
        "draws the same trials again, and takes from the cache what was trained"
    )


def is_damage(reason: str) -> bool:
    """True where the database's own error message speaks of damage."""
    return any(word in reason for word in ("malformed", "not a database", "corrupt", "decode", "no such"))


def why(error: BaseException) -> str:
    """The first line of the database's own error message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0]


def _storage(folder: Path, url: str, engine: dict[str, Any], *, made: bool) -> RDBStorage:
    """`made` for one whose tables must be there."""
    if made and not _has_tables(create_engine(url, **engine)):
        raise is_empty(folder)
    try:
        storage = CheckedStorage(url, engine, lambda reason: damaged(folder, reason))
    except (SQLAlchemyError, StorageInternalError) as error:
        if made and "readonly" in why(error):  # Optuna makes what is not there
            raise damaged(folder, "a table of it is missing") from error
        raise

    def on_error(context: ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, sqlite3.Error) and is_damage(why(error)):  # a server that is away says "no such" too
            raise damaged(folder, why(error)) from error

    event.listen(storage.engine, "handle_error", on_error)
    return storage


def _has_tables(engine: Engine) -> bool:
    """False until Optuna has written the version of its tables, which is the last of what it makes."""
    with engine.connect() as connection:
        return inspect(connection).has_table(VERSION) and bool(
            connection.execute(select(text("version_num")).select_from(text(VERSION))).first()
        )


def _is_away(error: BaseException) -> bool:
    """True for a server that does not answer; a file is never away."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OperationalError | InterfaceError):
            return not isinstance(found.orig, sqlite3.Error)
        found = found.__cause__
    return False


def _sqlite(path: Path, *, journal: bool) -> sqlite3.Connection:
    """`journal` for one that writes: readers do not block it, and it does not block them. They write nothing."""
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    if journal:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    else:
        connection.execute("PRAGMA query_only=ON")
    return connection


def _patience(url: str) -> dict[str, Any]:
    """What ends an attempt to connect."""
    made = make_url(url)
    limited = made.drivername == "postgresql+psycopg" and "connect_timeout" not in made.query
    return {"connect_args": {"connect_timeout": CONNECT_SECONDS}} if limited else {}


def _with_driver(url: str) -> str:
    """PostgreSQL by the driver that we install."""
    scheme, colon, rest = url.partition(":")
    return f"postgresql+psycopg{colon}{rest}" if scheme in ("postgresql", "postgres") else url
