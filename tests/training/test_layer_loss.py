from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from eicompress.contracts import Candidate, Origin
from eicompress.encoder.blocks import attention_map
from eicompress.encoder.tokens import tokenize
from eicompress.training import losses
from eicompress.training.layer_loss import LayerStates, Matching, Weights, matched_layers
from eicompress.training.token_alignment import align
from eicompress.values import Text
from tests.conftest import spelling, tiny_candidate, tiny_encoder

TEXTS: list[Text] = ["play the song", "will it rain today"]
EVERY = Weights(hidden=1, feature_map=1, mean=1, variance=1, attention=1, relation=1, embedding=1)


def said(student: Candidate, teacher: Candidate) -> tuple[LayerStates, LayerStates]:
    slots = align(student.tokenizer, teacher.tokenizer, TEXTS).batch(np.arange(2), "cpu")
    both = []
    for candidate, own in ((student, slots.first), (teacher, slots.second)):
        batch = tokenize(candidate.tokenizer, TEXTS).batch(np.arange(2), 0, "cpu")
        states = candidate.model.states(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        both.append(LayerStates(candidate.model, states, batch.attention_mask, own, slots))
    return both[0], both[1]


def matching(student: Candidate, weights: Weights, layer_map: str = "origin", *, learned: bool = False) -> Matching:
    return Matching(student, tiny_encoder(), weights, layer_map=layer_map, learned_map=learned, relation_heads=12)


def loss(
    student: Candidate, weights: Weights, layers: Sequence[int] | None = None, layer_map: str = "origin"
) -> Tensor:
    made = matching(student, weights, layer_map)
    return made(*said(student, tiny_candidate()), made.layers if layers is None else layers)


def test_a_student_that_is_its_teacher_has_no_loss() -> None:
    assert loss(tiny_candidate(), EVERY).abs() < 1e-5


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("origin", {0: [0], 1: [4]}),
        ("uniform", {0: [2], 1: [5]}),
        ("last", {1: [5]}),
        ("learned", {0: [0, 1, 2, 3, 4, 5], 1: [0, 1, 2, 3, 4, 5]}),
    ],
)
def test_layers_are_compared_as_the_map_says(how: str, expected: dict[int, list[int]]) -> None:
    assert matched_layers(how, (0, 4), 6) == expected


def other() -> Candidate:
    """Two layers of another model, said to come from the first and the last of three."""
    candidate = tiny_candidate(seed=1)
    candidate.model.keep_layers([0, 1])
    return replace(candidate, origin=Origin((0, 2), candidate.origin.hidden))


def test_each_loss_is_that_of_the_layer_and_its_origin_and_their_mean_counts() -> None:
    student, teacher = said(other(), tiny_candidate())
    mask = student.mask
    hidden = [
        losses.state_mse(student.states[own + 1], teacher.states[theirs + 1], mask) for own, theirs in ((0, 0), (1, 2))
    ]
    assert torch.allclose(loss(other(), Weights(hidden=3.0)), 3 * (hidden[0] + hidden[1]) / 2)
    assert torch.allclose(loss(other(), Weights(hidden=3.0), [1]), 3 * hidden[1])
    embedded = losses.state_mse(student.states[0], teacher.states[0], mask)
    assert torch.allclose(loss(other(), Weights(embedding=2.0)), 2 * embedded)
    read = (student.model.layer(1), student.states[1]), (teacher.model.layer(2), teacher.states[2])
    projections = [layer.attention.projections(states, mask) for layer, states in read]
    own, wanted = (attention_map(queries, keys, mask[:, None, None, :].bool()) for queries, keys, _ in projections)
    assert torch.allclose(loss(other(), Weights(attention=1.0), [1]), losses.map_kl(own, wanted, mask))


def test_relations_are_those_of_queries_keys_and_values() -> None:
    student, teacher = said(other(), tiny_candidate())
    ours = student.model.layer(1).attention.projections(student.states[1], student.mask)
    theirs = teacher.model.layer(2).attention.projections(teacher.states[2], teacher.mask)
    parts = []
    for own, wanted in zip(ours, theirs, strict=True):
        pair = [losses.relation(each.transpose(1, 2).flatten(2), 12, student.mask) for each in (own, wanted)]
        parts.append(losses.map_kl(*pair, student.mask))
    assert torch.allclose(loss(other(), Weights(relation=1.0), [1]), torch.stack(parts).mean())


def test_a_learned_map_of_layers_is_a_mixture_that_learns() -> None:
    student = other()
    made = matching(student, Weights(hidden=1.0), "learned")
    value = made(*said(student, tiny_candidate()), [0, 1])
    value.backward()
    assert made.mixture is not None and made.mixture.grad is not None and made.mixture.grad.abs().min() > 0
    one, two = said(student, tiny_candidate())
    shares = torch.tensor([2.0, 0.0, 0.0]).softmax(dim=0)  # of the first layer, which came from the first
    wanted = sum(share * each for share, each in zip(shares, two.states[1:], strict=True))
    assert torch.allclose(made(one, two, [0]), losses.state_mse(one.states[1], wanted, one.mask))


def narrow() -> Candidate:
    candidate = tiny_candidate()
    kept = torch.arange(0, 24, 2)
    candidate.model.keep_hidden(kept)
    candidate.model.keep_heads(0, torch.tensor([0, 1, 3]))
    return replace(candidate, origin=Origin(candidate.origin.layers, tuple(kept.tolist())))


def test_a_narrow_student_is_compared_in_kept_dimensions_or_through_a_map() -> None:
    student = narrow()
    one, two = said(student, tiny_candidate())
    kept = losses.state_mse(one.states[1], two.states[1][..., ::2], one.mask)
    assert torch.allclose(loss(student, Weights(hidden=1.0), [0]), kept)
    made = matching(student, EVERY, learned=True)
    made(one, two, made.layers).backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in made.parameters())


def test_a_student_with_another_vocabulary_is_compared_by_words() -> None:
    student = replace(tiny_candidate(), tokenizer=spelling("song"))
    assert torch.isfinite(loss(student, EVERY))
    one, two = said(student, tiny_candidate())
    assert one.states[0].shape[1] > two.states[0].shape[1]
    letters = one.states[1][0, 3:7].mean(dim=0)  # [CLS] play the s ##o ##n ##g [SEP]
    assert torch.allclose(one.hidden(0)[0, 3], letters, atol=1e-6)
    assert torch.equal(two.hidden(0)[0, 3], two.states[1][0, 3])
