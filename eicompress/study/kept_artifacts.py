"""Where the artifacts that a study's records name lie now."""

from dataclasses import replace
from pathlib import Path
from shlex import quote

from eicompress.study.result import Result
from eicompress.values import Artifact, Record


def artifact_of(record: Record, folder: Path) -> Artifact | None:
    """Where the record says it is, or in the study's folder, which may have been moved since; None if it is gone."""
    path = Path(record.files.get("artifact", ""))
    places = (Artifact(path), Artifact(folder.joinpath(*path.parts[-2:])))
    return next((each for each in places if "artifact" in record.files and each.onnx.is_file()), None)


def as_it_lies(record: Record, folder: Path) -> Record:
    """The record with the place where its artifact is now, if it is anywhere."""
    found = artifact_of(record, folder)
    return record if found is None else replace(record, files={**record.files, "artifact": str(found.folder)})


def gone(result: Result) -> dict[int | str, str]:
    """The results whose artifacts are no longer there, each with what builds it again; the best one comes first."""
    best = [result.best] if result.best else []
    results: dict[int | str, Record] = dict([*best, *result.promoted.items()])
    missing = [name for name, record in results.items() if artifact_of(record, result.folder) is None]
    return {name: _remedy(name, result.folder) for name in missing}


def _remedy(name: int | str, folder: Path) -> str:
    if isinstance(name, str):
        return "a search with another `--study` makes it again"
    return f"`{rebuilding(folder, name)}` builds it again"


def rebuilding(folder: Path, trial: int) -> str:
    """The command that builds a trial of the study in this folder again."""
    return f"eicompress compress --trial {folder.name} {trial} --studies {quote(str(folder.parent))} --output FOLDER"
