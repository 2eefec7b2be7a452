"""An artifact as it is handed on: written for a target, whole or not at all."""

import os
from dataclasses import dataclass
from pathlib import Path

from eicompress.cache import draft_beside, drop_drafts_of
from eicompress.deployment import Target
from eicompress.errors import EicompressError, ExportError
from eicompress.manifest import check_outside, checksums
from eicompress.values import MEGABYTE, Artifact


@dataclass(frozen=True)
class Package:
    """What was written for a target, and the bytes that it takes there."""

    target: str
    path: Path
    size_bytes: int

    @property
    def size_mb(self) -> float:
        return self.size_bytes / MEGABYTE


def write_package(target: Target, artifact: Artifact, card: str, output: Path) -> Package:
    """Let a target write a new file or folder, which is there as a whole or not at all; what a killed process had
    begun to write there is removed.

    Raises `ExportError` where something is there already, and for whatever the target raises, and `SpecError` inside an
    artifact.
    """
    _check_own_files(artifact)
    output = Path(os.path.abspath(output))
    check_outside(output, "--output")
    if os.path.lexists(output):
        raise ExportError(
            f"`{output}` must not be there yet, so that nothing is overwritten: choose another `--output`, or remove it"
        )
    try:
        drop_drafts_of(output)
        with draft_beside(output) as draft:
            made = draft / output.name
            size_bytes = _written(target, artifact, card, made)
            os.replace(made, output)
    except OSError as error:
        raise ExportError(f"`{output}` must be a place to write to, but: {error.strerror or error}") from error
    return Package(target.name, output, size_bytes)


def _check_own_files(artifact: Artifact) -> None:
    """Raise `ExportError` where the folder holds a file that its manifest, if there is one, does not name."""
    if not artifact.manifest.is_file():
        return
    paths = (path for path in sorted(artifact.folder.rglob("*")) if not path.is_dir())
    names = {path.relative_to(artifact.folder).as_posix(): path for path in paths}
    for name in sorted(names.keys() - checksums(artifact).keys()):
        raise ExportError(
            f"an artifact must hold only the files that its manifest names, but `{names[name]}` is another: move it "
            "elsewhere"
        )


def _written(target: Target, artifact: Artifact, card: str, made: Path) -> int:
    """Bytes of what the target wrote, at its place."""
    try:
        target.write(artifact, card, made)
        if made.exists():
            return target.size_bytes(made)
    except (EicompressError, OSError):
        raise
    except Exception as error:
        raise ExportError(f"the target `{target.name}` failed: {type(error).__name__}: {error}") from error
    raise ExportError(f"the target `{target.name}` must write the output that it is given, but wrote none")
