"""How records lie in a study: as JSON in its database, or whole in a file where they are too long for that."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

from eicompress.cache import write_whole
from eicompress.errors import StudyError, shortened
from eicompress.values import Json, Outcome, Record, digest_of, parsed_json

RECORD_BYTES = 64_000
"""MySQL's `Text`, which holds a user attribute, ends at 64 KB."""
FILE = "record"
"""Names the file of a whole record among a record's files."""


def stored_record(record: Record, folder: Path) -> Json:
    """What the database gets of a record; one that is too long is written to a file of the study's folder, and all
    that a search decides by stays in the database."""
    value = record.to_json()
    text = json.dumps(value).encode()
    if len(text) <= RECORD_BYTES:
        return value
    path = _files(folder) / f"{digest_of(value)}.json"
    write_whole(path, text)
    reason = record.reason[: RECORD_BYTES // 8]
    return replace(record, facts={}, reason=reason, files={**record.files, FILE: str(path)}).to_json()


def read_record(value: Json, folder: Path) -> Record:
    """The record as it was before it was stored. Raises `StudyError` where it, or its file, is damaged or gone."""
    name = value["files"].get(FILE) if isinstance(value, Mapping) and isinstance(value.get("files"), Mapping) else None
    if name is None:
        return _understood(value, f"a record in the database of the study in `{folder}`")
    path = _files(folder) / Path(str(name)).name
    try:
        return _understood(parsed_json(path.read_text(encoding="utf-8")), f"the record in `{path}`")
    except ValueError as error:
        raise StudyError(f"`{path}` must be a record in JSON, but {error}: put a copy of it back") from error
    except FileNotFoundError as error:
        raise StudyError(
            f"`{path}` must be there, since it holds a record that is too long for the study's database: put it back"
        ) from error


def _understood(value: Json, what: str) -> Record:
    """The record that plain data describe. Raises `StudyError` where they describe none."""
    try:
        record = Record.from_json(value)
        mappings = (record.unmeasured, record.bytes_by_group, record.seconds_by_phase, record.facts, record.files)
        whole = (
            record.outcome in get_args(Outcome)
            and all(isinstance(each, Mapping) for each in (*record.recipe, *mappings))
            and all(isinstance(each.value, int | float) for each in record.measurements)
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        whole = False
    if not whole:
        raise StudyError(
            f"{what} must be as eicompress wrote it, but is {shortened(json.dumps(value))}: put a copy of it back"
        )
    return record


def _files(folder: Path) -> Path:
    return folder / "records"
