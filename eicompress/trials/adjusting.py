"""What the logits of a trained model need for the best quality on validation, as a part of its classifier."""

import copy
from dataclasses import replace

import torch

from eicompress.contracts import Candidate, Examples, Task
from eicompress.encoder.model import Encoder
from eicompress.export.parity import logits_of
from eicompress.values import ADJUSTMENT


def adjusted(candidate: Candidate, task: Task, examples: Examples) -> Candidate:
    """The candidate with the best quality on these examples that a change of its classifier's bias gives it; as it is
    where the kind of answer has no such change, or the model is no encoder."""
    if not task.answer.adjusts or not isinstance(candidate.model, Encoder):
        return candidate
    logits, _ = logits_of(candidate, examples.texts, task.answer)
    found = task.answer.adjustment(logits, examples.targets)
    if not found.any():
        return candidate
    model = copy.deepcopy(candidate.model)
    with torch.no_grad():
        model.classifier.bias += torch.from_numpy(found).to(model.classifier.bias)
    named = {name: round(float(by), 4) for name, by in zip(task.answer.names, found, strict=True) if by}
    return replace(candidate, model=model, facts={**candidate.facts, ADJUSTMENT: named})
