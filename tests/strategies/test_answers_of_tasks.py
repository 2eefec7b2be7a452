"""Every strategy on a model of a task of texts, one of pairs, and one of words: it trains, and the file answers as the
model does."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MUSIC, WEATHER, tiny_candidate, tiny_context
from torch.nn import functional as F

from eicompress import runtime
from eicompress.answers import MultiTask
from eicompress.cache import Cache
from eicompress.contracts import Candidate, Context, Examples, ModelStrategy
from eicompress.encoder.heads import answer_words
from eicompress.encoder.tokens import tokenize
from eicompress.errors import Inapplicable
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.strategies import register_strategies
from eicompress.strategies.augmentation import Augmentation
from eicompress.strategies.cross_distillation import CrossDistillation, _Teacher
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.early_exit import EarlyExit
from eicompress.strategies.ngram_embedding import NgramEmbedding
from eicompress.strategies.super_network import Subnetwork
from eicompress.tasks.multi_task import SeveralTasks
from eicompress.training.task_teachers import TaskTeachers, tasks_by_text
from eicompress.training.teacher import encoder_teacher
from eicompress.values import Json

TEXTS = (*MUSIC, *WEATHER)
ROWS: list[Json] = [
    row
    for at, text in enumerate((*TEXTS, *TEXTS))
    for row in (
        {"task": "topic", "text": text, "label": "music" if text in MUSIC else "weather"},
        {"task": "match", "text": text, "text_pair": TEXTS[at % 7], "label": "yes" if at % 3 else "no"},
    )
]
SLOTS: list[Json] = [
    {"task": "slots", "tokens": text.split(), "tags": ["B-x", *["O"] * (len(text.split()) - 1)], "label": label}
    for label, texts in (("music", MUSIC), ("weather", WEATHER))
    for text in texts
]
VARIANTS: list[tuple[type[ModelStrategy], Mapping[str, Any]]] = [
    (Distillation, {"logits": "mse", "state_weight": 1.0}),
    (CrossDistillation, {"teacher_updates": "none"}),
    (CrossDistillation, {"teacher_updates": "alternating", "teacher_layers": 1, "head": "copy"}),
    (Augmentation, {"copies": 1, "pool": 2.0}),
]


def context_of(folder: Path, teachers: int = 1, rows: Sequence[Json] = ROWS) -> Context:
    """Taught by the baseline, or by a model for each of the two tasks."""
    task, examples = SeveralTasks.read({"train": rows}, {})
    baseline, cache = tiny_candidate(outputs=task.answer.outputs), Cache(folder / "teacher")
    if task.answer.per_word:
        answer_words(baseline.encoder, task.answer.word_outputs)
    if teachers == 1:
        models = (encoder_teacher(baseline, "tiny", "", cache, "cpu", aligned=True),)
    else:
        models = tuple(encoder_teacher(tiny_candidate(at), f"{at}", "", cache, "cpu", False) for at in (1, 2))
    teacher = TaskTeachers(task.answer, models, tasks_by_text(task.answer, examples.values()))
    return replace(tiny_context(folder, baseline), task=task, train=examples["train"], teacher=teacher)


def applied(step: ModelStrategy, context: Context) -> Candidate:
    return step.apply(replace(context.baseline, model=copy.deepcopy(context.baseline.model)), context)


def check_file(made: Candidate, train: Examples, answer: MultiTask, folder: Path) -> None:
    artifact = artifacts.write(made, answer, folder / "artifact", pairs=True, manifest={})
    logits = runtime.load(artifact.folder).logits(train.texts)
    assert logits.shape[0] == len(train) and logits.shape[-1] == answer.outputs
    assert check_parity(made, train.texts, logits, answer).agreement >= 0.995


APPLICABLE = [
    pytest.param(each, dict(each.example), marks=pytest.mark.slow)
    for each in register_strategies()
    if issubclass(each, ModelStrategy) and each not in (EarlyExit, NgramEmbedding, Subnetwork)
]


@pytest.mark.parametrize(
    ("strategy", "knobs"), [*APPLICABLE, *(pytest.param(*each, marks=pytest.mark.slow) for each in VARIANTS)]
)
def test_a_strategy_makes_a_file_that_answers_each_task_as_the_model_does(
    strategy: type[ModelStrategy], knobs: dict[str, Any], tmp_path: Path
) -> None:
    context = context_of(tmp_path)
    answer = context.task.answer
    assert isinstance(answer, MultiTask)
    check_file(applied(strategy(**knobs), context), context.train, answer, tmp_path)


@pytest.mark.parametrize(
    ("strategy", "knobs"),
    [
        *APPLICABLE,
        (Distillation, {"logits": "mse", "epochs": 0.2}),
        pytest.param(
            CrossDistillation, {"teacher_updates": "alternating", "teacher_layers": 1}, marks=pytest.mark.slow
        ),
        pytest.param(Augmentation, {"copies": 1, "pool": 2.0}, marks=pytest.mark.slow),
    ],
)
def test_a_strategy_makes_a_file_that_answers_words_beside_texts_as_the_model_does(
    strategy: type[ModelStrategy], knobs: dict[str, Any], tmp_path: Path
) -> None:
    context = context_of(tmp_path, rows=[*ROWS, *SLOTS])
    answer = context.task.answer
    assert isinstance(answer, MultiTask) and answer.reads == "both"
    made = applied(strategy(**knobs), context)
    assert made.encoder.config.word_outputs == answer.word_outputs
    check_file(made, context.train, answer, tmp_path)


def test_early_exits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Inapplicable, match="multi_task"):
        applied(EarlyExit(), context_of(tmp_path))


def test_unlabelled_sentences_are_texts_of_the_tasks_that_read_single_ones(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    made = applied(Augmentation(copies=0, unlabelled=3), context)
    assert made.texts == tuple(context.unlabelled)
    logits = context.teacher.outputs(made.texts).logits
    assert logits[:, 2:].all() and not logits[:, :2].any()


def test_states_of_teachers_of_their_own_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(Inapplicable, match="must be 0 where each task has its own teacher"):
        applied(Distillation(state_weight=1.0), context_of(tmp_path, teachers=2))
    with pytest.raises(Inapplicable, match="lends the head of the model itself"):
        applied(CrossDistillation(), context_of(tmp_path, teachers=2))


@pytest.mark.slow
def test_a_student_comes_nearer_to_the_teachers_of_its_tasks(tmp_path: Path) -> None:
    context = context_of(tmp_path, teachers=2)
    wanted = np.asarray(context.teacher.outputs(context.train.texts).logits, np.float32)
    step = Distillation(epochs=4.0, distortions=0, label_weight=0.0, temperature=1.0, learning_rate=3e-3)

    def distance(candidate: Candidate) -> float:
        tokens = tokenize(candidate.tokenizer, context.train.texts)
        batch = tokens.batch(np.arange(len(context.train)), 0, "cpu")
        with torch.no_grad():
            logits = batch.logits(candidate.model.eval())
        halves = [(logits[:, own], torch.from_numpy(wanted[:, own])) for own in (slice(0, 2), slice(2, 4))]
        asked = [(one[other.any(1)], other[other.any(1)]) for one, other in halves]
        found = [F.kl_div(*(each.log_softmax(1) for each in pair), reduction="sum", log_target=True) for pair in asked]
        return float(torch.stack(found).sum())

    assert distance(applied(step, context)) < 0.5 * distance(context.baseline)


def test_a_teacher_beside_the_student_answers_for_the_own_tasks_of_a_text(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    texts = list(context.train.texts)
    teacher = _Teacher(CrossDistillation(), context, context.train, texts)
    teacher.answers.ask(np.arange(len(texts)))
    batch = tokenize(context.baseline.tokenizer, texts).batch(np.arange(len(texts)), 0, "cpu")
    logits = teacher(batch).logits
    single = torch.tensor([isinstance(text, str) for text in texts])
    assert not logits[single, :2].any() and logits[single, 2:].all()
    assert not logits[~single, 2:].any() and logits[~single, :2].all()
