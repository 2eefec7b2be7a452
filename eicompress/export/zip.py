"""The artifact's files in one zip."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import ClassVar

from eicompress.cache import sha256_of
from eicompress.deployment import Target
from eicompress.errors import ExportError
from eicompress.values import Artifact


class Zip(Target):
    """One file to send: the artifact's files and nothing else. It is read back and compared before it gets its name."""

    name: ClassVar[str] = "zip"
    suffix: ClassVar[str] = ".zip"

    def write(self, artifact: Artifact, card: str, output: Path) -> None:
        output.write_bytes(zipped(artifact))
        with zipfile.ZipFile(output) as archive:
            found = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
        if found != {name: sha256_of(path) for name, path in _files(artifact).items()}:
            raise ExportError(
                f"the zip must hold the files of `{artifact.folder}` as they are, but they changed: try again"
            )


def zipped(artifact: Artifact) -> bytes:
    """The folder's files as a zip: the same bytes for the same files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, path in _files(artifact).items():
            # A fixed date: the bytes must not depend on when the files were written.
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _files(artifact: Artifact) -> dict[str, Path]:
    paths = sorted(path for path in artifact.folder.rglob("*") if path.is_file())
    return {path.relative_to(artifact.folder).as_posix(): path for path in paths}
