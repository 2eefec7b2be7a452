"""How records lie in a study: as JSON in its database, or whole in a file where they are too long for that."""

import json
from dataclasses import replace
from pathlib import Path

from eicompress.cache import write_whole
from eicompress.errors import StudyError
from eicompress.values import Json, Record, digest_of

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
    """The record as it was before it was stored. Raises `StudyError` where its file is gone."""
    name = value["files"].get(FILE)
    if name is None:
        return Record.from_json(value)
    path = _files(folder) / Path(name).name
    try:
        return Record.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise StudyError(
            f"`{path}` must be there, since it holds a record that is too long for the study's database: put it back"
        ) from error


def _files(folder: Path) -> Path:
    return folder / "records"
