"""Rows of a JSONL, CSV or Parquet file, with errors that name the file and the line."""

import csv
from collections import Counter
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from eicompress.errors import DataError, listed, shortened
from eicompress.values import parsed_json

SUFFIXES = (".jsonl", ".csv", ".parquet")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL, CSV or Parquet file. Raises `DataError`."""
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise DataError(
            f"A data file must end in {listed(SUFFIXES)}, but got `{path.name}`. Convert it to one of these."
        )
    try:
        rows = readers[path.suffix](path)
    except UnicodeDecodeError as error:
        raise DataError(f"`{path.name}` must be UTF-8, but byte {error.start} is not. Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"`{path}` must be readable, but: {error.strerror or error}. Check its permissions.") from error
    if not rows:
        raise DataError(f"`{path.name}` must have rows, but it is empty. Check the file, or take it out of the folder.")
    return rows


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = parsed_json(line)
            except ValueError as error:
                why = (
                    f"column {error.colno} does not parse ({error.msg})"
                    if isinstance(error, JSONDecodeError)
                    else error
                )
                raise DataError(
                    f"`{path.name}`, line {number}, must be one JSON object, but {why}: {shortened(line)}. "
                    "Mend the line."
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f"`{path.name}`, line {number}, must be a JSON object with a column a key, but got "
                    f"{shortened(line)}. Mend the line."
                )
            rows.append(row)
    return rows


def _read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            header = list(reader.fieldnames or ())
            rows = []
            for row in reader:
                if None in row:
                    raise DataError(
                        f"`{path.name}`, line {reader.line_num}, must have {len(header)} cells as the header "
                        "has, but has more. Quote cells that hold a comma."
                    )
                rows.append(row)
        except csv.Error as error:
            raise DataError(
                f"`{path.name}`, line {reader.line_num}, must be CSV, but: {error}. Mend the line."
            ) from error
    doubled = [name for name, count in Counter(header).items() if count > 1]
    if doubled:
        raise DataError(f"`{path.name}` must name each column once, but `{doubled[0]}` comes twice. Rename one.")
    return rows


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.ParquetFile(path).read().to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"`{path.name}` must be a Parquet file, but: {error}. Write it again.") from error
    return rows
