import pytest
import torch
from torch import Tensor

from eicompress.encoder.config import ReferenceConfig
from eicompress.encoder.embedding import Embedding
from eicompress.encoder.model import Encoder
from eicompress.encoder.references import References, filled_references
from tests.conftest import tiny_encoder

UP, RIGHT, LEFT, PLAIN = 4, 5, 6, 7
"""Tokens, by the directions of their vectors; one has none."""


def words() -> Embedding:
    table = Embedding(12, 2)
    table.weight.data.zero_()
    table.weight.data[[UP, RIGHT, LEFT]] = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    return table


def references(*ids: list[int]) -> References:
    """Each says its number, from 1, in two vectors of one dimension, of which the hidden states have three."""
    shape = ReferenceConfig(len(ids), 4, 2, 1)
    table = 1.0 + torch.arange(len(ids))[:, None] * torch.ones(1, 2)
    output = torch.ones(3, 1), torch.zeros(3)
    padded = torch.tensor([[*each, *[0] * (4 - len(each))] for each in ids])
    return filled_references(shape, padded, table, output, padding_id=0)


def batch(*texts: list[int]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, texts))
    ids = torch.tensor([[*each, *[0] * (longest - len(each))] for each in texts])
    return ids, (ids > 0).long()


def test_the_most_similar_reference_is_read_times_the_gate() -> None:
    made = references([UP, PLAIN], [RIGHT], [LEFT])
    similarity, number = made.nearest(words(), *batch([RIGHT, PLAIN, PLAIN], [UP]))
    means = torch.tensor([[0.0, 0.5], [1.0, 0.0], [-1.0, 0.0]])
    own = torch.tensor([[1 / 3, 0.0], [0.0, 1.0]]) - means.mean(dim=0)
    expected = torch.cosine_similarity(own, (means - means.mean(dim=0))[[1, 0]])
    assert number.tolist() == [1, 0]
    assert torch.allclose(similarity, expected, atol=1e-6)
    gates = torch.sigmoid(8.0 * (expected - 0.5))
    read = made.vectors(words(), *batch([RIGHT, PLAIN, PLAIN], [UP]))
    assert torch.allclose(read, (gates * torch.tensor([2.0, 1.0]))[:, None, None].expand(2, 2, 3), atol=1e-5)


def test_a_text_like_no_reference_reads_next_to_nothing() -> None:
    made = references([UP], [RIGHT])
    assert made.vectors(words(), *batch([PLAIN])).abs().max() < 0.05
    made.sharpness.data.fill_(100.0)
    assert made.vectors(words(), *batch([PLAIN])).abs().max() < 1e-6


def test_the_state_of_a_reference_is_read_as_one_more_token() -> None:
    made, states = references([UP], [RIGHT]), torch.randn(2, 3, 3)
    ids, mask = batch([UP, UP, UP], [RIGHT])
    longer, real = made(words(), ids, states, mask)
    assert torch.equal(longer[:, :3], states)
    assert torch.equal(longer[:, 3:], made.vectors(words(), ids, mask))
    assert real.tolist() == [[1, 1, 1, 1, 1], [1, 0, 0, 1, 1]]


def test_in_a_training_a_text_gets_no_reference_that_is_the_same_text() -> None:
    made = references([UP, RIGHT, RIGHT, PLAIN], [LEFT, UP], [LEFT])
    own = batch([UP, RIGHT, RIGHT, PLAIN])
    assert made.nearest(words(), *own)[1].tolist() == [0]
    made.learning = True
    assert made.nearest(words(), *own)[1].tolist() == [1]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ([8, 9, 10, 11], True),
        ([11, 10, 9, 8], True),  # the same words in another order are found by the same vector
        ([8, 9, 10, 11, 4, 5, 6], True),  # of a longer text only as much is known
        ([8, 9, 10, 4], False),
        ([8, 9], False),
    ],
)
def test_texts_are_the_same_that_share_four_tokens_of_five(text: list[int], same: bool) -> None:
    assert references([8, 9, 10, 11]).same(*batch(text)).tolist() == [[same]]


def test_where_every_reference_is_the_text_itself_it_reads_none() -> None:
    made = references([UP, LEFT])
    made.learning = True
    similarity, _ = made.nearest(words(), *batch([UP, LEFT]))
    assert similarity.tolist() == [-1.0]
    assert made.vectors(words(), *batch([UP, LEFT])).abs().max() < 1e-4


def test_gradients_reach_the_vectors_the_gate_and_the_words() -> None:
    made, table = references([UP, RIGHT], [LEFT]), words()
    made.vectors(table, *batch([UP, PLAIN])).sum().backward()
    assert made.table.weight.grad is not None and made.table.weight.grad[1].abs().sum() == 0
    learned = (made.table.weight, made.output.weight, made.sharpness, made.threshold, table.weight)
    assert all(each.grad is not None and float(each.grad.abs().sum()) > 0 for each in learned)


def with_references(**changes: object) -> Encoder:
    shape = ReferenceConfig(count=5, tokens=6, vectors=2, width=8)
    chance = torch.Generator().manual_seed(0)
    model = tiny_encoder(**changes)
    ids = torch.randint(4, 60, (5, 6), generator=chance)
    table, weight, bias = (torch.randn(each, generator=chance) for each in ((5, 16), (24, 8), (24,)))
    model.add_references(filled_references(shape, ids, table, (weight, bias), model.config.padding_id))
    return model


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_keys_and_values_of_the_first_layer_alone_are_those_of_the_reference_too(pooling: str) -> None:
    model = with_references(pooling=pooling)
    ids = torch.randint(4, 60, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    first, *others = model.states(ids, mask, ids * 0)
    read = model.references.vectors(model.words, ids, mask)
    attention = model.layer(0).attention
    query, _, _ = attention.projections(first, mask)
    _, key, value = attention.projections(torch.cat([first, read], dim=1), torch.ones(2, 9))
    shares = (query @ key.transpose(2, 3) / 6**0.5).softmax(dim=-1)
    said = attention.output((shares @ value).transpose(1, 2).flatten(2), mask)
    normed = model.layer(0).attention_norm(first + said)
    expected = model.layer(0).ffn_norm(model.layer(0).ffn.summed(normed, mask))
    assert torch.allclose(others[0], expected, atol=1e-5)
    assert torch.allclose(others[1], model.layer(1)(others[0], mask, 7), atol=1e-5)
    assert torch.allclose(model.pool(others[-1], ids, mask), model.outputs(ids, mask, ids * 0).pooled, atol=1e-5)
