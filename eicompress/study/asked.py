"""The settings of a study in its `study.toml`: it continues with the same settings and refuses others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import tomli_w

from eicompress.cache import write_whole
from eicompress.errors import StudyError
from eicompress.spec import STUDY_FILE, read_study_file
from eicompress.values import Json


def check(folder: Path, asked: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Compare the settings with those of the study, as far as the digests are known by now.

    Raises `StudyError` with the difference. Without a digest of the inputs their names are not compared: another
    path may lead to the same bytes.
    """
    if (folder / STUDY_FILE).is_file():
        was = read_study_file(folder)
        _refuse(folder, _differences(was["asked"], asked, was["digests"], {**was["digests"], **digests}))


def claim(folder: Path, asked: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Write the settings, or compare them with the stored ones; returns the study's identity.

    Raises `StudyError` with the difference.
    """
    path = folder / STUDY_FILE
    if not path.is_file():
        identity = uuid4().hex
        tables = {"asked": asked, "digests": digests, "study": {"identity": identity}}
        write_whole(path, _toml(tables).encode())
        return identity
    was = read_study_file(folder)
    _refuse(folder, _differences(was["asked"], asked, was["digests"], digests))
    return str(was["study"].get("identity", ""))


def _refuse(folder: Path, changed: list[str]) -> None:
    if changed:
        listed = "\n".join(f"  {each}" for each in changed)
        raise StudyError(
            f"the study in `{folder}` was made with other inputs:\n{listed}\n"
            "Give the same ones to go on with it, or another `--study` to start anew."
        )


def _differences(was: Json, now: Mapping[str, Any], was_digests: Json, digests: Mapping[str, str]) -> list[str]:
    same = {name for name, digest in digests.items() if was_digests.get(name) == digest}
    # Another path to the same bytes is the same input.
    ignored = ({"model", "data"} if "inputs" in same else set()) | ({"space", "plugin"} & same)
    ignored |= {"teacher"} if "teachers" in same else set()
    ignored |= {"unlabelled", "start"} & same
    found = [
        f"`{name}` was {_shown(was.get(name))}, and is {_shown(now.get(name))}"
        for name in sorted({*was, *now} - ignored)
        if was.get(name) != now.get(name)
    ]
    meant = {
        "inputs": "the contents of model or data",
        "teachers": "what the teachers answer",
        "unlabelled": "the contents of the unlabelled text",
        "start": "the contents of the starting point",
        "space": "the contents of the search space",
        "plugin": "the contents of the plug-in",
    }
    for name in sorted({*was_digests} & {*digests} - same):
        found.append(f"{meant.get(name, name)}: digest was {_shown(was_digests.get(name))}, and is `{digests[name]}`")
    return found


def _shown(value: object) -> str:
    return "not given" if value is None else f"`{value}`"


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    return "# What this study was asked for. The same command goes on with it.\n\n" + tomli_w.dumps(tables)
