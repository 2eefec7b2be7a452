"""The size of an artifact, on disk and zipped."""

from collections.abc import Iterable
from typing import ClassVar

from eicompress.export.zip import zipped
from eicompress.measures import Metric, Subject
from eicompress.values import MEGABYTE, Artifact, Direction, Measurement

SIZE, DOWNLOAD = "size_mb", "download_mb"


class SizeMetric(Metric):
    """The bytes of every file in the folder, in MB of 10^6: what a budget speaks of."""

    name: ClassVar[str] = SIZE
    unit: ClassVar[str] = "MB"
    direction: ClassVar[Direction] = "minimize"
    label: ClassVar[str] = "size"
    preview: ClassVar[bool] = True

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        return (self.measurement(subject.artifact.size_mb),)


class DownloadMetric(Metric):
    """The bytes of the folder once zipped, in MB of 10^6: what is sent to a device, never what it keeps."""

    name: ClassVar[str] = DOWNLOAD
    unit: ClassVar[str] = "MB"
    direction: ClassVar[Direction] = "minimize"
    label: ClassVar[str] = "download"
    preview: ClassVar[bool] = True
    promoted: ClassVar[bool] = True

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        return (self.measurement(download_mb(subject.artifact)),)


def download_mb(artifact: Artifact) -> float:
    """Size of the zipped folder, in MB."""
    return len(zipped(artifact)) / MEGABYTE
