"""The contracts of targets, which artifacts are written for, and of devices, which run them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eicompress.errors import MeasureError
from eicompress.values import Artifact, Text


class Target(ABC):
    """A form that artifacts are written in, such as a zip or a folder for the model hub."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """The default end of the output's name, after the artifact's: `.zip`."""

    @abstractmethod
    def write(self, artifact: Artifact, card: str, output: Path) -> None:
        """Write `output`, a file or a folder that is not there yet, and nothing else.

        It is written in a temporary folder, and moved to its place when it is whole. `card` is the model card, in
        Markdown. The same artifact and card give the same bytes. Raises `ExportError`.
        """

    def size_bytes(self, output: Path) -> int:
        """Size of the output in bytes; by default its size on disk."""
        files = (output, *output.rglob("*"))
        return sum(path.stat().st_size for path in files if path.is_file())


@dataclass(frozen=True)
class Times:
    """Milliseconds of each run of one text at batch 1, warmed up."""

    artifact_ms: Sequence[float]
    reference_ms: Sequence[float] = ()
    """None if there is no reference, or it does not fit on the device."""


class Device(ABC):
    """A machine that runs artifacts and returns milliseconds. One process at a time uses it."""

    name: ClassVar[str]
    local: ClassVar[bool] = False
    """True for a device on this machine: while it is in use, a search pauses its workers and times on no other one."""

    @abstractmethod
    def describe(self) -> Mapping[str, str]:
        """What its times depend on, such as `machine` and `runtime`; short and fast to compute.

        Stands in the conditions of each measurement. Times are not reused under another description.
        """

    @abstractmethod
    def time(
        self, artifact: Artifact, reference: Artifact | None, length: int, *, threads: int, seconds: float
    ) -> Times:
        """Run a text of `length` arbitrary tokens again and again, for about `seconds` seconds on `threads` threads.

        Both artifacts can read such a length. They take turns, since only the ratio of their times can be compared
        between machines. Raises `MeasureError`; whatever else is raised counts as one.
        """

    def time_texts(
        self, artifact: Artifact, reference: Artifact | None, texts: Sequence[Text], *, threads: int, seconds: float
    ) -> Times:
        """Run these texts, each as often as the others, for about `seconds` seconds but each once at least; as `time`
        otherwise.

        For artifacts with early exits, whose time depends on the text. By default such an artifact is not timed:
        `MeasureError`.
        """
        raise MeasureError(
            "the time of an artifact with early exits depends on the text, and this device runs arbitrary tokens "
            "alone: take another device, or give it `time_texts`"
        )
