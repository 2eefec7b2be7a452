"""The mistakes of an artifact, from the logits and texts that the records name; its kind of answer counts them."""

from pathlib import Path

from eicompress.answers import Mistakes
from eicompress.study.kept_answers import logits_of, validation_of
from eicompress.values import Record


def mistakes(baseline: Record, best: Record, folder: Path) -> Mistakes | None:
    """None where logits or texts are not recorded, no longer there, or of a form that the task alone knows."""
    validation = validation_of(baseline, folder)
    if validation is None:
        return None
    before, after = (logits_of(each, validation, folder) for each in (baseline, best))
    if before is None or after is None:
        return None
    return validation.answer.mistakes(validation.texts, validation.targets, before, after)
