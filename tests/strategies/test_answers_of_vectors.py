"""Every strategy on a model that answers vectors: it trains, and the file answers as the model does."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MUSIC, WEATHER, tiny_candidate, tiny_context

from eicompress import runtime
from eicompress.answers.vector import first
from eicompress.cache import Cache
from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.heads import answer_with_states
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
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
from eicompress.training.nested_vectors import axes_of, turn
from eicompress.training.teacher import answers_of, encoder_teacher

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


def of_batch(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """The cosines of all texts with each other, by the first dimensions."""
    cut = first(vectors, dimensions)
    cosines: np.ndarray = cut @ cut.T
    return cosines


def test_vectors_that_are_turned_have_the_same_cosines_and_say_more_at_the_front(tmp_path: Path) -> None:
    context = vector_context(tmp_path)
    before = answers_of(context.baseline, TEXTS, "cpu")[0]
    turned = copied(context.baseline)
    turned.encoder.set_quantization(QuantSpec(8), QuantSpec(8))
    turn(turned.encoder, axes_of(context))
    after = answers_of(turned, TEXTS, "cpu")[0]
    assert of_batch(after, 24) == pytest.approx(of_batch(before, 24), abs=1e-2)
    lost = [np.abs(of_batch(each, 3) - of_batch(before, 24)).mean() for each in (before, after)]
    assert lost[1] < 0.5 * lost[0]


def test_halves_of_a_students_vectors_learn_the_teachers_cosines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, turns = vector_context(tmp_path), []

    def counted(encoder: Encoder, axes: torch.Tensor) -> None:
        turns.append(axes)
        turn(encoder, axes)

    monkeypatch.setattr("eicompress.strategies.distillation.turn", counted)
    teacher = context.teacher.outputs(TEXTS).logits.astype(np.float32)
    lost, turned = {}, teacher @ axes_of(context).numpy()
    for halvings in (0, 3):
        made = ThinStudent(layers=1).apply(copied(context.baseline), context)
        for _ in range(2):
            step = Distillation(epochs=4.0, distortions=0, learning_rate=3e-3, halvings=halvings)
            made = step.apply(made, context)
        vectors = answers_of(made, TEXTS, "cpu")[0]
        lost[halvings] = [np.abs(of_batch(vectors, each) - of_batch(teacher, 24)).mean() for each in (3, 24)]
    check_file(made, context, tmp_path)
    assert lost[3][0] < 0.9 * lost[0][0] and lost[3][1] < 1.5 * lost[0][1]
    assert (vectors * turned).sum() > 1.5 * (vectors * teacher).sum()
    assert len(turns) == 1, "the second step must not turn them again"
    assert made.facts["distillation"] == {"cuts": [12, 6, 3]}


def test_only_vectors_are_halved(tmp_path: Path) -> None:
    with pytest.raises(Inapplicable, match=r"`distillation.halvings` must be 0 where the answer is no vector"):
        Distillation(halvings=1).apply(tiny_candidate(), tiny_context(tmp_path, preview=True))
    with pytest.raises(Inapplicable, match="but is 5 for a vector of 24"):
        Distillation(halvings=5).apply(tiny_candidate(), vector_context(tmp_path))
