import numpy as np
import pytest
import torch
from conftest import tiny_encoder, tiny_examples, tiny_task, tiny_tokenizer

from eicompress.contracts import Examples
from eicompress.yardsticks import Static, _regression, _Words, yardsticks

TFIDF = "tf-idf with logistic regression"
MEAN = "static embeddings with logistic regression"
STATIC = Static(tiny_tokenizer(), tiny_encoder().words.weight.detach())


def test_the_majority_class_is_right_as_often_as_it_occurs() -> None:
    train = Examples(("a", "b", "c"), np.array([1, 1, 0]))
    measured = Examples(("x", "y", "z", "w"), np.array([1, 0, 0, 0]))
    assert yardsticks(tiny_task(), train, measured, STATIC, 0)["majority class"]["quality"] == 0.25


def test_tfidf_tells_simple_topics_apart() -> None:
    found = yardsticks(tiny_task(), tiny_examples(), tiny_examples(1), STATIC, 0)[TFIDF]
    assert found["quality"] == 1.0
    assert 0 < found["size_mb"] < 0.001


def test_vectors_are_weighted_as_scikit_learn_does() -> None:
    texts = ("rain rain sun", "rain today", "sun")
    words = _Words.of(texts, 10)
    assert set(words.weights) == {"rain", "sun"}
    assert words.weights["rain"] == pytest.approx(np.log(4 / 3) + 1)
    first = words.vectors(texts).to_dense()[0].numpy()
    two, one = (1 + np.log(2)) * words.weights["rain"], words.weights["sun"]
    assert first == pytest.approx(np.array([two, one]) / np.hypot(two, one))


def test_of_a_long_text_the_first_words_are_read() -> None:
    assert set(_Words.of(("rain " * 100 + "sun",) * 2, 10).weights) == {"rain", "rain rain"}


def test_the_regression_is_at_its_minimum() -> None:
    train = tiny_examples()
    vectors = _Words.of(train.texts, 100).vectors(train.texts)
    logits = _regression(vectors, train.targets, 2, vectors)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # Where the gradient of an unpenalised bias is zero, the predicted shares of the labels are the counted ones.
    assert shares.mean(axis=0) == pytest.approx([0.5, 0.5], abs=1e-3)


def test_texts_without_a_known_word_and_pairs_are_read() -> None:
    pairs = Examples(tuple(("play it", text) for text in ("rain", "sun", "rain", "sun")), np.array([0, 1, 0, 1]))
    unknown = Examples((("", "?"), ("", "rain")), np.array([0, 0]))
    assert yardsticks(tiny_task(), pairs, unknown, STATIC, 0)[TFIDF]["quality"] == 1.0


def test_the_same_seed_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eicompress.yardsticks.ROWS", 10)
    first = yardsticks(tiny_task(), tiny_examples(), tiny_examples(1), STATIC, 3)
    assert first == yardsticks(tiny_task(), tiny_examples(), tiny_examples(1), STATIC, 3)
    assert "10 texts" in first[TFIDF]["note"]


def test_targets_that_are_no_labels_have_no_simple_methods() -> None:
    scores = Examples(("a", "b"), np.array([0.5, 0.7]))
    assert yardsticks(tiny_task(), scores, scores, STATIC, 0) == {}


def test_the_mean_of_token_embeddings_tells_simple_topics_apart() -> None:
    found = yardsticks(tiny_task(), tiny_examples(), tiny_examples(1), STATIC, 0)[MEAN]
    assert found["quality"] > 0.9
    words, size = len(STATIC.read(tiny_examples().texts)), STATIC.table.shape[1]
    assert found["size_mb"] * 1e6 > words * size


def test_a_texts_vector_is_the_mean_of_its_tokens() -> None:
    first, second = (STATIC.tokenizer.token_to_id(word) for word in ("rain", "sun"))
    assert torch.equal(STATIC.vectors(["rain sun"])[0], STATIC.table[[first, second]].mean(dim=0))
    pair = STATIC.vectors([("rain", "sun")])[0]
    assert torch.equal(pair[-STATIC.table.shape[1] :], STATIC.table[first] * STATIC.table[second])
    assert STATIC.vectors([""]).eq(0).all()
