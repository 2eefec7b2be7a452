import numpy as np
import pytest

from eicompress.augmentation import distorted, with_distortions
from eicompress.values import Text
from tests.conftest import tiny_examples

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
    train, texts = with_distortions(tiny_examples(1), 2, 1000, seed=0)
    assert tuple(texts[:10]) == train.texts and len(texts) == 30
    shared = [set(text.split()) & set(texts[10 + at].split()) for at, text in enumerate(train.texts)]
    assert sum(map(bool, shared)) >= 9


def test_of_more_than_can_be_read_a_random_part_is_taken() -> None:
    train, texts = with_distortions(tiny_examples(8), 1, 20, seed=0)
    assert len(train) == 10 and len(texts) == 20
    assert len(train.targets) == 10 and set(train.targets.tolist()) == {0, 1}
