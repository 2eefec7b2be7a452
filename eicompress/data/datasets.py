"""Read a data set: rows from a file, a folder, the hub or `builtin:docstrings`, in three splits, checked.

Rows have all their columns; a task picks its own. JSONL and CSV need no library.
"""

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from eicompress.data.files import SUFFIXES, read_rows
from eicompress.data.hub import HUB_NAME, from_hub
from eicompress.data.quickstart import docstrings
from eicompress.data.sampling import fewer
from eicompress.errors import DataError, listed, nearest, shortened
from eicompress.values import INPUTS, Json, seed_of

if TYPE_CHECKING:
    from datasets import DatasetDict

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
"""What a file or a hub split may be called, by the split it is read as."""

FEWEST_ROWS_TO_CUT = 10
NAMED_BY_OPTION = ("text", "text_pair", "label")
"""Roles whose column an option of this name gives."""

Refusal: TypeAlias = Callable[[str, Json, Mapping[str, str]], str]
"""From a role, a row and the columns by role to what the cell must be and is not; empty for one that will do."""


@dataclass(frozen=True)
class Dataset:
    """Rows of three splits, each row a mapping from column to value."""

    train: tuple[Json, ...]
    validation: tuple[Json, ...]
    test: tuple[Json, ...]
    source: str
    """As the user typed it."""
    digest: str
    """Of the rows and of the columns in use: 16 hexadecimal digits."""
    notes: tuple[str, ...] = ()
    """What was cut or left out, for the user to read."""

    @property
    def splits(self) -> dict[str, tuple[Json, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class Table:
    """The rows of one split as they came, with the file or hub split that an error message names."""

    origin: str
    rows: Sequence[Json]


def read_dataset(source: str, columns: Mapping[str, str], seed: int = 0) -> Dataset:
    """The data set that `source` names: a folder, a file, a name on the hub, a built-in.

    `columns` gives each role its column: `{"text": "text", "label": "label"}`, perhaps with `text_pair`.
    A model reads `text` and `text_pair`. `name:config` picks a configuration on the hub. A split that is missing
    is cut from train with the seed. Raises `DataError`.
    """
    return dataset_from_tables(read_tables(source), columns, source, seed)


def read_tables(source: str) -> dict[str, Table]:
    """The splits that `source` holds, unchecked and uncut; `train` is always there. Raises `DataError`."""
    path = Path(source).expanduser()
    if source.startswith("builtin:"):
        return _builtin_tables(source)
    if path.is_dir():
        return {split: Table(file.name, read_rows(file)) for split, file in _split_files(path).items()}
    if path.is_file():
        return {"train": Table(path.name, read_rows(path))}
    if path.suffix in SUFFIXES or not HUB_NAME.fullmatch(source) or source.startswith("."):
        raise DataError(f"The data must be a folder or a file, but `{source}` does not exist. Check the path.")
    return tables_from_hub(from_hub(source, "The data"), source)


def dataset_from_tables(
    tables: Mapping[str, Table],
    columns: Mapping[str, str],
    source: str,
    seed: int,
    refusal: Refusal = lambda role, row, columns: text_refusal(role, row[columns[role]]),
    most: int | None = None,
) -> Dataset:
    """Checks the tables, cuts missing splits from train, drops training rows that recur in a later split.

    `refusal` says what the cell of a role must be and is not; empty for one that will do. Of train and of validation at
    most `most` rows are drawn.
    """
    for table in tables.values():
        check_rows(table, columns, refusal)
    rows, notes = _cut_missing(tables, columns.get("label"), seed)
    rows["train"], recurring = _without_recurring(rows, columns)
    if recurring:
        notes.append(
            f"{recurring:,} training {'row was' if recurring == 1 else 'rows were'} left out: the same "
            "input, but for case and spacing, is in validation or test."
        )
    if not rows["train"]:
        raise DataError(
            f"`{source}` must have training rows that are not in validation or test too, but has none. "
            "Add some, or take them out of the later splits."
        )
    if most is not None:
        notes += _drawn(rows, columns.get("label"), most, seed)
    return Dataset(
        train=tuple(rows["train"]),
        validation=tuple(rows["validation"]),
        test=tuple(rows["test"]),
        source=source,
        digest=_digest(rows, columns),
        notes=tuple(notes),
    )


def text_refusal(role: str, value: object) -> str:
    """What an input must be and is not, where it is a text; empty for one that will do, and for all labels."""
    return "" if role == "label" or isinstance(value, str) else "must be text"


def check_rows(table: Table, columns: Mapping[str, str], refusal: Refusal) -> None:
    """Raise `DataError` unless every row has something in every column, and nothing that is refused.

    `refusal` says what the cell of a role must be and is not.
    """
    _check_columns(table, columns)
    for number, row in enumerate(table.rows, start=1):
        for role, column in columns.items():
            value, where = row.get(column), f"`{table.origin}`, row {number}, column `{column}`"
            must = "" if _is_empty(value) else refusal(role, row, columns)
            if _is_empty(value) or (must and value == []):
                raise DataError(f"{where}, must not be empty. Fill the cell or take the row out.")
            if must:
                got = shortened(value if isinstance(value, str) else json.dumps(value, default=str))
                raise DataError(f"{where}, {must}, but got {got}. Mend the row or take it out.")


def _check_columns(table: Table, columns: Mapping[str, str]) -> None:
    if not table.rows:
        raise DataError(f"`{table.origin}` must have rows, but it is empty.")
    roles: dict[str, str] = {}
    for role, column in columns.items():
        flag = f"--{role.replace('_', '-')}"
        if column not in table.rows[0]:
            remedy = f"Name the right one with {flag}" if role in NAMED_BY_OPTION else "Give the rows such a column"
            raise DataError(
                f"`{table.origin}` must have the column `{column}`, but has {listed(table.rows[0])}. {remedy}."
            )
        if column in roles:
            raise DataError(
                f"`{flag}` must name a column of its own, but `{column}` is read as {roles[column]} already."
            )
        roles[column] = role


def _is_empty(value: object) -> bool:
    """Whether a cell holds nothing; what is not a number, as other libraries write it, is nothing too."""
    nothing = value is None or (isinstance(value, float) and math.isnan(value))
    return nothing or (isinstance(value, str) and not value.strip())


def _split_files(folder: Path) -> dict[str, Path]:
    """The file of each split in a folder; other files are not looked at."""
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    found: dict[str, Path] = {}
    for split, names in SPLIT_NAMES.items():
        of_split = [path for path in files if path.stem in names]
        if len(of_split) > 1:
            raise DataError(
                f"`{folder}` must have one file for {split}, but has "
                f"{listed(path.name for path in of_split)}. Keep one."
            )
        if of_split:
            found[split] = of_split[0]
    if "train" not in found:
        there = listed(path.name for path in sorted(folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"`{folder}` must have a train file ({listed('train' + suffix for suffix in SUFFIXES)}), "
            f"but holds {there}. Name the training file so, or give a single file."
        )
    return found


def _builtin_tables(source: str) -> dict[str, Table]:
    if source != "builtin:docstrings":
        raise DataError(
            f"A built-in data set must exist, but got `{source}`; {nearest(source, ['builtin:docstrings'])}"
        )
    return {"train": Table(source, docstrings())}


def tables_from_hub(loaded: "DatasetDict", source: str) -> dict[str, Table]:
    """The splits of a hub data set, class numbers turned into names; a split of hidden labels is left out."""
    import datasets

    tables = {}
    for split, names in SPLIT_NAMES.items():
        name = next((name for name in names if name in loaded), None)
        if name is None:
            continue
        part = loaded[name]
        rows = part.to_list()
        classes = {
            column: feature.names
            for column, feature in part.features.items()
            if isinstance(feature, datasets.ClassLabel)
        }
        # The hub writes -1 for a label that it keeps secret.
        hidden = split != "train" and any(all(row[column] == -1 for row in rows) for column in classes)
        if not hidden:
            tables[split] = Table(f"{source}, split {name}", [_named(row, classes) for row in rows])
    if "train" not in tables:
        raise DataError(
            f"`{source}` must have a train split, but has {listed(loaded)}. Take another data set or configuration."
        )
    return tables


def _named(row: Json, classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    numbers = {column: row[column] for column in classes if isinstance(row[column], int) and row[column] >= 0}
    missing = {column: None for column in classes if column not in numbers}
    return {**row, **missing, **{column: classes[column][number] for column, number in numbers.items()}}


def _cut_missing(tables: Mapping[str, Table], label: str | None, seed: int) -> tuple[dict[str, list[Json]], list[str]]:
    """The rows of all three splits, a tenth of train for each that is missing, and what to say of it."""
    rows = {split: list(table.rows) for split, table in tables.items()}
    whole = len(rows["train"])
    notes = []
    for split in ("test", "validation"):
        if split in rows:
            continue
        if whole < FEWEST_ROWS_TO_CUT:
            raise DataError(
                f"`{tables['train'].origin}` must have at least {FEWEST_ROWS_TO_CUT} rows for a {split} "
                f"split to be cut from it, but has {whole}. Add rows, or a {split} file."
            )
        rows["train"], rows[split] = _cut(rows["train"], label, whole // 10, seed_of(seed, "split", split))
        notes.append(
            f"There is no {split} split: {len(rows[split]):,} of the {whole:,} training rows were set aside "
            f"for it (seed {seed})."
        )
    return rows, notes


def _cut(rows: list[Json], label: str | None, wanted: int, seed: int) -> tuple[list[Json], list[Json]]:
    """The rows that stay and `wanted` that go, both in their old order.

    Rows are drawn evenly along the labels, so that each keeps its share, and the only row of a label stays.
    """
    labels = [str(row[label]) if label else "" for row in rows]
    counts = Counter(labels)
    drawn = list(range(len(rows)))
    random.Random(seed).shuffle(drawn)
    several = [row for row in drawn if counts[labels[row]] > 1]
    # Where most labels are unique they are numbers, not classes, and any row may go.
    pool = several if 2 * len(several) >= len(rows) else drawn
    pool.sort(key=labels.__getitem__)
    gone = {pool[(2 * draw + 1) * len(pool) // (2 * wanted)] for draw in range(wanted)}
    stay = [row for number, row in enumerate(rows) if number not in gone]
    return stay, [rows[number] for number in sorted(gone)]


def _without_recurring(rows: Mapping[str, list[Json]], columns: Mapping[str, str]) -> tuple[list[Json], int]:
    """The training rows whose whole input is in no later split, and how many were left out."""
    inputs = [column for role, column in columns.items() if role in INPUTS]
    later = {_folded(row, inputs) for split in ("validation", "test") for row in rows[split]}
    kept = [row for row in rows["train"] if _folded(row, inputs) not in later]
    return kept, len(rows["train"]) - len(kept)


def _drawn(rows: dict[str, list[Json]], label: str | None, most: int, seed: int) -> list[str]:
    """Draw the rows of train and of validation for a first look, and what to say of it."""
    whole = {split: len(rows[split]) for split in ("train", "validation")}
    for split in whole:
        rows[split] = fewer(rows[split], label, most, seed_of(seed, "rows", split))
    drawn = [f"{len(rows[split]):,} of {count:,} rows of {split}" for split, count in whole.items() if count > most]
    if not drawn:
        return []
    return [f"For a first look {' and '.join(drawn)} were drawn (`--rows`, seed {seed}); the test split is whole."]


def _folded(row: Json, inputs: Sequence[str]) -> tuple[str, ...]:
    """The inputs of a row without what makes no difference to a reader: case and spacing."""
    cells = (row[column] for column in inputs)
    return tuple(" ".join((cell if isinstance(cell, str) else " ".join(cell)).casefold().split()) for cell in cells)


def _digest(rows: Mapping[str, list[Json]], columns: Mapping[str, str]) -> str:
    content = json.dumps([dict(columns), dict(rows)], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
