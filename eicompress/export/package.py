"""An artifact as it is handed on: one zip for a device, or a folder for the model hub."""

import hashlib
import io
import shutil
import tempfile
import zipfile
from pathlib import Path

from eicompress.cache import write_folder, write_whole
from eicompress.errors import ExportError
from eicompress.values import Artifact

README = "README.md"


def to_zip(artifact: Artifact, path: Path) -> Path:
    """Write the folder's files as one zip, read back and compared before it gets its name. Raises `ExportError`."""
    data = zipped(artifact)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        with zipfile.ZipFile(file) as archive:
            found = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    if found != _sums(artifact):
        raise ExportError(
            f"the zip must hold the files of `{artifact.folder}` as they are, but they changed: try again"
        )
    if path.is_dir():
        raise ExportError(f"`{path}` must be a file to write to, but is a folder: choose another `--output`")
    try:
        write_whole(path, data)
    except OSError as error:
        raise ExportError(f"`{path}` must be a place to write to, but: {error.strerror}") from error
    return path


def zipped(artifact: Artifact) -> bytes:
    """The folder's files as a zip: the same bytes for the same files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(each for each in artifact.folder.rglob("*") if each.is_file()):
            # A fixed date: the bytes must not depend on when the files were written.
            entry = zipfile.ZipInfo(path.relative_to(artifact.folder).as_posix())
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def to_hub(artifact: Artifact, card: str, folder: Path) -> Path:
    """Write a folder as the model hub and transformers.js read it: the artifact's files and the model card.

    Raises `ExportError` where something is there already.
    """
    if folder.exists():
        raise ExportError(
            f"`{folder}` must not be there yet, so that nothing is overwritten: choose another `--output`"
        )

    def write(made: Path) -> None:
        shutil.copytree(artifact.folder, made, dirs_exist_ok=True)
        (made / README).write_text(card, encoding="utf-8")

    try:
        write_folder(folder, write)
    except OSError as error:
        raise ExportError(f"`{folder}` must be a place to write to, but: {error.strerror}") from error
    return folder


def _sums(artifact: Artifact) -> dict[str, str]:
    paths = [path for path in artifact.folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(artifact.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }
