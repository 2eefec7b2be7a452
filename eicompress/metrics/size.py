"""How many bytes an artifact has, on disk and when it is sent."""

from typing import ClassVar, Literal

from eicompress.contracts import Examples, Metric, Task
from eicompress.export.zip import zipped
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
