from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from eicompress.answers import TeacherOutputs
from eicompress.contracts import Teacher
from eicompress.strategies.cross_distillation import CrossDistillation
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent
from eicompress.training.teacher import answers_of
from eicompress.values import Text
from tests.conftest import ContextMaker, tiny_candidate


def test_distillation_brings_the_student_nearer_to_its_teacher(make_context: ContextMaker) -> None:
    context = make_context()
    student = ThinStudent(layers=1).apply(tiny_candidate(), context)
    _, teacher = answers_of(context.baseline, context.train.texts, "cpu")
    _, before = answers_of(student, context.train.texts, "cpu")
    student = Quantization().apply(student, context)
    student = Distillation(epochs=10, distortions=1, learning_rate=3e-3, state_weight=1.0).apply(student, context)
    _, after = answers_of(student, context.train.texts, "cpu")
    assert np.abs(after - teacher).mean() < 0.5 * np.abs(before - teacher).mean()


def test_a_narrow_student_is_compared_in_the_dimensions_it_kept(make_context: ContextMaker) -> None:
    context = make_context()
    student = ThinStudent(layers=3, neurons=1.0, hidden=0.67).apply(tiny_candidate(), context)
    Distillation(epochs=1, distortions=0, state_weight=1.0).apply(student, context)


@dataclass(frozen=True)
class Stranger:
    """A teacher that says what another says, with states of its own: wider, and in another order."""

    known: Teacher
    digest = "stranger"
    aligned = False

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        outputs = self.known.outputs(texts)
        return replace(outputs, states=np.concatenate([outputs.states[:, ::-1], outputs.states * 2], axis=1))


def test_states_of_another_teacher_are_learned_through_a_map(make_context: ContextMaker) -> None:
    """The student's states must come to determine the teacher's: a linear map from one to the other fits better."""
    context = make_context()
    stranger = Stranger(context.teacher)
    student = ThinStudent(layers=1).apply(tiny_candidate(), context)
    texts = sorted(set(context.train.texts))
    wanted = stranger.outputs(texts).states.astype(np.float64)

    def unexplained() -> float:
        states = answers_of(student, texts, "cpu")[1].astype(np.float64)[:, :4]
        return float(np.linalg.lstsq(states, wanted, rcond=None)[1].sum())

    before = unexplained()
    distillation = Distillation(epochs=10, distortions=0, learning_rate=3e-3, label_weight=0.0, state_weight=10.0)
    distillation.apply(student, replace(context, teacher=stranger))
    assert unexplained() < before


def test_held_out_texts_and_their_distortions_are_not_learned_from(make_context: ContextMaker) -> None:
    context, seen = make_context(), []
    step = Distillation(distortions=2, held_out=0.25)
    step.apply(tiny_candidate(), replace(context, fit=lambda _, training: seen.append(training)))
    held_out = np.array(seen[0].held_out)
    assert len(held_out) == 60 and len(np.unique(held_out % 80)) == 20


def test_no_more_text_is_distorted_and_labelled_than_the_steps_can_read(make_context: ContextMaker) -> None:
    context = make_context()
    limited = Distillation(epochs=5, distortions=1, max_steps=2, batch_size=10)
    student = limited.apply(tiny_candidate(), context)
    answered = len(context.teacher.answers.places)  # type: ignore[attr-defined]
    assert 0 < answered <= 20 and student.model.config == tiny_candidate().model.config


@pytest.mark.parametrize("strategy", [Distillation, CrossDistillation])
def test_a_short_training_asks_the_teacher_only_for_the_texts_that_it_reads(
    make_context: ContextMaker, strategy: type[Distillation | CrossDistillation]
) -> None:
    context = make_context(fidelity=0.1)
    strategy(epochs=5, distortions=3, batch_size=8).apply(tiny_candidate(), context)  # 320 texts, 160 of which are read
    short = len(context.teacher.answers.places)  # type: ignore[attr-defined]
    longer = make_context(fidelity=0.4)
    strategy(epochs=5, distortions=3, batch_size=8).apply(tiny_candidate(), longer)
    assert 0 < short < len(longer.teacher.answers.places)  # type: ignore[attr-defined]


def test_a_preview_asks_no_teacher_and_changes_nothing(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    student = tiny_candidate()
    before = [each.clone() for each in student.model.parameters()]
    made = Distillation().apply(student, context)
    assert all(torch.equal(one, two) for one, two in zip(before, made.model.parameters(), strict=True))
    assert not context.teacher.answers.places  # type: ignore[attr-defined]
