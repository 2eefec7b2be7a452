import pytest
import torch

from eicompress.encoder.tokens import tokenize
from eicompress.errors import Inapplicable
from eicompress.strategies.thin_student import ThinStudent, chosen_layers
from eicompress.training.teacher import answers_of
from tests.conftest import ContextMaker, tiny_candidate


@pytest.mark.parametrize(
    ("kept", "how", "expected"),
    [
        (3, "spread", [1, 3, 5]),
        (2, "spread", [2, 5]),
        (1, "spread", [5]),
        (6, "spread", [0, 1, 2, 3, 4, 5]),
        (0, "spread", []),
        (3, "first", [0, 1, 2]),
        (3, "ends", [0, 1, 5]),
        (1, "ends", [5]),
    ],
)
def test_layers_are_chosen_as_asked(kept: int, how: str, expected: list[int]) -> None:
    assert chosen_layers(6, kept, how) == expected


def test_the_whole_student_is_its_teacher(make_context: ContextMaker) -> None:
    context, student = make_context(), tiny_candidate()
    whole = ThinStudent(layers=3, neurons=1.0, length_coverage=1.0).apply(student, context)
    ours, _ = answers_of(whole, context.train.texts, "cpu")
    theirs, _ = answers_of(context.baseline, context.train.texts, "cpu")
    assert (ours == theirs).all()


def test_a_thin_student_has_the_shapes_asked_for_and_the_teachers_weights(make_context: ContextMaker) -> None:
    context = make_context()
    student = ThinStudent(layers=2, heads=0.5, neurons=0.25, hidden=0.67).apply(tiny_candidate(), context)
    config = student.model.config
    assert [(each.heads, each.ffn) for each in config.layers] == [(2, 8), (2, 8)]
    assert config.hidden == 16 and student.origin.layers == (1, 2)
    teacher_words = context.baseline.model.words.weight
    assert torch.equal(student.model.words.weight, teacher_words[:, list(student.origin.hidden)])


def test_positions_that_no_training_text_needs_go_and_longer_texts_are_cut(make_context: ContextMaker) -> None:
    context = make_context()
    student = ThinStudent().apply(tiny_candidate(), context)
    assert student.model.config.positions == 8
    assert student.facts["thin_student"] == {"positions": 8, "share_of_training_texts_cut": 0.0}
    assert tokenize(student.tokenizer, ["play the song today " * 10]).lengths.tolist() == [8]


def test_without_layers_the_student_is_a_static_embedding_model(make_context: ContextMaker) -> None:
    student = ThinStudent(layers=0).apply(tiny_candidate(), make_context())
    assert student.model.config.pooling == "mean" and len(student.model.layers) == 0


def test_more_layers_than_there_are_is_inapplicable(make_context: ContextMaker) -> None:
    with pytest.raises(Inapplicable, match="is 4, but the model has 3 layers"):
        ThinStudent(layers=4).apply(tiny_candidate(), make_context())
