"""Texts that belong to no label, in files of their own beside the splits: `oos_validation` and `oos_test`."""

from collections.abc import Mapping
from pathlib import Path

from eicompress.data.datasets import SPLIT_NAMES, Refusal, Table, check_rows
from eicompress.data.files import SUFFIXES, read_rows
from eicompress.errors import DataError, listed
from eicompress.values import INPUTS, Text, readable

PREFIX = "oos_"
"""Of a file's name, before that of its split."""


def read_outside(source: str, columns: Mapping[str, str], refusal: Refusal) -> dict[str, Table]:
    """The rows outside of all labels that a folder holds, by split, checked; `columns` by role, labels are not read.

    Raises `DataError`.
    """
    folder, found = Path(source).expanduser(), {}
    if not folder.is_dir():
        return {}
    inputs = {role: column for role, column in columns.items() if role in INPUTS}
    for split in ("validation", "test"):
        names = {PREFIX + name + suffix for name in SPLIT_NAMES[split] for suffix in SUFFIXES}
        files = sorted(path for path in folder.iterdir() if path.name in names and path.is_file())
        if len(files) > 1:
            raise DataError(
                f"`{folder}` must have one of {listed(path.name for path in files)}, but has all. Keep one."
            )
        for path in files:
            found[split] = Table(path.name, read_rows(path))
            check_rows(found[split], inputs, refusal)
    return found


def texts_of(table: Table, columns: Mapping[str, str]) -> tuple[Text, ...]:
    """The inputs of rows, texts or pairs of texts."""
    first, second = columns["text"], columns.get("text_pair")
    return tuple(
        readable(row[first]) if second is None else (readable(row[first]), readable(row[second])) for row in table.rows
    )
