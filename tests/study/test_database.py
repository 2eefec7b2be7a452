import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fake_builder import FIVE_DRAWS, REGISTRY, Bench, Words, bed, knobs_of
from postgres import Server, programs, server
from sqlalchemy import event

from eicompress import cli
from eicompress.errors import StudyError
from eicompress.parsing import storage
from eicompress.recipe import Recipe
from eicompress.study.coordinator import run_search
from eicompress.study.database import connect
from eicompress.study.events import Event, TrialEnded
from eicompress.study.ranking import ranked
from eicompress.study.store import opened, read_ledger, storage_errors

needs_server = pytest.mark.skipif(programs() is None, reason="no PostgreSQL on this machine: install postgresql")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as made:
        yield made


SECRETS = [
    "postgresql://me:secret@host/name",
    "postgresql://me:sec/ret@host/name",
    "postgresql://me:sec@ret@host/name",
    "postgresql://me:?sec#ret/@host/name",
    "postgresql://:secret@host/name",
    "postgresql+psycopg://me:secret@/name?host=/run",
    "postgresql://me@host/name?password=secret",
    "postgresql://me@host/name?sslpassword=secret",
    "mysql+pymysql://me@host/name?PassWd=secret",
    "postgresql://me@host/name?application_name=a&passwd=secret",
    "host=h password=secret",
    "postgresql:me:secret@host",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_password_is_refused_and_neither_shown_nor_written(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["search", "--model", "m", "--data", "d", "--budget", "2MB", "--storage", url]
    assert cli.run(asked) == 2
    shown = capsys.readouterr()
    assert re.search("`--storage` must (have no password|be the URL of a database)", shown.err)
    assert not {"secret", "sec/ret", "sec@ret", "ret"} & {*re.split(r"\W", shown.err + shown.out)}
    assert "secret" not in shown.err + shown.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres@/postgres?host=/tmp/x",
        "postgresql://host:5432/name",
        "postgresql://me@host:5432/name?passfile=/home/me/.pgpass&sslmode=require",
        "mysql+pymysql://me@host/name?read_default_file=/home/me/.my.cnf",
        "sqlite:////tmp/x.db",
    ],
)
def test_a_database_without_a_password_is_taken_as_it_is(url: str) -> None:
    assert storage(url, "--storage") == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", r"must be the URL of a database, but got `nonsense`"),
        (
            "postgresql://nobody@/none?host=/nowhere",
            r"`--storage postgresql://nobody@/none\S+ must answer, but: ",
        ),
        ("mysql+nodriver://host/name", r"must be the URL of a database"),
    ],
)
def test_a_database_that_cannot_be_used_is_said_at_once(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(StudyError, match=said), opened(tmp_path / "s", {}, {}, storage=url):
        pass


def test_a_host_that_does_not_answer_ends_the_attempt_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def refused(**words: Any) -> None:
        asked.append(words)
        raise psycopg.OperationalError("away")

    monkeypatch.setattr(psycopg, "connect", refused)
    for given in ("", "&connect_timeout=3"):
        with pytest.raises(StudyError, match="must answer"):
            connect(tmp_path, f"postgresql://me@host/name?sslmode=require{given}", once=True)
    assert [int(each["connect_timeout"]) for each in asked] == [10, 3]


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100] + b"\0" * 4000 + path.read_bytes()[4100:])


def test_a_damaged_database_is_said_and_what_was_recorded_is_drawn_again(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=3)
    first = made.run(Bench(tmp_path / "made"))
    path = tmp_path / "study" / "study.db"
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    damage(path)
    with pytest.raises(StudyError, match=r"study.db` is damaged: .*Put a copy of it back, or move it away"):
        made.run(Bench(tmp_path / "made"))
    path.unlink()
    again = made.run(Bench(tmp_path / "made"))
    assert [record.recipe for record in again.records.values()] == [record.recipe for record in first.records.values()]


def test_a_database_on_a_full_disk_is_said_and_no_record_is_lost(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=6)

    with made.ledger() as ledger:
        engine = ledger.study._storage._backend.engine  # type: ignore[attr-defined]

        @event.listens_for(engine, "before_cursor_execute")
        def refuse(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if bench.calls["build"] == 3 and not statement.startswith("SELECT"):
                raise sqlite3.OperationalError("database or disk is full")

        bench = Bench(tmp_path / "made")
        said = "study.db` must be a place to write to, but: database or disk is full"
        with pytest.raises(StudyError, match=said), storage_errors(tmp_path / "study"):
            run_search(made.search(bench, ledger, made.events.append))
    second = Bench(tmp_path / "made")
    result = made.run(second)
    assert result.counts.trained == 6
    # Three are compared at half of the length, and the best is rebuilt.
    assert second.calls["build"] == 6 - 2 + 3 + 1


@needs_server
@pytest.mark.slow
def test_a_search_in_postgresql_is_that_in_sqlite(tmp_path: Path, postgres: Server) -> None:
    recipes = []
    for place, url in (("one", ""), ("two", postgres.url)):
        (tmp_path / place).mkdir()
        made = bed(tmp_path / place, trials=12)
        made.storage = url
        result = made.run(Bench(tmp_path / "made"))
        recipes.append([record.recipe for _, record in ranked(result.records, result.objective)])
    assert recipes[0] == recipes[1]
    assert not (tmp_path / "two" / "study" / "study.db").exists()
    assert len(read_ledger(tmp_path / "two" / "study").records()) == len(result.records)
    (tmp_path / "three").mkdir()
    other = bed(tmp_path / "three", trials=3)
    other.storage = postgres.url
    with pytest.raises(StudyError, match="has a study `study` already, which is not the one in"):
        other.run(Bench(tmp_path / "made"))


@needs_server
@pytest.mark.slow
def test_a_search_goes_on_when_its_server_is_started_again(tmp_path: Path) -> None:
    with server() as own:
        made = bed(tmp_path, trials=8)
        made.storage = own.url
        starting: list[threading.Thread] = []

        def restarts(stage: str, recipe: Recipe, calls: int) -> None:
            if (stage, calls) == ("build", 4):
                own.stop()
                starting.append(threading.Timer(3.0, own.start))
                starting[0].start()

        result = made.run(Bench(tmp_path / "made", restarts))
        starting[0].join()
    assert result.counts.trained == 8
    assert sorted(record.draw for record in result.records.values()) == list(range(len(result.records)))


@needs_server
@pytest.mark.slow
def test_variants_are_queued_once_though_the_server_goes_away_before_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Words, "trains", True)
    code = FIVE_DRAWS.replace("[[slot]]", '[[slot]]\nstrategy = "words"\n\n[[slot]]', 1)
    with server() as own:
        made = bed(tmp_path, code, trials=1, budgets={"size_mb": 9.0})
        made.storage = own.url
        starting = threading.Timer(3.0, own.start)

        def leaves(event: Event) -> None:
            made.events.append(event)
            if isinstance(event, TrialEnded) and len(made.trials_ended()) == 1:
                own.stop()
                starting.start()

        with made.ledger() as ledger:
            bench = Bench(tmp_path / "made")
            result = run_search(made.search(bench, ledger, leaves))
        starting.join()
    layers = sorted(knobs_of(REGISTRY.recipe(record.recipe))[1] for record in result.records.values())
    assert layers == [1, 2, 3, 4, 5]
    assert result.counts.variants == 4
    assert sorted(record.draw for record in result.records.values()) == list(range(5))
