from pathlib import Path

import numpy as np
import torch

from eicompress.export.folder import write
from eicompress.measures import Subject
from eicompress.metrics.quality import QualityMetric
from tests.conftest import tiny_candidate, tiny_examples, tiny_task


def test_quality_is_the_tasks_score_of_the_files_own_logits(tmp_path: Path) -> None:
    candidate, task, examples = tiny_candidate(), tiny_task(), tiny_examples(copies=1)
    artifact = write(candidate, task.answer, tmp_path / "a", pairs=False, manifest={})
    subject = Subject(artifact, task, examples, split="test")
    (found,) = QualityMetric().measure(subject)
    logits, value = subject.logits, found.value
    assert (found.name, found.conditions["metric"], found.conditions["split"]) == ("quality_test", "accuracy", "test")
    assert logits.shape == (len(examples), 2)
    expected = []
    for text in examples.texts:
        ids = torch.tensor([candidate.tokenizer.encode(text).ids])
        with torch.no_grad():
            expected.append(candidate.model(ids, torch.ones_like(ids), torch.zeros_like(ids))[0].numpy())
    assert np.abs(logits - np.stack(expected)).max() < 1e-4
    assert value == np.mean(np.stack(expected).argmax(axis=1) == examples.targets)
    (again,) = QualityMetric().measure(Subject(artifact, task, examples))
    assert (again.name, again.value) == ("quality", value)
