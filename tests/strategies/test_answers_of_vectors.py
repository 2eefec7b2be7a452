"""Every strategy on a model that answers vectors: it trains, and the file answers as the model does."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MUSIC, WEATHER, tiny_candidate, tiny_context

from eicompress import runtime
from eicompress.cache import Cache
from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.heads import answer_with_states
from eicompress.errors import Inapplicable
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.strategies import register_strategies
from eicompress.strategies.cross_distillation import CrossDistillation
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.early_exit import EarlyExit
from eicompress.strategies.mixed_precision import MixedPrecision
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.super_network import Subnetwork, SuperNetwork
from eicompress.strategies.thin_student import ThinStudent
from eicompress.tasks.embedding import Embedding
from eicompress.training.importance import measure_importance
from eicompress.training.teacher import encoder_teacher

TEXTS = (*MUSIC, *WEATHER)
ROWS = [{"text": text} for text in TEXTS * 2]
VARIANTS: list[tuple[type[ModelStrategy], Mapping[str, Any]]] = [
    (Distillation, {"logits": "mse", "epochs": 1.0, "state_weight": 1.0}),
    (CrossDistillation, {"teacher_updates": "none", "epochs": 1.0}),
    (ThinStudent, {"layers": 0, "hidden": 0.5}),
]
APPLICABLE = [
    pytest.param(each, dict(each.example), marks=pytest.mark.slow)
    for each in register_strategies()
    if issubclass(each, ModelStrategy) and each not in (Subnetwork, EarlyExit)
]


def vector_context(folder: Path) -> Context:
    baseline = tiny_candidate(pooling="mean")
    answer_with_states(baseline.encoder)
    task, examples = Embedding.read({"train": ROWS}, {"text": "text"})
    teacher = encoder_teacher(baseline, "tiny", "", Cache(folder / "teacher"), "cpu", aligned=True)
    context = tiny_context(folder, baseline)
    return replace(context, task=task.sized(24), train=examples["train"], teacher=teacher)


def copied(candidate: Candidate) -> Candidate:
    return replace(candidate, model=copy.deepcopy(candidate.model))


def check_file(made: Candidate, context: Context, folder: Path) -> None:
    answer = context.task.answer
    artifact = artifacts.write(made, answer, folder / "artifact", pairs=False, manifest={})
    model = runtime.load(artifact.folder)
    logits = model.logits(TEXTS)
    assert model.answer == answer and logits.shape == (len(TEXTS), 24)
    assert np.linalg.norm(logits, axis=1) == pytest.approx(1.0, abs=1e-3)
    assert check_parity(made, TEXTS, logits, answer).agreement >= 0.995


@pytest.mark.parametrize(
    ("strategy", "knobs"), [*VARIANTS, *APPLICABLE], ids=lambda each: each.name if isinstance(each, type) else None
)
def test_a_strategy_keeps_vectors(tmp_path: Path, strategy: type[ModelStrategy], knobs: Mapping[str, Any]) -> None:
    context = vector_context(tmp_path)
    made = strategy(**knobs).apply(copied(context.baseline), context)
    check_file(made, context, tmp_path)


def test_parts_of_a_super_network_and_few_bits_answer_vectors(tmp_path: Path) -> None:
    context = vector_context(tmp_path)
    made = copied(context.baseline)
    for step in (SuperNetwork(epochs=0.5, random=1), Subnetwork(layers=2, heads=0.5), Quantization(), MixedPrecision()):
        made = step.apply(made, context)
    check_file(made, context, tmp_path)


def test_no_vector_leaves_early(tmp_path: Path) -> None:
    context = vector_context(tmp_path)
    with pytest.raises(Inapplicable, match=r"but this encoder.s answer is of the kind `vector`: leave it out"):
        EarlyExit().apply(copied(context.baseline), context)


def test_parts_of_the_teacher_differ_in_importance(tmp_path: Path) -> None:
    """Though no text has a score, and the model answers as its teacher does."""
    context = vector_context(tmp_path)
    found = measure_importance(context.baseline, context)
    assert found["heads.0"].min() > 0 and found["heads.0"].max() > 1.05 * found["heads.0"].min()


def test_distillation_brings_a_student_nearer_to_its_teacher(tmp_path: Path) -> None:
    context = vector_context(tmp_path)
    wanted = context.teacher.outputs(TEXTS).logits.astype(np.float32)

    def cosine(made: Candidate, name: str) -> float:
        artifact = artifacts.write(made, context.task.answer, tmp_path / name, pairs=False, manifest={})
        return float((runtime.load(artifact.folder).logits(TEXTS) * wanted).sum(axis=1).mean())

    student = ThinStudent(layers=1, heads=0.5, neurons=0.5).apply(copied(context.baseline), context)
    before = cosine(student, "before")
    trained = Distillation(epochs=10.0, learning_rate=2e-3, label_weight=0.0).apply(student, context)
    assert cosine(trained, "after") > 1 - 0.7 * (1 - before)
