import json
from pathlib import Path

import pytest

from eicompress.data.outside import read_outside, texts_of
from eicompress.errors import DataError
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.trials.task_data import TaskData, read_data


def opened(folder: Path, **files: list[dict[str, object]]) -> TaskData:
    rows = [{"text": f"row {at}", "label": "ab"[at % 2]} for at in range(20)]
    for name, written in {"train": rows, **files}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, written)))
    return read_data(discover(), read({"model": "-", "data": str(folder)}))


def test_texts_outside_are_found_by_the_names_of_their_files_and_said(tmp_path: Path) -> None:
    plain = opened(tmp_path)
    found = opened(tmp_path, oos_val=[{"text": "what", "label": "oos"}], oos_test=[{"text": "who"}, {"text": "why"}])
    assert found.examples["validation"].outside == ("what",) and found.examples["test"].outside == ("who", "why")
    assert found.examples["train"].outside == ()
    assert found.notes[-1] == (
        "Texts that belong to no label: 1 in `oos_val.jsonl` and 2 in `oos_test.jsonl`. The threshold of `predict "
        "--reject` is chosen on those of validation."
    )
    assert found.digest != plain.digest, "a threshold depends on them"


def test_a_row_without_a_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`oos_test.jsonl`, row 2, column `text`, must be text, but got"):
        opened(tmp_path, oos_test=[{"text": "who"}, {"text": 3}])


def test_a_split_has_one_file_of_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must have one of `oos_val.jsonl`, `oos_validation.jsonl`, but has all"):
        opened(tmp_path, oos_val=[{"text": "who"}], oos_validation=[{"text": "who"}])


def test_pairs_are_read_as_pairs(tmp_path: Path) -> None:
    (tmp_path / "oos_test.jsonl").write_text(json.dumps({"q": "who", "a": "me"}))
    columns = {"text": "q", "text_pair": "a", "label": "y"}
    table = read_outside(str(tmp_path), columns, lambda role, row, columns: "")["test"]
    assert texts_of(table, columns) == (("who", "me"),)
    assert read_outside(str(tmp_path / "oos_test.jsonl"), columns, lambda role, row, columns: "") == {}
