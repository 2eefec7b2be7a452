import numpy as np
import pytest
import torch

from eicompress.training.augmentation import distorted, nearest_words, renamed, with_distortions, words_of
from eicompress.values import Text
from tests.conftest import tiny_examples, tiny_tokenizer

TEXTS = ["play the song", "will it rain today"] * 20
PAIRS = [("what is it", "the sun"), ("will it rain", "stop the music today")] * 20


def test_distortions_are_drawn_from_the_generator_alone() -> None:
    one = distorted(TEXTS, np.random.default_rng(3))
    assert one == distorted(TEXTS, np.random.default_rng(3))
    assert one != distorted(TEXTS, np.random.default_rng(4))


@pytest.mark.parametrize("texts", [TEXTS, PAIRS])
def test_a_distortion_has_only_words_of_the_corpus_and_keeps_pairs_pairs(texts: list[Text]) -> None:
    def sides(text: Text) -> tuple[str, ...]:
        return (text,) if isinstance(text, str) else text

    words = {word for text in texts for side in sides(text) for word in side.split()}
    made = distorted(texts, np.random.default_rng(0))
    for text, other in zip(texts, made, strict=True):
        assert isinstance(text, str) == isinstance(other, str)
        assert all(side and set(side.split()) <= words for side in sides(other))
    assert sum(one != two for one, two in zip(texts, made, strict=True)) > len(texts) / 2


def test_the_examples_come_first_and_their_distortions_in_the_same_order() -> None:
    train, texts = with_distortions(tiny_examples(1), (), 2, 1000, seed=0)
    assert tuple(texts[:10]) == train.texts and len(texts) == 30
    shared = [set(text.split()) & set(texts[10 + at].split()) for at, text in enumerate(train.texts)]
    assert sum(map(bool, shared)) >= 9


def test_of_more_than_can_be_read_a_random_part_is_taken() -> None:
    train, texts = with_distortions(tiny_examples(8), (), 1, 20, seed=0)
    assert len(train) == 10 and len(texts) == 20
    assert len(train.targets) == 10 and set(train.targets.tolist()) == {0, 1}


def test_of_more_text_a_random_part_is_taken_too() -> None:
    more = [f"more {number}" for number in range(160)]
    train, texts = with_distortions(tiny_examples(8), more, 0, 60, seed=0)
    assert len(train) == 20 and len(texts) == 60
    assert set(texts[20:]) < set(more)
    assert with_distortions(tiny_examples(1), more, 0, 1000, seed=0)[1][10:] == more


NEAREST = {"rain": ["sun", "weather"], "song": ["music"], "play": []}


def test_words_are_replaced_by_near_ones_and_nothing_else_changes() -> None:
    made = {str(text) for text in renamed(["Play the song, rain!"] * 50, NEAREST, 0.5, np.random.default_rng(0))}
    assert made == {
        f"Play the {song}, {rain}!" for song in ("song", "music") for rain in ("rain", "sun", "weather")
    } - {"Play the song, rain!"}


def test_one_side_of_a_pair_is_renamed() -> None:
    made = renamed([("rain", "song")] * 20, NEAREST, 1.0, np.random.default_rng(0))
    assert {("rain", "music"), ("sun", "song"), ("weather", "song")} == set(made)


def test_a_text_of_unknown_words_stays() -> None:
    assert renamed(["xyz, play"], NEAREST, 1.0, np.random.default_rng(0)) == ["xyz, play"]


def test_near_words_are_those_of_the_smallest_angle() -> None:
    """By hand: "ab" is the mean of its letters, at 45 degrees between the axes; lengths do not matter."""
    tokenizer = tiny_tokenizer()
    table = torch.zeros(tokenizer.get_vocab_size(), 2)
    places = {"a": [1.0, 0.0], "##b": [0.0, 1.0], "rain": [9.0, 10.0], "sun": [3.0, 0.0], "song": [-1.0, 0.1]}
    for token, place in places.items():
        table[tokenizer.token_to_id(token)] = torch.tensor(place)
    found = nearest_words(tokenizer, table, ["ab", "sun"], ["rain", "sun", "song", "ab"], 2)
    assert found == {"ab": ["rain", "sun"], "sun": ["ab", "rain"]}  # cos 45 degrees is 0.71, that of rain 0.67


def test_words_are_lower_case_and_without_marks() -> None:
    assert words_of(["Don't play, PLAY!", ("will it?", "rain")]) == ["don't", "it", "play", "rain", "will"]
