"""What a plug-in is that knows a place: a target that artifacts are written for, a device that they run on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eicompress.values import Artifact


class Target(ABC):
    """A place that artifacts are written for, such as a zip or the model hub, in the form that this place needs."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """What the output's name has after the artifact's, unless the user names it: `.zip`."""

    @abstractmethod
    def write(self, artifact: Artifact, card: str, output: Path) -> None:
        """Write `output`, a file or a folder that is not there yet, and nothing else.

        It is written in a temporary folder, and moved to its place when it is whole. `card` is the model card, in
        Markdown. The same artifact and card give the same bytes. Raises `ExportError`.
        """

    def size_bytes(self, output: Path) -> int:
        """Bytes that the output takes at its place: those on disk, unless the place counts otherwise."""
        files = (output, *output.rglob("*"))
        return sum(path.stat().st_size for path in files if path.is_file())


@dataclass(frozen=True)
class Times:
    """Milliseconds of each run of one text at batch 1, warmed up."""

    artifact_ms: Sequence[float]
    reference_ms: Sequence[float] = ()
    """None where there is no reference, or the device has no room for it."""


class Device(ABC):
    """A machine that runs artifacts and says how long it took. One at a time uses it."""

    name: ClassVar[str]
    local: ClassVar[bool] = False
    """True for a device on this machine: while it is in use, a search pauses its workers and times on no other one."""

    @abstractmethod
    def describe(self) -> Mapping[str, str]:
        """What its times depend on, such as `machine` and `runtime`, in few words and at no cost.

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
