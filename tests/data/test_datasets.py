import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from eicompress.data.datasets import Dataset, Table, dataset_from_tables, read_dataset, read_tables, tables_from_hub
from eicompress.errors import DataError

COLUMNS = {"text": "text", "label": "label"}
PAIRS = {"text": "text", "text_pair": "text_pair", "label": "label"}


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"text number {n}", "label": "ab"[n % 2]} for n in range(start, start + count)]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def folder_with(folder: Path, **splits: list[dict[str, Any]]) -> str:
    for split, lines in splits.items():
        write(folder / f"{split}.jsonl", lines)
    return str(folder)


def cut(given: list[dict[str, Any]], seed: int = 0) -> Dataset:
    return dataset_from_tables({"train": Table("train.jsonl", given)}, COLUMNS, "somewhere", seed)


def test_a_folder_gives_its_three_splits_and_other_files_are_ignored(tmp_path: Path) -> None:
    source = folder_with(tmp_path, train=rows(8), validation=rows(4, 20), test=rows(2, 40), oos_train=rows(3, 60))
    (tmp_path / "README.md").write_text("not data")
    data = read_dataset(source, COLUMNS)
    assert {split: len(part) for split, part in data.splits.items()} == {
        "train": 8,
        "validation": 4,
        "test": 2,
    }
    assert data.train[3] == {"text": "text number 3", "label": "b"}
    assert data.source == source
    assert data.notes == ()


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_the_validation_file_may_have_any_of_its_usual_names(tmp_path: Path, name: str) -> None:
    data = read_dataset(folder_with(tmp_path, train=rows(10), test=rows(2, 20), **{name: rows(4, 40)}), COLUMNS)
    assert len(data.validation) == 4


def test_jsonl_csv_and_parquet_give_the_same_data(tmp_path: Path) -> None:
    given = [
        *rows(20),
        {"text": 'a comma, a "quote" and\na line', "label": "b"},
        {"text": "größer ✓", "label": "a"},
    ]
    write(tmp_path / "some.jsonl", given)
    quoted = ['"{}","{}"'.format(*(cell.replace('"', '""') for cell in row.values())) for row in given]
    (tmp_path / "some.csv").write_text("\n".join(["text,label", *quoted]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(given), tmp_path / "some.parquet")
    read = [read_dataset(str(tmp_path / f"some{suffix}"), COLUMNS) for suffix in (".jsonl", ".csv", ".parquet")]
    assert read[0].splits == read[1].splits == read[2].splits
    assert len({data.digest for data in read}) == 1


def test_rows_keep_columns_that_nobody_asked_for() -> None:
    assert cut([{**row, "id": n} for n, row in enumerate(rows(20))]).train[0].keys() == {
        "text",
        "label",
        "id",
    }


def test_missing_splits_are_cut_from_train_and_said() -> None:
    data = cut(rows(100), seed=7)
    assert [len(part) for part in data.splits.values()] == [80, 10, 10]
    assert {row["text"] for part in data.splits.values() for row in part} == {row["text"] for row in rows(100)}
    assert data.notes == (
        "There is no test split: 10 of the 100 training rows were set aside for it (seed 7).",
        "There is no validation split: 10 of the 100 training rows were set aside for it (seed 7).",
    )


def test_only_the_missing_split_is_cut(tmp_path: Path) -> None:
    data = read_dataset(folder_with(tmp_path, train=rows(50), validation=rows(5, 60)), COLUMNS)
    assert [len(part) for part in data.splits.values()] == [45, 5, 5]
    assert len(data.notes) == 1


def test_the_cut_depends_on_the_seed_alone() -> None:
    assert cut(rows(100), seed=1) == cut(rows(100), seed=1)
    assert cut(rows(100), seed=1).test != cut(rows(100), seed=2).test


def test_every_label_keeps_its_share_in_a_cut() -> None:
    given = [{"text": f"text {n}", "label": f"label {n % 10}"} for n in range(1000)]
    for part in (cut(given).validation, cut(given).test):
        assert set(Counter(row["label"] for row in part).values()) == {10}


def test_the_only_row_of_a_label_stays_in_train() -> None:
    given = [*rows(60), *({"text": f"rare {n}", "label": f"rare {n}"} for n in range(20))]
    data = cut(given)
    assert {row["label"] for row in data.train} >= {f"rare {n}" for n in range(20)}


def test_numbers_as_labels_can_be_cut() -> None:
    assert len(cut([{"text": f"text {n}", "label": n / 7} for n in range(50)]).test) == 5


def test_a_cut_needs_ten_rows() -> None:
    with pytest.raises(DataError, match=r"`train.jsonl` must have at least 10 rows .* but has 9"):
        cut(rows(9))


def test_training_rows_that_recur_later_are_left_out_and_counted(tmp_path: Path) -> None:
    later = [{"text": "Text  NUMBER 3", "label": "a"}, {"text": "new", "label": "b"}]
    data = read_dataset(folder_with(tmp_path, train=rows(10), validation=later, test=rows(2, 5)), COLUMNS)
    assert [row["text"] for row in data.train] == [f"text number {n}" for n in (0, 1, 2, 4, 7, 8, 9)]
    assert data.notes == (
        "3 training rows were left out: the same input, but for case and spacing, is in validation or test.",
    )


def test_a_pair_recurs_only_if_both_texts_do(tmp_path: Path) -> None:
    def pair(first: str, second: str) -> dict[str, str]:
        return {"text": first, "text_pair": second, "label": "a"}

    train = [pair("q", "one"), pair("q", "two"), pair("r", "one")]
    source = folder_with(tmp_path, train=train, validation=[pair("q", "two")], test=[pair("s", "one")])
    assert list(read_dataset(source, PAIRS).train) == [train[0], train[2]]


def test_a_column_is_read_in_one_role(tmp_path: Path) -> None:
    source = str(write(tmp_path / "a.jsonl", rows(20)))
    with pytest.raises(
        DataError, match="`--text-pair` must name a column of its own, but `text` is read as text already"
    ):
        read_dataset(source, {"text": "text", "text_pair": "text", "label": "label"})


def test_all_training_rows_recurring_is_an_error(tmp_path: Path) -> None:
    source = folder_with(tmp_path, train=rows(3), validation=rows(3), test=rows(3))
    with pytest.raises(DataError, match="must have training rows that are not in validation or test"):
        read_dataset(source, COLUMNS)


def test_the_digest_follows_content_and_columns_not_the_place(tmp_path: Path) -> None:
    given = [{**row, "other": row["text"]} for row in rows(20)]
    first = read_dataset(str(write(tmp_path / "a.jsonl", given)), COLUMNS)
    second = read_dataset(str(write(tmp_path / "b.jsonl", given)), COLUMNS)
    changed = read_dataset(str(write(tmp_path / "c.jsonl", [*given[:-1], {**given[-1], "label": "c"}])), COLUMNS)
    other = read_dataset(str(tmp_path / "a.jsonl"), {"text": "other", "label": "label"})
    assert first.digest == second.digest
    assert len({first.digest, changed.digest, other.digest}) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a", "label": "b"}\n{"text": "a",\n', r"line 2, must be one JSON object, but column \d+"),
        ('\n\n["text"]\n', r"line 3, must be a JSON object with a column a key, but got `\[\"text\"\]`"),
        ("\n", r"must have rows, but it is empty"),
        (
            '{"text": "a", "label": "b"}\n{"text": " ", "label": "b"}\n',
            r"row 2, column `text`, must not be empty",
        ),
        ('{"text": "a", "label": "b"}\n{"text": "a"}\n', r"row 2, column `label`, must not be empty"),
        ('{"text": 5, "label": "b"}\n', r"row 1, column `text`, must be text, but got `5`"),
        ('{"text": ["a", "b"], "label": "b"}\n', r"row 1, column `text`, must be text, but got `\[\"a\", \"b\"\]`"),
        ('{"text": "a", "label": NaN}\n', r"row 1, column `label`, must not be empty"),
        (
            '{"text": "a", "label": ' + "9" * 5_000 + "}\n",
            r"line 1, must be one JSON object, but a number has thousands",
        ),
        ("[" * 100_000 + "]" * 100_000, r"line 1, must be one JSON object, but brackets lie too deep"),
        (
            '{"utterance": "a", "label": "b"}\n',
            r"must have the column `text`, but has `utterance`, `label`.*--text",
        ),
        (
            '{"text": "a", "intent": "b"}\n',
            r"must have the column `label`, but has `text`, `intent`.*--label",
        ),
    ],
)
def test_a_bad_jsonl_file_is_named_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(DataError, match=f"`bad.jsonl`.*{message}"):
        read_dataset(str(tmp_path / "bad.jsonl"), COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\na,b,c\n", r"line 2, must have 2 cells as the header has, but has more"),
        ("text,label\na\n", r"row 1, column `label`, must not be empty"),
        ('text,label\n"a,b\n', r"line \d, must be CSV"),
        ("text,text\na,b\n", r"must name each column once, but `text` comes twice"),
        ("", r"must have rows, but it is empty"),
        ("text,label\n", r"must have rows, but it is empty"),
    ],
)
def test_a_bad_csv_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=f"`bad.csv`.*{message}"):
        read_dataset(str(tmp_path / "bad.csv"), COLUMNS)


def test_a_broken_parquet_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"`bad.parquet` must be a Parquet file"):
        read_dataset(str(tmp_path / "bad.parquet"), COLUMNS)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("text,label\ngrößer,a\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"`latin.csv` must be UTF-8"):
        read_dataset(str(tmp_path / "latin.csv"), COLUMNS)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(DataError, match=r"but `\./nowhere/data` does not exist"):
        read_tables("./nowhere/data")


def test_a_folder_without_a_train_file_lists_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must have a train file .* but holds `test.jsonl`"):
        read_tables(folder_with(tmp_path, test=rows(3)))


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one file for validation, but has `dev.jsonl`, `validation.jsonl`"):
        read_tables(folder_with(tmp_path, train=rows(3), dev=rows(3), validation=rows(3)))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.xlsx").write_bytes(b"")
    with pytest.raises(DataError, match=r"must end in `.jsonl`, `.csv`, `.parquet`, but got `data.xlsx`"):
        read_tables(str(tmp_path / "data.xlsx"))


def test_an_unknown_builtin_is_offered_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean `builtin:docstrings`"):
        read_tables("builtin:docstring")


def test_hub_splits_get_class_names_and_lose_hidden_labels() -> None:
    from datasets import ClassLabel, DatasetDict, Features, Value
    from datasets import Dataset as HubDataset

    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    part = {"text": ["a", "b"], "label": [0, 1]}
    loaded = DatasetDict(
        train=HubDataset.from_dict(part, features=features),
        dev=HubDataset.from_dict(part, features=features),
        test=HubDataset.from_dict({"text": ["c"], "label": [-1]}, features=features),
    )
    tables = tables_from_hub(loaded, "some/name")
    assert tables["train"].rows == [{"text": "a", "label": "no"}, {"text": "b", "label": "yes"}]
    assert list(tables) == ["train", "validation"]


def test_reading_imports_no_heavy_library(tmp_path: Path) -> None:
    source = write(tmp_path / "some.jsonl", rows(20))
    script = (
        "import sys\nfrom eicompress.data.datasets import read_dataset\n"
        f"read_dataset({str(source)!r}, {COLUMNS!r})\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
