"""How many bytes an artifact has, on disk and when it is sent."""

import io
import zipfile
from typing import ClassVar, Literal

from eicompress.contracts import Examples, Metric, Task
from eicompress.values import MEGABYTE, Artifact


class SizeMetric(Metric):
    """The bytes of every file in the folder, in MB of 10^6: what a budget speaks of."""

    name: ClassVar[str] = "size_mb"
    unit: ClassVar[str] = "MB"
    direction: ClassVar[Literal["minimize", "maximize"]] = "minimize"

    def measure(self, artifact: Artifact, task: Task, examples: Examples) -> float:
        return artifact.size_mb


class DownloadMetric(Metric):
    """The bytes of the folder once zipped, in MB of 10^6: what is sent to a device, never what it keeps."""

    name: ClassVar[str] = "download_mb"
    unit: ClassVar[str] = "MB"
    direction: ClassVar[Literal["minimize", "maximize"]] = "minimize"

    def measure(self, artifact: Artifact, task: Task, examples: Examples) -> float:
        return download_mb(artifact)


def download_mb(artifact: Artifact) -> float:
    """Size of the zipped folder, in MB."""
    return len(zipped(artifact)) / MEGABYTE


def zipped(artifact: Artifact) -> bytes:
    """The folder's files as a zip: the same bytes for the same files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(each for each in artifact.folder.rglob("*") if each.is_file()):
            # A fixed date: the bytes must not depend on when the files were written.
            entry = zipfile.ZipInfo(path.relative_to(artifact.folder).as_posix())
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return file.getvalue()
