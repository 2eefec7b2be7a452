"""How good the answers of an artifact are: of the ONNX file, at batch 1, with the artifact's own tokenizer."""

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from eicompress import runtime
from eicompress.contracts import Examples, Metric, Task
from eicompress.values import Artifact


class QualityMetric(Metric):
    """The task's own score, 0 to 1."""

    name: ClassVar[str] = "quality"
    unit: ClassVar[str] = ""
    direction: ClassVar[Literal["minimize", "maximize"]] = "maximize"

    def measure(self, artifact: Artifact, task: Task, examples: Examples) -> float:
        return score(runtime.load(artifact.folder), task, examples)[0]


def score(model: runtime.Model, task: Task, examples: Examples) -> tuple[float, npt.NDArray[np.float32]]:
    """The task's score, and the logits (n, outputs) that it was computed from."""
    logits = model.logits(examples.texts)
    return task.score(logits, examples.targets), logits
