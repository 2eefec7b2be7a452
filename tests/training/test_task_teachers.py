from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eicompress.answers import Labels, MultiTask, Part, Tags
from eicompress.cache import Cache
from eicompress.contracts import Array, Examples
from eicompress.training.losses import answer_loss, answer_losses, where_answered
from eicompress.training.task_teachers import TaskTeachers, tasks_by_text
from eicompress.training.teacher import LazyAnswers, StoredTeacher
from eicompress.values import Text

ANSWER = MultiTask((Part("match", Labels(("no", "yes")), True), Part("topic", Labels(("a", "b", "c")), False)))
TEXTS: tuple[Text, ...] = (("one", "other"), "single")
KNOWN = tasks_by_text(ANSWER, [Examples(TEXTS, np.array([[0, 1, 1], [1, 1, 2]]))])


def constant(folder: Path, width: int, value: float, asked: list[Text]) -> StoredTeacher:
    """A teacher that remembers what it was asked."""

    def answer(texts: Sequence[Text], progress: Callable[[int], None]) -> tuple[Array, Array]:
        asked.extend(texts)
        return np.full((len(texts), width), value, np.float16), np.ones((len(texts), 4), np.float16)

    return StoredTeacher(answer, f"{width}", "", width == 5, Cache(folder))


def test_each_teacher_is_asked_about_the_texts_of_its_task_alone(tmp_path: Path) -> None:
    of_pairs: list[Text] = []
    of_texts: list[Text] = []
    own = constant(tmp_path, 2, 1.0, of_pairs), constant(tmp_path, 3, 2.0, of_texts)
    outputs = TaskTeachers(ANSWER, own, KNOWN).outputs([*TEXTS, "not known"])
    assert outputs.logits.tolist() == [[1, 1, 0, 0, 0], [0, 0, 2, 2, 2], [0, 0, 2, 2, 2]]
    assert outputs.states.shape == (3, 0)
    assert of_pairs == [TEXTS[0]] and of_texts == ["single", "not known"]


def test_one_teacher_of_all_tasks_keeps_its_states_and_answers_for_a_texts_own_tasks(tmp_path: Path) -> None:
    both = Examples(("shared",), np.array([[0, 1, 0]])), Examples(("shared",), np.array([[1, 1, 0]]))
    known = {**KNOWN, **tasks_by_text(ANSWER, both)}
    teachers = TaskTeachers(ANSWER, (constant(tmp_path, 5, 3.0, []),), known)
    outputs = teachers.outputs([*TEXTS, "shared"])
    assert outputs.logits.tolist() == [[3, 3, 0, 0, 0], [0, 0, 3, 3, 3], [3, 3, 3, 3, 3]]
    assert outputs.states.shape == (3, 4) and teachers.aligned


def test_a_student_learns_from_a_teacher_where_that_was_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, generator=generator), torch.randn(2, 5, generator=generator)
    teacher[0, 2:] = teacher[1, :2] = 0
    expected = [
        F.kl_div(
            F.log_softmax(student[row, own], 0), F.log_softmax(teacher[row, own], 0), log_target=True, reduction="sum"
        )
        for row, own in ((0, slice(0, 2)), (1, slice(2, 5)))
    ]
    torch.testing.assert_close(answer_losses(ANSWER, student, teacher), torch.stack(expected))
    torch.testing.assert_close(answer_loss(ANSWER, student, teacher, 1.0), torch.stack(expected).mean())
    assert where_answered(ANSWER, student, teacher)[0, 2:].tolist() == [0, 0, 0]
    assert where_answered(ANSWER.parts[1].answer, student, teacher) is student
    assert answer_loss(ANSWER, student, student, 2.0).item() == pytest.approx(0, abs=1e-6)


WORDS = MultiTask((*ANSWER.parts, Part("tags", Tags(("O", "B-x")), False)))
OF_WORDS = tasks_by_text(WORDS, [Examples(("a b c", "one", "a b"), np.array([[2, 1, 0], [1, 1, 2], [2, 1, 1]]))])


def of_words(folder: Path) -> StoredTeacher:
    def answer(texts: Sequence[Text], progress: Callable[[int], None]) -> tuple[Array, Array]:
        found = np.zeros((len(texts), max(len(str(each).split()) for each in texts), 2), np.float16)
        for row, each in enumerate(texts):
            found[row, : len(str(each).split())] = row + 1
        return found, np.zeros((len(texts), 0), np.float16)

    return StoredTeacher(answer, "words", "", False, Cache(folder), word_outputs=2)


def test_a_teacher_of_words_answers_in_the_rows_behind_that_of_the_text(tmp_path: Path) -> None:
    own = constant(tmp_path, 2, 1.0, []), constant(tmp_path, 3, 2.0, []), of_words(tmp_path)
    logits = TaskTeachers(WORDS, own, OF_WORDS).outputs(["a b c", "one", "a b"]).logits
    assert logits.shape == (3, 4, 7) and logits.dtype == np.float16
    assert logits[:, 0, 2:5].tolist() == [[0, 0, 0], [2, 2, 2], [0, 0, 0]]
    assert logits[:, 1:, 5].tolist() == [[1, 1, 1], [0, 0, 0], [2, 2, 0]]
    assert np.count_nonzero(logits) == 3 + 10


def test_what_belongs_to_a_word_is_stored_once_for_each_word_of_a_text_with_such_a_task(tmp_path: Path) -> None:
    def answer(texts: Sequence[Text], progress: Callable[[int], None]) -> tuple[Array, Array]:
        found = np.zeros((len(texts), 1 + max(len(str(each).split()) for each in texts), 7), np.float16)
        for row, each in enumerate(texts):
            found[row, 0, :5] = found[row, 1 : 1 + len(str(each).split()), 5:] = 1.0
        return found, np.zeros((len(texts), 0), np.float16)

    of_all = StoredTeacher(answer, "all", "", True, Cache(tmp_path), word_outputs=2)
    texts = ["a b c", "one", "a b", "not known"]
    first = of_all.outputs(texts[2:3]).logits
    assert np.array_equal(of_all.outputs(texts).logits[2:3, :3], first)
    assert [each.of_words.shape for each in of_all.answers.shards] == [(2, 2), (6, 2)]
    assert [each.of_texts.shape for each in of_all.answers.shards] == [(1, 5), (3, 5)]
    outputs = TaskTeachers(WORDS, (of_all,), OF_WORDS).outputs(texts)
    assert outputs.counts.tolist() == [3, 0, 2, 2] and outputs.of_words.all()
    answers = LazyAnswers(TaskTeachers(WORDS, (of_all,), OF_WORDS), texts)
    assert not answers.logits(np.array([2])).any(), "not asked for yet"
    answers.ask(np.arange(4))
    assert sum(each.size for each in (answers.outputs.of_texts, answers.outputs.of_words)) == 5 * 5 + 7 * 2
    assert np.array_equal(answers.logits(np.arange(4)), outputs.logits)
    assert np.array_equal(answers.logits(np.array([1, 3])), outputs.logits[[1, 3], :3])


def test_tasks_of_texts_and_of_words_are_learned_from_their_own_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(3, 4, 7, generator=generator), torch.zeros(3, 3, 7)
    teacher[1, 0, 2:5] = torch.randn(3, generator=generator)
    teacher[0, 1:, 5:], teacher[2, 1, 5:] = torch.randn(2, 2, generator=generator), 1.0

    def divergence(row: int, slot: int, own: slice) -> torch.Tensor:
        both = (F.log_softmax(each[row, slot, own], 0) for each in (student, teacher))
        return F.kl_div(*both, log_target=True, reduction="sum")

    of_words = [divergence(row, slot, slice(5, 7)) for row, slot in ((0, 1), (0, 2), (2, 1))]
    expected = torch.stack([(of_words[0] + of_words[1]) / 2, divergence(1, 0, slice(2, 5)), of_words[2]])
    torch.testing.assert_close(answer_losses(WORDS, student, teacher), expected)
    mean = expected[1] / 3 + 2 / 3 * torch.stack(of_words).mean()
    torch.testing.assert_close(answer_loss(WORDS, student, teacher, 1.0), mean)
    torch.testing.assert_close(answer_loss(WORDS, student[1:2], teacher[1:2], 1.0), expected[1])
    asked = where_answered(WORDS, student, teacher)
    assert not asked[1, :, 5:].any() and not asked[[0, 2], :, :5].any() and asked[0, 1:, 5:].all()
