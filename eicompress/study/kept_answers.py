"""The answers on the validation split that a study's records name, read without a model."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eicompress.answers import Answer, from_json
from eicompress.answers.entities import NONE
from eicompress.errors import StudyError
from eicompress.values import Record, Text


@dataclass(frozen=True)
class Validation:
    """The validation split as a study read it."""

    answer: Answer
    targets: npt.NDArray[Any]
    texts: tuple[Text, ...]


def validation_of(baseline: Record, folder: Path) -> Validation | None:
    """None where texts are not recorded, no longer there, or have targets of a form that the task alone knows. Raises
    `StudyError` where the file is damaged."""
    file = _located(baseline.files.get("validation_examples", ""), folder)
    if file is None:
        return None
    with _undamaged(file):
        read = json.loads(file.read_text(encoding="utf-8"))
        answer, targets = from_json(read["answer"]), _filled(read["targets"])
        texts = tuple(tuple(each) if isinstance(each, list) else each for each in read["texts"])
    return Validation(answer, targets, texts) if answer.holds(targets) else None


def _filled(rows: list[Any]) -> npt.NDArray[Any]:
    """Rows of targets, those of different lengths filled up with `NONE`."""
    lists = [row for row in rows if isinstance(row, list)]
    widest = max(map(len, lists), default=0)
    return np.array([[*row, *[NONE] * (widest - len(row))] for row in lists] if lists else rows)


def logits_of(record: Record, validation: Validation, folder: Path) -> npt.NDArray[np.float32] | None:
    """(n, outputs), or (n, W, outputs) where each word is answered; None where they are not recorded, no longer
    there, or not those of these texts. Raises `StudyError` where the file is damaged."""
    file = _located(record.files.get("validation_logits", ""), folder)
    if file is None:
        return None
    found, answer = stored_logits(file), validation.answer
    fits = found.ndim == (3 if answer.per_word else 2) and found.shape[-1] == answer.outputs
    return found if fits and len(found) == len(validation.targets) else None


def stored_logits(file: Path) -> npt.NDArray[np.float32]:
    """(n, outputs), or (n, W, outputs), that a build kept in this file. Raises `StudyError` where it is damaged."""
    with _undamaged(file), file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
        found: npt.NDArray[np.float32] = stored["logits"]
    return found


@contextmanager
def _undamaged(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise StudyError(
            f"`{file}` must be as eicompress wrote it, but is damaged ({error}): put a copy of it back, or remove it, "
            "and texts are no longer compared"
        ) from error


def _located(name: str, folder: Path) -> Path | None:
    """The file where the record says it is, or in the study's folder, which may have been moved since."""
    path = Path(name)
    return next((each for each in (path, folder / "files" / path.name) if name and each.is_file()), None)
