"""Every strategy on a model that answers questions: it trains, and the file answers as the model does."""

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
from eicompress.answers.words import words_of
from eicompress.cache import Cache
from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.heads import answer_words
from eicompress.errors import Inapplicable
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.strategies import register_strategies
from eicompress.strategies.cross_distillation import CrossDistillation
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.early_exit import EarlyExit
from eicompress.strategies.layer_distillation import LayerDistillation
from eicompress.strategies.mixed_precision import MixedPrecision
from eicompress.strategies.ngram_embedding import NgramEmbedding
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.super_network import Subnetwork, SuperNetwork
from eicompress.strategies.thin_student import ThinStudent
from eicompress.tasks.question_answering import QuestionAnswering
from eicompress.training.losses import answer_loss
from eicompress.training.teacher import answers_of, encoder_teacher

LONG = ", ".join((*MUSIC, *WEATHER))
ROWS = [
    {"question": "what is it", "context": context, "answers": {"text": [context[:4]], "answer_start": [0]}}
    for context in (*MUSIC[:2], *WEATHER[2:4], LONG)
]
VARIANTS: list[tuple[type[ModelStrategy], Mapping[str, Any]]] = [
    (Distillation, {"logits": "mse", "epochs": 1.0}),
    (CrossDistillation, {"teacher_updates": "alternating", "teacher_layers": 1, "epochs": 1.0}),
    pytest.param(SuperNetwork, {"epochs": 1.0, "random": 1, "vocabulary": 0.5}, marks=pytest.mark.slow),
    (ThinStudent, {"layers": 0, "hidden": 0.5}),
]
UNFIT = (EarlyExit, LayerDistillation, NgramEmbedding, Subnetwork)
APPLICABLE = [
    pytest.param(each, dict(each.example), marks=pytest.mark.slow)
    for each in register_strategies()
    if issubclass(each, ModelStrategy) and each not in UNFIT
]


def answering_context(folder: Path) -> Context:
    baseline = tiny_candidate(outputs=2)
    answer_words(baseline.encoder)
    columns = {"text": "question", "text_pair": "context", "label": "answers"}
    task, examples = QuestionAnswering.read({"train": ROWS}, columns)
    teacher = encoder_teacher(baseline, "tiny", "", Cache(folder / "teacher"), "cpu", aligned=True)
    return replace(tiny_context(folder, baseline), task=task, train=examples["train"], teacher=teacher)


def copied(candidate: Candidate) -> Candidate:
    return replace(candidate, model=copy.deepcopy(candidate.model))


def check_file(made: Candidate, context: Context, folder: Path) -> None:
    answer, texts = context.task.answer, context.train.texts
    artifact = artifacts.write(made, answer, folder / "artifact", pairs=True, manifest={})
    logits = runtime.load(artifact.folder).logits(texts)
    assert logits.shape == (len(texts), 1 + len(words_of(LONG)), 2)
    assert check_parity(made, texts, logits, answer).agreement >= 0.995


@pytest.mark.parametrize(
    ("strategy", "knobs"), [*VARIANTS, *APPLICABLE], ids=lambda each: each.name if isinstance(each, type) else None
)
def test_a_strategy_keeps_answers(tmp_path: Path, strategy: type[ModelStrategy], knobs: Mapping[str, Any]) -> None:
    context = answering_context(tmp_path)
    made = strategy(**knobs).apply(copied(context.baseline), context)
    assert made.encoder.config.per_word
    check_file(made, context, tmp_path)


@pytest.mark.slow
def test_parts_of_a_super_network_and_few_bits_answer_questions(tmp_path: Path) -> None:
    context = answering_context(tmp_path)
    made = copied(context.baseline)
    for step in (SuperNetwork(epochs=0.5, random=1), Subnetwork(layers=2, heads=0.5), Quantization(), MixedPrecision()):
        made = step.apply(made, context)
    check_file(made, context, tmp_path)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (LayerDistillation(), "contexts are read in windows"),
        (NgramEmbedding(buckets=64, width=8), "this encoder answers each word"),
        (EarlyExit(), "this encoder answers each word: leave it out"),
        (Distillation(state_weight=1.0), "must be 0 where each word is answered"),
    ],
)
def test_what_does_not_apply_says_why(tmp_path: Path, step: ModelStrategy, why: str) -> None:
    context = answering_context(tmp_path)
    with pytest.raises(Inapplicable, match=why):
        step.apply(copied(context.baseline), context)


def test_distillation_brings_a_students_answers_nearer_to_its_teachers(tmp_path: Path) -> None:
    context = answering_context(tmp_path)
    answer, texts = context.task.answer, context.train.texts
    wanted = torch.from_numpy(context.teacher.outputs(texts).logits.astype(np.float32))

    def distance(candidate: Candidate) -> float:
        logits = torch.from_numpy(answers_of(candidate, texts, "cpu")[0].astype(np.float32))
        return float(answer_loss(answer, logits, wanted, 1.0))

    student = ThinStudent(layers=1, heads=0.5, neurons=0.5).apply(copied(context.baseline), context)
    before = distance(student)
    step = Distillation(epochs=400.0, distortions=0, learning_rate=5e-3, label_weight=0.0)
    assert distance(step.apply(student, context)) < 0.3 * before
