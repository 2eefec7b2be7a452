import copy
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate, Training
from eicompress.encoder.tokens import tokenize
from eicompress.encoder.vocabulary import with_max_length
from eicompress.errors import Inapplicable
from eicompress.strategies.layer_distillation import LayerDistillation
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent
from tests.conftest import ContextMaker, spelling, tiny_candidate

LAYERS = {
    "attention_weight": 1.0,
    "relation_weight": 1.0,
    "embedding_weight": 1.0,
    "feature_map_weight": 1.0,
    "mean_weight": 1.0,
    "variance_weight": 1.0,
}


@pytest.mark.parametrize(
    ("knobs", "bits"),
    [
        ({**LAYERS}, 4),
        ({**LAYERS, "hidden_map": "learned", "layer_map": "learned"}, 8),
        ({**LAYERS, "layer_map": "last"}, 4),
        ({"layer_map": "uniform", "progressive": True}, 4),
    ],
)
def test_layers_come_nearer_to_those_of_the_baseline(
    make_context: ContextMaker, knobs: dict[str, Any], bits: Literal[4, 8]
) -> None:
    context = make_context()
    student = ThinStudent(layers=2, neurons=0.5, hidden=0.67).apply(tiny_candidate(), context)
    spells = with_max_length(spelling("song"), student.model.config.positions)
    student = replace(Quantization(layer_bits=bits).apply(student, context), tokenizer=spells)
    step = LayerDistillation(epochs=8, distortions=0, learning_rate=3e-3, **knobs)
    losses = []

    def watched(candidate: Candidate, training: Training) -> None:
        batch = tokenize(candidate.tokenizer, training.texts).batch(np.arange(80), 0, "cpu")
        before = training.loss(batch).item()
        context.fit(candidate, training)
        losses.append(training.loss(batch).item() / before)

    step.apply(student, replace(context, fit=watched))
    assert len(losses) == (2 if "progressive" in knobs else 1)
    assert max(losses) < 0.9
    assert all(each.grad is None for each in context.baseline.model.parameters())


def test_in_a_progressive_transfer_one_layer_learns_after_the_other(make_context: ContextMaker) -> None:
    context = make_context()
    student = tiny_candidate(seed=1)
    moved = []

    def fit(candidate: Candidate, training: Training) -> None:
        before = copy.deepcopy(candidate.model)
        context.fit(candidate, training)
        pairs = zip(before.layers, candidate.model.layers, strict=True)
        moved.append([(one.ffn.input.weight - two.ffn.input.weight).abs().max().item() for one, two in pairs])
        assert torch.equal(before.classifier.weight, candidate.model.classifier.weight)

    step = LayerDistillation(epochs=3, distortions=0, feature_map_weight=1.0, progressive=True)
    step.apply(student, replace(context, fit=fit))
    assert [[each > 0 for each in phase] for phase in moved] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert moved[1][0] < 0.5 * moved[1][1]


def test_layers_cannot_be_compared_where_the_student_has_none_or_no_weight_is_given(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    with pytest.raises(Inapplicable, match="has none"):
        LayerDistillation().apply(ThinStudent(layers=0).apply(tiny_candidate(), context), context)
    with pytest.raises(Inapplicable, match="all are 0"):
        LayerDistillation(hidden_weight=0.0).apply(tiny_candidate(), context)
