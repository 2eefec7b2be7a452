"""How good the answers of an artifact are: of the ONNX file, at batch 1, with the artifact's own tokenizer."""

from typing import ClassVar, Literal

from eicompress import runtime
from eicompress.answers.kind import Floats
from eicompress.contracts import Examples, Metric, Task
from eicompress.values import Artifact


class QualityMetric(Metric):
    """The task's own score, 0 to 1."""

    name: ClassVar[str] = "quality"
    unit: ClassVar[str] = ""
    direction: ClassVar[Literal["minimize", "maximize"]] = "maximize"

    def measure(self, artifact: Artifact, task: Task, examples: Examples) -> float:
        return score(runtime.load(artifact.folder), task, examples)[0]


def score(model: runtime.Model, task: Task, examples: Examples) -> tuple[float, Floats]:
    """The task's score, and the logits (n, outputs) that it was computed from, as a model is trained with them."""
    logits = answers(model, task, examples)
    return task.score(logits, examples.targets), logits


def answers(model: runtime.Model, task: Task, examples: Examples) -> Floats:
    """An artifact's logits (n, outputs) in the task's own units."""
    return task.answer.standard(model.logits(examples.texts))
