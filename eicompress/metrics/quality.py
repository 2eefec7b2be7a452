"""How good the answers of an artifact are: of the ONNX file, at batch 1, with the artifact's own tokenizer."""

from collections.abc import Iterable
from typing import ClassVar

from eicompress.contracts import Array, Examples, Task
from eicompress.measures import Metric, Subject
from eicompress.values import Direction, Measurement

QUALITY = "quality"
QUALITY_TEST = f"{QUALITY}_test"
"""The same on the test split, which is read once, of what is handed out."""


class QualityMetric(Metric):
    """The task's own score, 0 to 1, on the validation split; on another split the name ends with the split's."""

    name: ClassVar[str] = QUALITY
    unit: ClassVar[str] = ""
    direction: ClassVar[Direction] = "maximize"
    label: ClassVar[str] = "quality"

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        return (quality_of(subject.logits, subject.task, subject.examples, subject.split, batch=1),)


def quality_of(logits: Array, task: Task, examples: Examples, split: str, **how: int) -> Measurement:
    """The task's score of logits (n, outputs), which may come from elsewhere than an ONNX file."""
    name = QUALITY if split == "validation" else f"{QUALITY}_{split}"
    conditions = {"metric": task.quality, "split": split, "examples": len(examples), **how}
    return Measurement(name, task.score(logits, examples.targets), QualityMetric.unit, conditions)
