import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from optuna.trial import TrialState

from eicompress.errors import SpecError, StudyError
from eicompress.recipe import Recipe
from eicompress.study.ask_and_tell import RESTARTS, Draw, Draws
from eicompress.study.ledger import Ledger
from eicompress.study.objective import Objective
from eicompress.study.record_files import RECORD_BYTES
from eicompress.study.resume import recover
from eicompress.study.store import FORMAT, opened, read_ledger
from eicompress.values import Measurement, Record, Rung

ASKED = {"model": "teacher", "data": "rows", "budget": "2MB", "seed": 0}
DIGESTS = {"inputs": "aa", "teachers": "tt", "space": "bb"}
OBJECTIVE = Objective("quality", {"size_mb": 2.0})


@contextmanager
def ledger_in(folder: Path) -> Iterator[Ledger]:
    with opened(folder, ASKED, DIGESTS) as ledger:
        yield ledger


def record(outcome: str = "complete", trained: bool = True, size: float = 1.0, **more: object) -> Record:
    measured = (Measurement("size_mb", size, "MB"), Measurement("quality", 0.9, ""))
    return Record(recipe=(), draw=0, outcome=outcome, trained=trained, measurements=measured, **more)  # type: ignore[arg-type]


def drawn(draws: Draws) -> Draw:
    draw = draws.ask("tpe", seed=0)
    draws.note(draw, Recipe(()))
    return draw


def tell(ledger: Ledger, record: Record) -> None:
    draws = Draws.of(ledger)
    draws.tell(drawn(draws), record, OBJECTIVE)


def states(ledger: Ledger) -> list[TrialState]:
    return [trial.state for trial in ledger.study.get_trials()]


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        tell(ledger, record())
    assert read_ledger(tmp_path / "s").records() == {0: record()}


@pytest.mark.parametrize(
    ("found", "state", "constraints"),
    [
        (record(), TrialState.COMPLETE, {"size_mb": -0.5}),
        (record(size=3.0), TrialState.COMPLETE, {"size_mb": 0.5}),
        (record("over budget", trained=False, size=3.0), TrialState.PRUNED, {"size_mb": 0.5}),
        (Record(recipe=(), draw=0, outcome="inapplicable"), TrialState.PRUNED, {"size_mb": 1.0}),
        (Record(recipe=(), draw=0, outcome="failed"), TrialState.FAIL, {}),
    ],
)
def test_every_outcome_is_reported_with_its_constraints(
    tmp_path: Path, found: Record, state: TrialState, constraints: dict[str, float]
) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        tell(ledger, found)
        (trial,) = ledger.study.get_trials()
    assert trial.state == state
    assert trial.constraints == constraints


def test_the_database_is_in_wal_mode(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        drawn(Draws.of(ledger))
        assert (tmp_path / "s" / "study.db-wal").is_file()


def long_record(**more: object) -> Record:
    return record(facts={"words": {"all": "x" * RECORD_BYTES}}, **more)


def test_a_record_too_long_for_the_database_reads_back_whole(tmp_path: Path) -> None:
    long = long_record(repeat_of=3, rungs=(Rung(0.1, 0.5, 2.0),), recorded_s=4.0)
    with ledger_in(tmp_path / "s") as ledger:
        tell(ledger, long)
        ledger.set_baseline(long)
        ledger.promote(0, long)
        (stored,) = ledger.study.get_trials()
    assert len(json.dumps(stored.user_attrs["record"])) < RECORD_BYTES
    assert stored.user_attrs["record"]["repeat_of"] == 3
    again = read_ledger(tmp_path / "s")
    assert (again.records(), again.baseline(), again.rebuilds()) == ({0: long}, long, {0: (long,)})


def test_a_study_that_was_moved_finds_its_long_records(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "here" / "s") as ledger:
        tell(ledger, long_record())
    (tmp_path / "here").rename(tmp_path / "there")
    assert read_ledger(tmp_path / "there" / "s").records() == {0: long_record()}


def test_a_long_record_whose_file_is_gone_is_said(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        tell(ledger, long_record())
    shutil.rmtree(tmp_path / "s" / "records")
    with pytest.raises(StudyError, match=r"records/\w+.json` must be there, .* too long for the study's database"):
        read_ledger(tmp_path / "s").records()


@pytest.mark.parametrize(
    "value",
    [
        {"x": 1},
        [],
        None,
        {**record().to_json(), "files": None},
        {**record().to_json(), "outcome": "won"},
        {**record().to_json(), "measurements": [{"name": "quality", "value": "high", "unit": ""}]},
        {**record().to_json(), "recipe": [3]},
    ],
)
def test_a_record_that_is_none_is_said(tmp_path: Path, value: object) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        tell(ledger, record())
    with closing(sqlite3.connect(tmp_path / "s" / "study.db")) as database, database:
        database.execute("UPDATE trial_user_attributes SET value_json = ? WHERE key = 'record'", [json.dumps(value)])
    with pytest.raises(StudyError, match=r"must be as eicompress wrote it, but is `.*put a copy of it back"):
        read_ledger(tmp_path / "s").records()


@pytest.mark.parametrize("value", [None, "", "{", "9" * 5_000, "[" * 100_000 + "]" * 100_000])
@pytest.mark.parametrize(
    ("table", "what"),
    [("trial_user_attributes", "trial 0 cannot"), ("study_user_attributes", "(its studies|what the study .*) cannot")],
)
def test_a_value_in_the_database_that_is_no_json_is_said(
    tmp_path: Path, table: str, what: str, value: str | None
) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        tell(ledger, record())
    with closing(sqlite3.connect(tmp_path / "s" / "study.db")) as database, database:
        database.execute(f"UPDATE {table} SET value_json = ?", [value])
    with pytest.raises(StudyError, match=rf"study.db` is damaged: {what} be read \(\w+\). Put a copy of it back"):
        read_ledger(tmp_path / "s").records()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE trial_user_attributes SET value_json = CAST(x'ff61' AS TEXT)", "Could not decode"),
        ("ALTER TABLE trial_params RENAME TO trial_prams", "a table of it is missing"),
        ("ALTER TABLE trials RENAME COLUMN state TO stage", "no such column"),
        ("UPDATE alembic_version SET version_num = 'v9'", r"Optuna cannot read it \(RuntimeError: "),
        (
            "UPDATE study_user_attributes SET key = x'ff61' WHERE key = 'format'",
            r"what the study knows .* \(TypeError\)",
        ),
        ("UPDATE trials SET state = 'WON'", r"its trials cannot be read \(LookupError\)"),
        ("UPDATE trials SET datetime_start = 'yesterday'", r"its trials cannot be read \(ValueError\)"),
        ("INSERT INTO trial_params VALUES (9, 1, 'x', 1.0, '{}')", r"trial 0 cannot be read \(KeyError\)"),
    ],
)
def test_a_damaged_row_of_the_database_is_said(tmp_path: Path, change: str, said: str) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        ledger.set_seconds(1.0)
        tell(ledger, record())
    with closing(sqlite3.connect(tmp_path / "s" / "study.db")) as database, database:
        database.execute(change)
    with pytest.raises(StudyError, match=rf"study.db` is damaged: {said}.* Put a copy of it back"):
        read_ledger(tmp_path / "s").records()


@pytest.mark.parametrize("value", ['[{"nam": "a"}]', '[{"name": "a", "x": 1}]', "[3]", "3"])
def test_metrics_that_are_none_are_said(tmp_path: Path, value: str) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        ledger.study.set_user_attr("metrics", json.loads(value))
    with pytest.raises(StudyError, match=r"study.db` is damaged: its metrics cannot be read \(\w+\)"):
        read_ledger(tmp_path / "s").metrics()


def test_a_damaged_name_in_the_database_is_said(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s"):
        pass
    path = tmp_path / "s" / "study.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE studies", b"CREATE TABLE stu\xffies"))
    with pytest.raises(StudyError, match=r"study.db` is damaged: .* Put a copy of it back"):
        read_ledger(tmp_path / "s")


def test_a_page_of_the_database_that_is_damaged_is_said_when_it_is_read(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        tell(ledger, record())
    path = tmp_path / "s" / "study.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'trials'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    whole = path.read_bytes()
    path.write_bytes(whole[: (root - 1) * size] + b"\xff" * size + whole[root * size :])
    ledger = read_ledger(tmp_path / "s")
    with pytest.raises(StudyError, match=r"study.db` is damaged: .*malformed.* Put a copy of it back"):
        ledger.records()


def test_a_long_record_whose_file_is_damaged_is_said(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        tell(ledger, long_record())
    (file,) = (tmp_path / "s" / "records").iterdir()
    none = "must be a record in JSON"
    for text, said in ((b"\xff", none), (b"[" * 100_000, none), (b'{"x": 1}', "must be as eicompress wrote it")):
        file.write_bytes(text)
        with pytest.raises(StudyError, match=said):
            read_ledger(tmp_path / "s").records()


def test_an_empty_database_is_said_and_stays_empty_for_the_search_that_makes_it(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s"):
        pass
    for end in ("", "-wal", "-shm"):
        (tmp_path / "s" / f"study.db{end}").unlink(missing_ok=True)
    (tmp_path / "s" / "study.db").touch()
    with pytest.raises(StudyError, match="must hold the study, but is empty"):
        read_ledger(tmp_path / "s")
    assert (tmp_path / "s" / "study.db").stat().st_size == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("asked = 3", r"must have `\[asked\]` as a table, but got `3`: put"),
        ('asked = ["' + "9" * 90 + '"]', r"as a table, but got `\['9{55}\.\.\.`: put"),
        ("digests = []", r"must have `\[digests\]` as a table"),
        ('[asked]\nengine = "ray"', "only settings that a study is known by under `.asked.`, but has `engine`"),
        ('[asked]\nbudgets = "2MB"', "but has `budgets`"),
    ],
)
def test_a_study_file_that_is_none_is_said(tmp_path: Path, text: str, said: str) -> None:
    with ledger_in(tmp_path / "s"):
        pass
    (tmp_path / "s" / "study.toml").write_text(text)
    with pytest.raises(SpecError, match=said):
        read_ledger(tmp_path / "s")
    with pytest.raises(SpecError, match=said), ledger_in(tmp_path / "s"):
        pass


def test_a_database_that_was_not_reached_is_not_remembered(tmp_path: Path) -> None:
    with (
        pytest.raises(StudyError, match="must answer"),
        opened(tmp_path / "s", {**ASKED, "storage": "x"}, DIGESTS, storage="sqlite:////nowhere/mistyped.db"),
    ):
        pass
    with ledger_in(tmp_path / "s"):
        pass


def test_a_study_whose_records_have_another_form_is_refused(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        ledger.set_baseline(record())
        ledger.study.set_user_attr("format", FORMAT - 1)
    said = "must have been made by this version of eicompress, but the records of the one in"
    with pytest.raises(StudyError, match=said):
        read_ledger(tmp_path / "s")
    with pytest.raises(StudyError, match=said), ledger_in(tmp_path / "s"):
        pass


def test_a_stale_trial_with_a_record_ends_as_it_says(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        ledger.write(drawn(Draws.of(ledger)).number, record())
    with ledger_in(tmp_path / "s") as ledger:
        recovered = recover(ledger, OBJECTIVE)
        assert (recovered.recorded, recovered.again) == (1, 0)
        assert states(ledger) == [TrialState.COMPLETE]


def test_a_stale_trial_without_a_record_runs_again_with_its_draw(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        draws = Draws.of(ledger)
        draw = draws.ask("tpe", seed=0)
        value = draw.trial.suggest_float("x", 0.0, 1.0)
        draws.note(draw, Recipe(()))
    with ledger_in(tmp_path / "s") as ledger:
        assert recover(ledger, OBJECTIVE).again == 1
        draws = Draws.of(ledger)
        again = drawn(draws)
        assert again.index == draw.index
        assert again.trial.suggest_float("x", 0.0, 1.0) == value
        assert drawn(draws).index == 1


def test_a_trial_that_keeps_killing_its_process_is_given_up(tmp_path: Path) -> None:
    for start in range(RESTARTS + 1):
        with ledger_in(tmp_path / "s") as ledger:
            assert recover(ledger, OBJECTIVE).again == (start > 0)
            drawn(Draws.of(ledger))
    with ledger_in(tmp_path / "s") as ledger:
        assert recover(ledger, OBJECTIVE).given_up == 1
        (failed,) = ledger.records().values()
    assert failed.outcome == "failed"
    assert "3 times" in failed.reason


def test_interruptions_by_the_user_are_not_held_against_a_trial(tmp_path: Path) -> None:
    for _ in range(RESTARTS + 3):
        with ledger_in(tmp_path / "s") as ledger:
            assert recover(ledger, OBJECTIVE).given_up == 0
            draws = Draws.of(ledger)
            draws.interrupt(drawn(draws))


def test_other_inputs_are_refused_with_the_difference(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s"):
        pass
    with (
        pytest.raises(StudyError, match=r"(?s)`budget` was `2MB`, and is `1MB`.*contents of model or data"),
        opened(tmp_path / "s", {**ASKED, "budget": "1MB"}, {**DIGESTS, "inputs": "cc"}),
    ):
        pass


def test_other_teachers_are_refused_and_another_path_to_the_same_is_not(tmp_path: Path) -> None:
    with opened(tmp_path / "s", {**ASKED, "teacher": ["xlnet"]}, DIGESTS):
        pass
    with opened(tmp_path / "s", {**ASKED, "teacher": ["moved/xlnet"]}, DIGESTS):
        pass
    with (
        pytest.raises(StudyError, match=r"(?s)`teacher` was `\['xlnet'\]`, and is not given.*what the teachers answer"),
        opened(tmp_path / "s", ASKED, {**DIGESTS, "teachers": "uu"}),
    ):
        pass


def test_the_same_bytes_under_another_path_are_the_same_inputs(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s"):
        pass
    with opened(tmp_path / "s", {**ASKED, "model": "elsewhere/teacher"}, DIGESTS) as ledger:
        assert ledger.records() == {}


def test_a_second_coordinator_is_refused_with_who_holds_the_study(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom eicompress.study.store import opened\n"
        f"with opened(Path(sys.argv[1]), {ASKED!r}, {DIGESTS!r}):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "s")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StudyError, match=f"is held by process {holder.pid} on"),
            ledger_in(tmp_path / "s"),
        ):
            pass
        holder.kill()
    with ledger_in(tmp_path / "s") as ledger:
        assert ledger.records() == {}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file, not a folder")
    with (
        pytest.raises(StudyError, match="must be a place to write to"),
        ledger_in(tmp_path / "studies" / "s"),
    ):
        pass


def test_promoted_records_and_seconds_are_kept(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "s") as ledger:
        ledger.promote(4, record())
        ledger.set_seconds(12.5)
    again = read_ledger(tmp_path / "s")
    assert again.rebuilds() == {4: (record(),)}
    assert again.seconds() == 12.5


def test_a_study_whose_folder_was_renamed_is_said_so(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "first"):
        pass
    (tmp_path / "first").rename(tmp_path / "second")
    with pytest.raises(StudyError, match=r"must keep its name, but the database in .*second` holds first"):
        read_ledger(tmp_path / "second")


def test_a_study_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there is no study in"):
        read_ledger(tmp_path / "none")
