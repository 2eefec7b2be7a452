import pytest
import torch
from conftest import tiny_encoder, tiny_examples, tiny_task, tiny_tokenizer

from eicompress.trials.baselines import Static, bounded, static_regression

STATIC = Static(tiny_tokenizer(), tiny_encoder().words.weight.detach())


def test_of_many_rows_some_are_drawn_with_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eicompress.trials.baselines.ROWS", 10)
    first = bounded(tiny_examples(), 3)
    assert len(first) == 10 and first.texts == bounded(tiny_examples(), 3).texts
    assert first.texts != bounded(tiny_examples(), 4).texts


def test_the_mean_of_token_embeddings_tells_simple_topics_apart() -> None:
    train, measured = tiny_examples(), tiny_examples(1)
    found = static_regression(tiny_task(), train, measured.texts, STATIC, 0)
    assert tiny_task().score(found.logits, measured.targets) > 0.9
    words, size = len(STATIC.read(train.texts)), STATIC.table.shape[1]
    assert found.size_mb * 1e6 > words * size and "one byte a weight" in found.note


def test_a_texts_vector_is_the_mean_of_its_tokens() -> None:
    first, second = (STATIC.tokenizer.token_to_id(word) for word in ("rain", "sun"))
    assert torch.equal(STATIC.vectors(["rain sun"])[0], STATIC.table[[first, second]].mean(dim=0))
    pair = STATIC.vectors([("rain", "sun")])[0]
    assert torch.equal(pair[-STATIC.table.shape[1] :], STATIC.table[first] * STATIC.table[second])
    assert STATIC.vectors([""]).eq(0).all()
