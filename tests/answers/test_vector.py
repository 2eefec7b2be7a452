import numpy as np
import pytest
from scipy.stats import spearmanr

from eicompress.answers import Labels, Vector, from_json, of_config
from eicompress.answers.vector import eight_bits, first, halves, pairs_of

CHANCE = np.random.default_rng(0)
VECTORS = CHANCE.normal(size=(40, 6)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
TARGETS = np.stack([np.repeat(np.arange(20), 2), np.repeat(CHANCE.random(20), 2)], axis=1).astype(np.float32)
TEXTS = tuple(f"text {at}" for at in range(40))


def test_a_vector_comes_back_from_a_file_and_from_a_config() -> None:
    assert from_json(Vector(6).to_json()) == Vector(6) == of_config(Vector(6).config())
    assert of_config({"embedding_dimensions": True}) is None


def test_pairs_are_found_in_any_order_and_only_whole() -> None:
    shuffled = CHANCE.permutation(40)
    pairs = pairs_of(TARGETS[shuffled])
    assert len(pairs.scores) == 20
    assert sorted(pairs.cosines(VECTORS[shuffled])) == pytest.approx(sorted(pairs_of(TARGETS).cosines(VECTORS)))
    assert len(pairs_of(TARGETS[:39]).scores) == 19, "one text has lost its partner"
    unknown = TARGETS.copy()
    unknown[:4, 1] = np.nan
    assert len(pairs_of(unknown).scores) == 18


def test_a_vector_without_length_is_like_nothing() -> None:
    assert pairs_of(TARGETS).cosines(np.zeros((40, 6), np.float32)).tolist() == [0.0] * 20


def test_the_difference_is_that_of_two_rank_correlations() -> None:
    pairs, other = pairs_of(TARGETS), VECTORS + 0.3 * CHANCE.normal(size=VECTORS.shape).astype(np.float32)
    one, two = (spearmanr(pairs.cosines(each), pairs.scores).statistic for each in (VECTORS, other))
    mean, half = Vector(6).difference(TARGETS, VECTORS, other)
    assert mean == pytest.approx(one - two) and 0 < half < 1
    assert Vector(6).difference(TARGETS, VECTORS, VECTORS) == (0.0, 0.0)


def test_models_of_another_width_do_not_answer_it() -> None:
    assert Vector(6).outputs_of(Vector(6)) == Vector().outputs_of(Vector(6)) == (0, 1, 2, 3, 4, 5)
    assert Vector(6).outputs_of(Vector(7)) is None is Vector(6).outputs_of(Labels(("a", "b")))
    assert Vector(6).mismatch("the teacher `t`", Vector(7)) == (
        "The teacher `t` must answer a vector of 6 dimensions, but answers one of 7. Take one of the same width."
    )


def test_agreement_is_that_of_directions() -> None:
    assert Vector(6).agrees(VECTORS, VECTORS).all() and not Vector(6).agrees(VECTORS, np.roll(VECTORS, 1, axis=0)).any()


def test_mistakes_begin_with_the_pair_that_is_most_wrong() -> None:
    targets = TARGETS.copy()
    cosines = pairs_of(targets).cosines(VECTORS)
    targets[:, 1] = np.repeat(cosines, 2)
    worst = int(np.argmin(cosines))
    targets[[2 * worst, 2 * worst + 1], 1] = 5.0
    found = Vector(6).mistakes(TEXTS, targets, VECTORS, VECTORS)
    assert found.tables[0].rows[0][0] == f"text {2 * worst} | text {2 * worst + 1}"
    assert found.tables[0].rows[0][-1] == "-100%" and found.charts[0].diagonal == (0.0, 1.0)


def test_texts_with_the_same_words_are_alike_to_the_simplest() -> None:
    texts = ("play a song", "a song to play", "will it rain")
    one, other, rain = Vector(6).simplest_logits(texts, TARGETS, texts)
    assert one @ other > 0.5 > one @ rain == pytest.approx(0.0)
    assert not Vector(6).simplest_logits(("!",), TARGETS, texts).any()


def test_the_first_dimensions_have_length_one_and_no_length_stays_none() -> None:
    cut = first(VECTORS, 2)
    assert cut == pytest.approx(VECTORS[:, :2] / np.hypot(VECTORS[:, :1], VECTORS[:, 1:2]), abs=1e-6)
    assert first(VECTORS) == pytest.approx(VECTORS, abs=1e-6) and not first(np.zeros((1, 3), np.float32)).any()
    assert halves(24, 3) == (12, 6, 3) and halves(3, 3) == (1,)


def test_eight_bits_keep_cosines() -> None:
    codes = eight_bits(VECTORS)
    assert codes.dtype == np.int8 and np.abs(codes).max(axis=1).tolist() == [127] * 40
    assert first(codes) @ first(codes).T == pytest.approx(VECTORS @ VECTORS.T, abs=0.01)
    assert not eight_bits(np.zeros((1, 3), np.float32)).any()
