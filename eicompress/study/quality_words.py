"""How the numbers of a task's quality are written."""

from dataclasses import dataclass
from typing import Self

from eicompress.contracts import Task
from eicompress.metrics.quality import CORRELATION, QUALITY
from eicompress.values import Measurement, Record


@dataclass(frozen=True)
class QualityWords:
    """The words for a task's quality: shares are percentages and differ by points, correlations are numbers."""

    name: str
    is_share: bool

    @classmethod
    def of(cls, task: Task, quality: str = "") -> Self:
        """Those of a quality that the task names beside its own; without one, of its own."""
        return cls(quality or task.quality, task.is_share(quality or task.quality))

    @classmethod
    def measured(cls, quality: Measurement) -> Self:
        """Those of a quality that was measured."""
        return cls(str(quality.conditions.get("metric", quality.name)), not quality.conditions.get(CORRELATION))

    def text(self, value: float, digits: int = 1) -> str:
        """`digits` of a percentage; a correlation has two more."""
        return f"{value:.{digits}%}" if self.is_share else f"{value:.{digits + 2}f}"

    def gap(self, points: float, digits: int = 1) -> str:
        """A difference without its sign, of hundredths."""
        return f"{abs(points):.{digits}f} points" if self.is_share else f"{abs(points) / 100:.{digits + 2}f}"

    def signed(self, difference: float) -> str:
        """A difference of two qualities: shares in points, without the word."""
        return f"{100 * difference:+z.2f}" if self.is_share else f"{difference:+z.4f}"

    @property
    def scale(self) -> int:
        """What figures multiply a quality by."""
        return 100 if self.is_share else 1

    def axis(self, where: str = "") -> str:
        """The title of an axis of a figure."""
        named = f"{self.name} {where}".strip()
        return f"{named}, %" if self.is_share else named


def quality_words(record: Record | None) -> QualityWords:
    """Those of a record; without one, of a share."""
    measured = record.measurements if record else ()
    found = next((each for each in measured if each.name == QUALITY), None)
    return QualityWords.measured(found) if found else QualityWords(QUALITY, True)


def quality_name(record: Record | None) -> str:
    """The task's name for its quality, such as `accuracy`."""
    measured = record.measurements if record else ()
    return next((str(each.conditions.get("metric", QUALITY)) for each in measured if each.name == QUALITY), QUALITY)
