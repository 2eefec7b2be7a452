"""Rows of data sets."""

import json
from pathlib import Path

import pytest
from fuzzing import ends_well, fuzzed, hostile, mutated_bytes, mutated_json
from hypothesis import example, given
from hypothesis import strategies as st

from eicompress.data.corpus import UnlabelledText
from eicompress.plugins import Registry, discover
from eicompress.spec import read
from eicompress.trials.task_data import TaskData, read_data
from eicompress.values import readable

pytestmark = pytest.mark.slow

TASKS = ("", "classification", "pair_classification", "regression", "multi_label_classification")
LABELS = (
    *('"music"', '"weather"', '"music "', "1", '"1"', "true", "0.5", "1.25", "2.75"),
    *("NaN", "[]", '["rain"]', '"\\ud800"'),
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


roles = st.sampled_from(("text", "text_pair", "label"))


def look_alike(label: str) -> st.SearchStrategy[str]:
    """Labels that a reader takes for this one."""
    value = json.loads(label)
    same = [str(value), f"{value} ", f" {value}", *([1, True] if str(value) in ("1", "True") else [])]
    return st.sampled_from(same).map(json.dumps)


ODD = ("nothing",) * 3 + ("labels", "look-alike", "cells") * 2 + ("label of one row", "line")


@st.composite
def rows(draw: st.DrawFn) -> list[str]:
    """Lines of JSON: whole rows, but for their labels, for up to two cells, or for a line with something else."""
    odd = draw(st.sampled_from(ODD))
    labels = ['"music"', '"weather"', "3"]
    if odd in ("labels", "look-alike"):
        labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=3))
    if odd == "look-alike":
        labels = [*labels, draw(look_alike(draw(st.sampled_from(labels)))), '"music"']
    count = draw(st.sampled_from((1, 9, 12, 40)))
    cells = [
        {"text": f'"text {number}"', "text_pair": f'"other {number}"', "label": labels[number % len(labels)]}
        for number in range(count)
    ]
    if odd == "label of one row":
        cells = [{**row, "label": f"{number}"} for number, row in enumerate(cells)]
    if odd == "cells":
        for _ in range(draw(st.integers(1, 2))):
            cells[draw(st.integers(0, count - 1))][draw(roles)] = draw(hostile)
    lines = ["{" + ", ".join(f'"{name}": {cell}' for name, cell in row.items()) + "}" for row in cells]
    if odd == "line":
        lines[draw(st.integers(0, count - 1))] = draw(hostile)
    return lines


def labelled(*labels: str) -> list[str]:
    """40 rows with these labels in turns."""
    return [f'{{"text": "{number}", "label": {labels[number % len(labels)]}}}' for number in range(40)]


columns = st.just({}) | st.dictionaries(roles, roles, min_size=1, max_size=1) | st.dictionaries(roles, roles)


def _check(read: TaskData, named: dict[str, str], lines: list[str]) -> None:
    """What was read is what was written: texts that were texts, and labels that a reader can tell apart."""
    there = {*type(read.task).columns, *(("text_pair",) * read.task.pairs)}
    assert len({named.get(role, role) for role in there}) == len(there), "a column is read twice"
    rows = [json.loads(line) for line in lines]
    values = [row.get(named.get("label", "label")) for row in rows]
    if read.task.answer.kind == "label":
        different = len({(type(value), str(value)) for value in values})
        for alike in (values, [int(value) if isinstance(value, bool) else value for value in values]):
            assert len({" ".join(str(each).split()) for each in alike}) == different, "labels look the same and are two"
        assert not [each for each in values if each != each or isinstance(each, list | dict)], f"no classes: {values}"
    texts = {readable(cell) for row in rows for cell in row.values() if isinstance(cell, str)}
    for split, examples in read.examples.items():
        assert len(examples), f"{split} must have rows"
        for text in examples.texts:
            for side in (text,) if isinstance(text, str) else text:
                assert side in texts, f"no text was written so, as the Python form of a list is not: {side}"
                side.encode()  # no lone surrogate, at which tokenizers panic
    for name in read.task.answer.names:
        name.encode()  # no lone surrogate, which no terminal prints


@fuzzed(150)
@given(rows(), st.sampled_from(TASKS), columns, st.booleans())
@example([f'{{"text": ["a", "{n}"], "label": {n % 2}}}' for n in range(40)], "", {}, False)
@example(labelled("1", '"1"', "true", "2"), "", {}, False)
@example(labelled('"music"', '"music "', '"rain"'), "", {}, False)
@example(labelled("1", "1", '"music"', '"1"', '"music"')[:12], "", {}, False)
@example(["[" * 100_000 + "]" * 100_000] * 20, "", {}, False)
@example(labelled("1", "NaN"), "", {}, False)
@example(labelled('{"a": 1}', '{"a": 2}'), "", {}, False)
@example([f'{{"text": "{n}", "label": {n}}}' for n in range(60)], "classification", {}, False)
@example(labelled("1", "2"), "", {"text_pair": "text"}, False)
def test_rows_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    registry: Registry,
    lines: list[str],
    task: str,
    named: dict[str, str],
    split: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed data"
    folder.mkdir(exist_ok=True)
    for name in ("train", "validation", "test"):
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    source = folder if split else folder / "train.jsonl"
    with ends_well():
        spec = read({"model": "-", "data": str(source), "task": task, **named})
        _check(read_data(registry, spec), named, [line for line in lines if line.strip()])


CSV = "text,label\n" + "\n".join(f'"text, {number}",{"music" if number % 2 else "rain"}' for number in range(30))
ROWS = [{"text": f"text {number}", "label": f"label {number % 3}"} for number in range(30)]
JSONL = "\n".join(map(json.dumps, ROWS))
mutated_rows = st.lists(mutated_json(ROWS[0]), min_size=1, max_size=3).map("\n".join)


@fuzzed(100)
@given(
    mutated_bytes(CSV.encode())
    | mutated_bytes(JSONL.encode())
    | mutated_rows.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from((".csv", ".jsonl", ".jsonl", ".txt", ".parquet")),
)
@example(b'{"text": ["a", "b"]}', ".jsonl")
@example(b"[" * 100_000, ".jsonl")
@example(b"label,text\none\n", ".csv")
def test_unlabelled_texts_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    file: Path = tmp_path_factory.getbasetemp() / f"unlabelled{suffix}"
    file.write_bytes(data)
    with ends_well():
        text = UnlabelledText((str(file),))
        assert text.digest and text.note() == ""
        for sentence in text:
            assert not sentence.startswith("['"), f"the Python form of a list is no text: {sentence}"


@fuzzed(200)
@given(mutated_bytes(CSV.encode()) | mutated_bytes(JSONL.encode()), st.sampled_from((".csv", ".jsonl", ".parquet")))
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    file: Path = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
    file.write_bytes(data)
    with ends_well():
        read_data(discover(), read({"model": "-", "data": str(file)}))
