"""What a strategy promises of a model of several tasks, which answers texts, pairs of texts and words."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from eicompress import runtime
from eicompress.cache import Cache
from eicompress.contracts import Context, Examples, ModelStrategy, Strategy
from eicompress.encoder.heads import answer_words
from eicompress.errors import Inapplicable
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.tasks.multi_task import SeveralTasks
from eicompress.testing.building import build
from eicompress.testing.claims import Claim, hold
from eicompress.testing.tiny import tiny_candidate, tiny_context
from eicompress.training.task_teachers import TaskTeachers, tasks_by_text
from eicompress.training.teacher import encoder_teacher

COPIES = 4
"""Of each row of the tasks' example, to learn from."""


def several_tasks_claim(name: str, step: Strategy) -> Claim:
    """The claim of a strategy, tried on the tasks of `SeveralTasks.example`."""

    def check(folder: Path) -> None:
        try:
            _check_answers(step, folder)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(
                "it must keep the answers for texts and for words, or raise `Inapplicable`, but of several tasks came "
                f"{type(error).__name__}: {error}"
            ) from error

    return Claim(name, "keeps the answers of several tasks or is inapplicable", check)


def tasks_context(folder: Path) -> Context:
    """As `tiny_context`, of tasks of texts, of pairs of texts and of words, with one teacher for all of them."""
    task, examples = SeveralTasks.read({"train": SeveralTasks.example}, {})
    train, outputs = examples["train"], (task.answer.outputs, task.answer.word_outputs)
    baseline = tiny_candidate(outputs=outputs[0])
    answer_words(baseline.encoder, outputs[1])
    cache = Cache(folder / "teacher")
    own = encoder_teacher(baseline, "tiny", "", cache, "cpu", aligned=True)
    teacher = TaskTeachers(task.answer, (own,), tasks_by_text(task.answer, [train]))
    many = Examples(COPIES * train.texts, np.tile(train.targets, (COPIES, 1)))
    return replace(tiny_context(folder, baseline), task=task, train=many, teacher=teacher)


def _check_answers(step: Strategy, folder: Path) -> None:
    context = tasks_context(folder)
    answer, texts = context.task.answer, context.train.texts[: len(context.train) // COPIES]
    try:
        built = build((step,), context, folder)
    except Inapplicable:
        return
    made = artifacts.write(
        built.candidate, answer, folder / "artifact", pairs=context.task.pairs, manifest={}, graph=built.graph
    )
    logits = answer.standard(runtime.load(made.folder).logits(texts))
    hold(bool(np.isfinite(logits).all()), "the logits must be finite, but are not")
    given, wanted = logits.shape[-1], answer.outputs
    hold(given == wanted, f"the file must have the {wanted} outputs of the tasks, but has {given}")
    if isinstance(step, ModelStrategy):
        check_parity(built.candidate, texts, logits, answer)
