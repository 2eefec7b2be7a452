"""The strategy that the tutorial trains with keeps its contract, and learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from soft_labels import SoftLabels

import eicompress
from eicompress import testing
from eicompress.encoder.tokens import tokenize

CLAIMS = [claim for claim in testing.strategy_checks(SoftLabels) if "composes" not in claim.text]


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_claim(claim: testing.Claim) -> None:
    claim()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_student_learns_from_labels_and_from_the_teacher(share: float, tmp_path: Path) -> None:
    context = testing.tiny_context(tmp_path)
    student = testing.tiny_candidate(seed=1)
    rows = tokenize(student.tokenizer, context.train.texts).batch(np.arange(len(context.train)), 0, "cpu")
    wanted = torch.tensor(np.array(context.teacher.outputs(context.train.texts).logits, np.float32))

    def distances() -> tuple[float, float]:
        with torch.no_grad():
            logits = student.model(rows.input_ids, rows.attention_mask, rows.token_type_ids)
        labels = context.task.loss(logits, torch.as_tensor(context.train.targets))
        return float(labels), float((logits - wanted).square().mean())

    before = distances()
    SoftLabels(share=share).apply(student, context)
    assert distances()[int(share)] < 0.7 * before[int(share)]


def test_a_search_trains_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    space = tmp_path / "space.toml"
    space.write_text('[[slot]]\nstrategy = "soft_labels"\nepochs = 1.0\n')
    result = eicompress.search(
        model=str(testing.write_tiny_model(tmp_path / "model")),
        data=str(testing.write_tiny_data(tmp_path / "data")),
        budget="1MB",
        trials=1,
        workers=0,
        space=str(space),
        plugin=str(Path(__file__).with_name("soft_labels.py")),
        studies=tmp_path / "studies",
        study="mine",
    )
    assert any(record.trained for record in result.records.values())
