"""What was asked for: `study.toml`, and the settings of a search; what was recorded; and what the cache keeps."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from fake_builder import Bench, bed
from fuzzing import ends_well, fuzzed, mutated_bytes, mutated_json
from hypothesis import given, reject
from hypothesis import strategies as st

from eicompress.cache import CHECKSUMS, Cache
from eicompress.declaration import declared
from eicompress.settings import SearchSettings
from eicompress.spec import read_search
from eicompress.study.plan import found_so_far, known_spec
from eicompress.study.record_files import FILE, RECORD_BYTES, read_record

pytestmark = pytest.mark.slow

GOOD = {"model": "m", "data": "d", "budget": "2MB", "seed": 3, "limit": ["energy_mj=3"], "objective": "quality"}
HOSTILE = (
    *("true", "false", "0", "-1", "1", "1.5", "inf", "nan", "1e30", "99999999999999999999", '""', '" "', '"x"', "[]"),
    *('["a"]', '["a=1"]', "[1]", "{}", "{ a = 1 }", "[[]]", "1979-05-27", '"\\u0000"', '"1e400MB"', '"..MB"', '"٣MB"'),
    *('"²"', '"pareto:a"', '"pareto:"', '"reward"', '"=="', '"1h1h1h"', '"../x"', "9" * 5_000, '"' + "9" * 5_000 + '"'),
    '"' + "9" * 400 + 'MB"',
)


@st.composite
def study_toml(draw: st.DrawFn) -> bytes:
    asked = {
        name: draw(st.sampled_from(HOSTILE))
        for name in draw(st.sets(st.sampled_from([*declared(SearchSettings)]), max_size=5))
    }
    lines = [f"{name} = {value}" for name, value in asked.items()]
    lines += [
        line
        for line in tomli_w.dumps(GOOD).splitlines()
        if line.partition(" ")[0] not in asked and draw(st.integers(0, 9))
    ]
    head = draw(st.sampled_from(("[asked]", "[asked]", "[asked]", "[[asked]]", "asked = 3", "")))
    return "\n".join([head, *lines]).encode()


whole = b"[asked]\n" + tomli_w.dumps(GOOD).encode()


@fuzzed(300)
@given(study_toml() | mutated_bytes(whole))
def test_what_a_study_asked_for_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, written: bytes) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "studies" / "mine"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_bytes(written)
    with ends_well():
        spec = known_spec("mine", str(folder.parent))
        _use(spec)


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.lists(st.text(max_size=5))
)
some_words = st.sampled_from(
    ("2MB", "1e9MB", "2h", "1.5", "a=1", "1", "-1", "pareto:size,quality", "tpe", "reward", "x" * 300)
)


@fuzzed(500)
@given(st.dictionaries(st.sampled_from([*declared(SearchSettings)]), anything | some_words, max_size=6))
def test_what_a_search_is_asked_for_is_read_or_refused(asked: dict[str, object]) -> None:
    with ends_well():
        _use(read_search({"model": "m", "data": "d", "budget": "2MB", **asked}))


def _use(spec: object) -> None:
    for name in ("budgets", "timeout_s", "columns", "wanted", "plugin", "folder"):
        getattr(spec, name)
    tomli_w.dumps(spec.to_toml())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three trials; the record of a rebuild lies in a file of its own."""
    made = bed(tmp_path_factory.mktemp("recorded"), trials=3)
    made.run(Bench(made.root))
    with made.ledger() as ledger:
        ledger.promote(0, replace(ledger.records()[0], facts={"words": {"all": "x" * RECORD_BYTES}}))
    (made.root / "study" / "study.toml").write_bytes(whole)
    return made.root / "study"


def _copied(recorded: Path) -> Path:
    folder = recorded.parent / "damaged" / "study"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(recorded, folder)
    return folder


@fuzzed(15)
@given(st.data())
def test_a_damaged_database_is_read_or_refused_and_stays_as_it_is(recorded: Path, data: st.DataObject) -> None:
    folder = _copied(recorded)
    database = folder / "study.db"
    written = database.read_bytes()
    kind = data.draw(st.sampled_from(("record", "cut off", "bytes")))
    if kind == "record":
        _replace_a_record(database, data.draw(mutated_json({"x": 1})))
    elif kind == "cut off":
        database.write_bytes(written[: data.draw(st.just(0) | st.integers(0, len(written)))])
    else:
        database.write_bytes(data.draw(mutated_bytes(written)))
    damaged = database.read_bytes()
    with ends_well():
        found_so_far(known_spec("study", folder.parent))
    assert database.read_bytes() == damaged, "a reader makes no tables"


def _replace_a_record(file: Path, value: str) -> None:
    """In the database, of the first trial."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'record' AND trial_id = 1",
            [value.encode("utf-8", "replace").decode()],
        )


@fuzzed(200)
@given(st.data(), st.booleans())
def test_a_record_is_read_or_refused(recorded: Path, data: st.DataObject, alone: bool) -> None:
    (file,) = (recorded / "records").iterdir()
    whole = json.loads(file.read_text())
    changed = data.draw(mutated_json({"x": 1}) | mutated_json({**whole, "facts": {}}))
    if alone:
        stored = {"files": {FILE: "records/alone.json"}}
        damaged = changed.encode("utf-8", "surrogatepass")
        (recorded.parent / "records").mkdir(exist_ok=True)
        (recorded.parent / "records" / "alone.json").write_bytes(data.draw(st.just(damaged) | mutated_bytes(damaged)))
    else:
        stored = _parsed(changed)
    with ends_well():
        read = read_record(stored, recorded.parent)
        assert isinstance(read.value("quality"), int | float | None)
        assert all(isinstance(each, dict) for each in (*read.recipe, read.facts, read.files))


def _parsed(text: str) -> Any:
    """The value of a JSON text that a database of records can hold."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        reject()


@fuzzed(100)
@given(st.data())
def test_an_entry_of_the_cache_is_found_whole_or_dropped(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    cache = Cache(tmp_path_factory.getbasetemp() / "fuzzed cache")
    cache.drop("kind", "key")
    entry = cache.store("kind", "key", lambda folder: (folder / "made").write_bytes(b"what was computed"))
    name = data.draw(st.sampled_from((CHECKSUMS, CHECKSUMS, "made")))
    written = (entry / name).read_bytes()
    changed = mutated_bytes(written)
    if name == CHECKSUMS:
        changed |= mutated_json(json.loads(written)).map(lambda text: text.encode("utf-8", "surrogatepass"))
        changed |= st.integers(0, len(written)).map(lambda end: written[:end])
    (entry / name).write_bytes(data.draw(changed))
    with ends_well():
        found = cache.find("kind", "key")
        assert found is None or (found / "made").read_bytes() == b"what was computed"
