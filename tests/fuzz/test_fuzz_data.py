"""Rows of data sets."""

import json
from pathlib import Path

import pytest
from fuzzing import ends_well, fuzzed, hostile, mutated_bytes
from hypothesis import example, given
from hypothesis import strategies as st

from eicompress.data.corpus import UnlabelledText
from eicompress.plugins import Registry, discover
from eicompress.spec import read
from eicompress.trials.task_data import TaskData, read_data

pytestmark = pytest.mark.slow

TASKS = ("", "classification", "pair_classification", "regression", "multi_label_classification")
LABELS = ('"music"', '"weather"', '"music "', "1", '"1"', "true", "0.5", "1.25", "2.75", "NaN", "[]", '["rain"]')


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@st.composite
def rows(draw: st.DrawFn) -> list[str]:
    """Lines of JSON: whole rows, but for up to three cells or lines with something else."""
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=3))
    count = draw(st.sampled_from((1, 9, 12, 40)))
    cells = [
        {"text": f'"text {number}"', "text_pair": f'"other {number}"', "label": labels[number % len(labels)]}
        for number in range(count)
    ]
    for _ in range(draw(st.integers(0, 2))):
        cells[draw(st.integers(0, count - 1))][draw(st.sampled_from(("text", "text_pair", "label")))] = draw(hostile)
    lines = ["{" + ", ".join(f'"{name}": {cell}' for name, cell in row.items()) + "}" for row in cells]
    if not draw(st.integers(0, 9)):
        lines[draw(st.integers(0, count - 1))] = draw(hostile)
    return lines


def labelled(*labels: str) -> list[str]:
    """40 rows with these labels in turns."""
    return [f'{{"text": "{number}", "label": {labels[number % len(labels)]}}}' for number in range(40)]


columns = st.fixed_dictionaries(
    {}, optional={role: st.sampled_from(("text", "text_pair", "label")) for role in ("text", "text_pair", "label")}
)


def _check(read: TaskData, named: dict[str, str], lines: list[str]) -> None:
    """What was read is what was written: texts that were texts, and labels that a reader can tell apart."""
    roles = {*type(read.task).columns, *(("text_pair",) * read.task.pairs)}
    assert len({named.get(role, role) for role in roles}) == len(roles), "a column is read twice"
    values = [row.get(named.get("label", "label")) for row in map(json.loads, lines)]
    if read.task.answer.kind == "label":
        looks = {" ".join(str(value).split()) for value in values}
        assert len(looks) == len({(type(value), str(value)) for value in values}), "labels that look the same are two"
        assert not [each for each in values if each != each or isinstance(each, list | dict)], f"no classes: {values}"
    for split, examples in read.examples.items():
        assert len(examples), f"{split} must have rows"
        for text in examples.texts:
            for side in (text,) if isinstance(text, str) else text:
                assert not side.startswith(("['", "{'")), f"the Python form of a list is no text: {side}"


@fuzzed(150)
@given(rows(), st.sampled_from(TASKS), columns, st.booleans())
@example([f'{{"text": ["a", "{n}"], "label": {n % 2}}}' for n in range(40)], "", {}, False)
@example(labelled("1", '"1"', "true", "2"), "", {}, False)
@example(labelled('"music"', '"music "', '"rain"'), "", {}, False)
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
JSONL = "\n".join(json.dumps({"text": f"text {number}", "label": f"label {number % 3}"}) for number in range(30))


@fuzzed(100)
@given(
    mutated_bytes(CSV.encode()) | mutated_bytes(JSONL.encode()), st.sampled_from((".csv", ".jsonl", ".txt", ".parquet"))
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
