"""`my_target`: the artifact's files in one compressed tar, for a place that has no unzip."""

import gzip
import tarfile
from pathlib import Path
from typing import ClassVar

from eicompress import Artifact, Target, hookimpl

EICOMPRESS_INTERFACE = 1


class MyTarget(Target):
    """One compressed tar with the artifact's files."""

    name: ClassVar[str] = "my_target"
    suffix: ClassVar[str] = ".tar.gz"

    def write(self, artifact: Artifact, card: str, output: Path) -> None:
        with (
            output.open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for path in sorted(each for each in artifact.folder.rglob("*") if each.is_file()):
                entry = tarfile.TarInfo(path.relative_to(artifact.folder).as_posix())
                entry.size = path.stat().st_size
                with path.open("rb") as data:
                    archive.addfile(entry, data)


@hookimpl
def register_targets() -> list[type[Target]]:
    return [MyTarget]
