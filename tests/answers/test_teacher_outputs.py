import numpy as np
import pytest

from eicompress.answers import TeacherOutputs
from eicompress.answers.teacher_outputs import joined


def logits_of(lengths: list[int], texts: int, words: int) -> np.ndarray:
    """Of texts of these numbers of words, with one row more than the longest needs."""
    first = int(texts > 0)
    made = np.zeros((len(lengths), first + max(lengths) + 1, texts + words), np.float16)
    drawn = np.random.default_rng(0).uniform(1, 2, made.shape)
    made[:, :first, :texts] = drawn[:, :first, :texts]
    for row, length in enumerate(lengths):
        made[row, first : first + length, texts:] = drawn[row, first : first + length, texts:]
    return made


@pytest.mark.parametrize(("texts", "words"), [(150, 79), (0, 79)])
def test_a_text_is_kept_once_and_each_of_its_words_once(texts: int, words: int) -> None:
    lengths = [3, 0, 35, 1]
    logits = logits_of(lengths, texts, words)
    logits[2, 5] = 0  # a word that was not read, before others that were
    outputs = TeacherOutputs.of(logits, np.zeros((4, 0), np.float16), words)
    assert outputs.counts.tolist() == lengths and outputs.logits.dtype == np.float16
    assert outputs.of_texts.size + outputs.of_words.size == 4 * texts + 39 * words
    assert np.array_equal(outputs.logits, logits[:, :-1]), "the longest text decides how many rows there are"


def test_texts_are_taken_and_joined_with_their_own_words() -> None:
    logits, states = logits_of([3, 0, 2], 4, 3), np.arange(6, dtype=np.float16).reshape(3, 2)
    outputs = TeacherOutputs.of(logits, states, 3)
    taken = outputs.take(np.array([2, 0, 2]))
    assert np.array_equal(taken.logits, logits[[2, 0, 2], :4]) and np.array_equal(taken.states, states[[2, 0, 2]])
    assert outputs.take(np.array([1])).logits.shape == (1, 2, 7)
    both = joined([outputs, taken])
    assert np.array_equal(both.logits, np.concatenate([logits, logits[[2, 0, 2]]])[:, :4])


def test_answers_of_texts_alone_are_as_they_are() -> None:
    logits = np.arange(6, dtype=np.float16).reshape(3, 2)
    outputs = TeacherOutputs.of(logits, logits)
    assert outputs.logits is logits and outputs.take(np.array([1, 1])).logits.tolist() == [[2, 3], [2, 3]]
