import numpy as np
import pytest
import torch

from eicompress.training.token_alignment import Slots, align
from eicompress.values import Text
from tests.conftest import spelling, tiny_tokenizer


@pytest.mark.parametrize(
    ("text", "words", "first", "second"),
    [
        ("play the song", (), [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ("play the song", ("the",), [0, 1, 2, 2, 2, 3, 4], [0, 1, 2, 3, 4]),
        # The teacher spells a word too: where the two differ, each word is a slot for both.
        ("pla the", ("the",), [0, 1, 1, 1, 2, 2, 2, 3], [0, 1, 1, 1, 2, 3]),
        (("it", "the sun"), ("sun",), [0, 1, 2, 3, 4, 4, 4, 5], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_pieces_of_a_word_share_its_slot(
    text: Text, words: tuple[str, ...], first: list[int], second: list[int]
) -> None:
    slots = align(spelling(*words), tiny_tokenizer(), [text]).batch(np.array([0]), "cpu")
    assert slots.first.tolist() == [first] and slots.second.tolist() == [second]
    assert slots.mask.tolist() == [[1] * (max(second) + 1)]


def test_words_that_one_of_them_cuts_off_are_not_compared() -> None:
    short = spelling("rain")
    short.enable_truncation(5)
    slots = align(short, tiny_tokenizer(), ["will it rain today"]).batch(np.array([0]), "cpu")
    assert slots.first.tolist() == [[0, 1, 2, 3, 5]]  # of `rain` its first letter
    assert slots.mask.tolist() == [[1, 1, 1, 1, 0, 1]]


SLOTS = Slots(torch.tensor([[0, 1, 1, -1]]), torch.tensor([[0, 1]]), count=2)


def test_states_of_a_slot_are_averaged() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 0.0], [5.0, 4.0], [9.0, 9.0]]])
    assert SLOTS.states(states, SLOTS.first).tolist() == [[[1.0, 2.0], [4.0, 2.0]]]


def test_attention_to_a_slot_is_summed_and_that_of_its_tokens_averaged() -> None:
    of_one_head = [[0.2, 0.3, 0.5, 0.0], [0.6, 0.3, 0.1, 0.0], [0.2, 0.6, 0.2, 0.0], [1.0, 0.0, 0.0, 0.0]]
    other = [[1.0, 0.0, 0.0, 0.0]] * 4
    made = SLOTS.maps(torch.tensor([[of_one_head, other]]), SLOTS.first)
    assert torch.allclose(made[0, 0], torch.tensor([[0.2, 0.8], [0.4, 0.6]]))
    assert torch.allclose(made[0, 1], torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
