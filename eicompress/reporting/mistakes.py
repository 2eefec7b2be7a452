"""The mistakes of an artifact, from the logits and texts that the records name; its kind of answer counts them."""

import json
from pathlib import Path

import numpy as np

from eicompress.answers import Mistakes, from_json
from eicompress.study.within_noise import located
from eicompress.values import Record


def mistakes(baseline: Record, best: Record, folder: Path) -> Mistakes | None:
    """None where logits or texts are not recorded, no longer there, or of a form that the task alone knows."""
    files = [
        located(record.files.get(name, ""), folder)
        for record, name in (
            (baseline, "validation_examples"),
            (baseline, "validation_logits"),
            (best, "validation_logits"),
        )
    ]
    if any(file is None for file in files):
        return None
    examples, before, after = (file for file in files if file is not None)
    read = json.loads(examples.read_text(encoding="utf-8"))
    teacher, student = np.load(before, allow_pickle=False), np.load(after, allow_pickle=False)
    answer, targets = from_json(read["answer"]), np.array(read["targets"])
    if not answer.holds(targets) or not teacher.shape == student.shape == (len(targets), answer.outputs):
        return None
    texts = tuple(tuple(each) if isinstance(each, list) else each for each in read["texts"])
    return answer.mistakes(texts, targets, teacher, student)
