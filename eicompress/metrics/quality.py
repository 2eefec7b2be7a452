"""The quality of an artifact: of the ONNX file, at batch 1, with the artifact's own tokenizer."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from eicompress.contracts import Array, Examples, Task
from eicompress.measures import Metric, Subject
from eicompress.metrics.significance import Difference, score_difference
from eicompress.values import Direction, Measurement

QUALITY = "quality"
CORRELATION = "correlation"
"""The condition of a quality that is a correlation, and not written in percent."""
QUALITY_TEST = f"{QUALITY}_test"
"""The quality on the test split, which is read once, for the result of a search."""


class QualityMetric(Metric):
    """The task's own score, 0 to 1, on the validation split; on another split the name ends with the split's."""

    name: ClassVar[str] = QUALITY
    unit: ClassVar[str] = ""
    direction: ClassVar[Direction] = "maximize"
    label: ClassVar[str] = "quality"

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        return (
            quality_of(subject.logits, subject.task, subject.examples, subject.split, batch=1),
            *_named(subject.beside(), subject.task, subject.examples, subject.split, batch=1),
        )


def quality_of(logits: Array, task: Task, examples: Examples, split: str, **how: int) -> Measurement:
    """The task's score of logits (n, outputs), which may come from elsewhere than an ONNX file."""
    conditions = {"metric": task.quality, "split": split, "examples": len(examples), **how}
    conditions |= _written(task, task.quality)
    value = task.score(logits, examples.targets)
    return Measurement(_on(split, QUALITY), value, QualityMetric.unit, conditions)


def qualities_beside(logits: Array, task: Task, examples: Examples, split: str) -> Iterable[Measurement]:
    """What the task knows of such logits beside its quality, by its own names."""
    return _named(task.beside(logits, examples.targets), task, examples, split)


def _named(
    values: Mapping[str, float], task: Task, examples: Examples, split: str, **how: int
) -> Iterable[Measurement]:
    for name, value in values.items():
        conditions = {"metric": name, "split": split, "examples": len(examples), **how}
        yield Measurement(_on(split, name), value, "", {**conditions, **_written(task, name)})


def _written(task: Task, quality: str) -> Mapping[str, bool]:
    """The condition that says how a quality is written."""
    return {} if task.is_share(quality) else {CORRELATION: True}


def _on(split: str, name: str) -> str:
    """What a measurement is called on a split."""
    return name if split == "validation" else f"{name}_{split}"


def difference_of(task: Task, ours: Array, theirs: Array, targets: Array) -> Difference:
    """The score of one model's logits (n, outputs) less that of another's, both of the same examples."""
    known = task.difference(ours, theirs, targets)
    if known is None:
        return score_difference(task.score, ours, theirs, targets)
    mean, half = known
    return Difference(mean, mean - half, mean + half)
