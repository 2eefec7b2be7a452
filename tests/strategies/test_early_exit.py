"""`early_exit`: off-ramps are trained, the rest of the model stays as it is, and the threshold keeps to its bound."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress import runtime
from eicompress.answers import Number
from eicompress.encoder.exits import EarlyExitEncoder
from eicompress.errors import Inapplicable, SpecError
from eicompress.recipe import Recipe
from eicompress.strategies.early_exit import EarlyExit, _cheapest, _judged, _thresholds
from eicompress.strategies.pruning import LayerPruning
from eicompress.strategies.quantization import Quantization
from eicompress.tasks.multi_label_classification import MultiLabelClassification
from eicompress.tasks.regression import Regression
from eicompress.testing.tiny import tiny_artifact
from eicompress.values import ExitRule
from tests.conftest import ContextMaker, tiny_candidate, tiny_task

BRIEF = {"epochs": 1.0, "batch_size": 8}


@pytest.mark.parametrize("before", [(), (LayerPruning(1), Quantization())], ids=["alone", "pruned and quantized"])
def test_the_backbone_stays_bit_for_bit(make_context: ContextMaker, tmp_path: Path, before: tuple[object, ...]) -> None:
    context, subject = make_context(), tiny_candidate()
    for step in before:
        subject = step.apply(subject, context)  # type: ignore[attr-defined]
    if before:
        subject.encoder.round_floats()
    was = copy.deepcopy(subject.encoder.state_dict())
    made = EarlyExit(**BRIEF).apply(subject, context)
    assert isinstance(made.model, EarlyExitEncoder)
    now = made.model.encoder.state_dict()
    assert now.keys() == was.keys()
    assert all(torch.equal(now[name], each) for name, each in was.items())
    assert all(each.requires_grad for each in made.model.parameters())
    assert set(made.facts["early_exit"]) == {"threshold", "lost", "layers", "shares"}
    loaded = runtime.load(tiny_artifact(tmp_path / "a", made).folder)
    assert loaded.exits == replace(made.model.rule, threshold=pytest.approx(made.model.rule.threshold, abs=1e-6))


def test_off_ramps_learn(make_context: ContextMaker) -> None:
    lost = []
    for epochs in (0.1, 20.0):
        step = EarlyExit(epochs=epochs, batch_size=8, threshold=1e-6, soft="teacher", label_weight=1.0)
        made = step.apply(tiny_candidate(), make_context())
        assert made.facts["early_exit"]["layers"] < 1.5
        lost.append(made.facts["early_exit"]["lost"])
    assert lost[1] < lost[0]


def rule(criterion: str) -> ExitRule:
    return ExitRule((1, 3), 4, criterion, 1.0)  # type: ignore[arg-type]


def answers(seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Logits (3, 200, 2) whose errors get fewer from exit to exit, and the labels (200,)."""
    chance = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (200,), generator=chance)
    right = 2.0 * torch.nn.functional.one_hot(targets, 2)
    noise = torch.randn(3, 200, 2, generator=chance) * torch.tensor([2.0, 1.2, 0.4])[:, None, None]
    return right + noise, targets.numpy()


@pytest.mark.parametrize("criterion", ["entropy", "margin", "patience"])
def test_no_other_threshold_runs_fewer_layers_within_the_bound(criterion: str) -> None:
    logits, targets = answers(0)
    task = tiny_task()
    for loss in (0.0, 1.0, 5.0):
        found = _cheapest(logits, targets, task, rule(criterion), loss)
        assert found.lost <= loss
        for threshold in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0):
            other = _judged(logits, targets, task, rule(criterion), threshold)
            assert other.lost > loss or other.layers >= found.layers - 0.05
    assert _cheapest(logits, targets, task, rule(criterion), 20.0).layers < 4


def test_layers_and_shares_are_those_of_the_exits() -> None:
    logits, targets = answers(1)
    at_once = _judged(logits, targets, tiny_task(), rule("margin"), 0.0)
    never = _judged(logits, targets, tiny_task(), rule("margin"), 1.0)
    assert (at_once.layers, at_once.shares) == (1.0, (1.0, 0.0, 0.0))
    assert (never.layers, never.shares, never.lost) == (4.0, (0.0, 0.0, 1.0), 0.0)


def test_patience_counts_answers_in_a_row() -> None:
    """Of three answers, two in a row that agree are two thirds of all."""
    logits = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    found = _judged(logits, np.array([0, 1]), tiny_task(), rule("patience"), 0.5)
    assert found.shares == (0.0, 0.5, 0.5)


def test_thresholds_are_those_that_a_config_can_say() -> None:
    found = _thresholds(torch.rand(2, 5000, generator=torch.Generator().manual_seed(0)))
    assert len(found) <= 201 and found[-1] == 1.0
    assert all(float(f"{each:.6f}") == each for each in found)


@pytest.mark.parametrize("after", ["0", "2, 1", "1, 1", "one", "", "1,", "-1", "99999"])
def test_numbers_of_layers_must_rise(after: str) -> None:
    with pytest.raises(SpecError, match=r"`early_exit.after` must be \"all\", or numbers of layers such as"):
        Recipe((EarlyExit(after=after),))


@pytest.mark.parametrize("knobs", [{"threshold": 1.5}, {"threshold": -0.1}, {"loss": -1.0}])
def test_a_threshold_is_from_0_to_1(knobs: dict[str, float]) -> None:
    with pytest.raises(SpecError, match=r"must be in \[0.0, "):
        Recipe((EarlyExit(**knobs),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "shapes", "said"),
    [
        (EarlyExit(), {"layers": (), "pooling": "mean"}, "must have at least 2, but has 0"),
        (EarlyExit(after="1, 3"), {}, "below the encoder's 3 layers, .* but names 3"),
        (EarlyExit(), {"word_outputs": 2, "pooler": False}, "answers each word"),
    ],
)
def test_what_cannot_exit_is_inapplicable(
    make_context: ContextMaker, step: EarlyExit, shapes: dict[str, object], said: str
) -> None:
    with pytest.raises(Inapplicable, match=said):
        step.apply(tiny_candidate(**shapes), make_context(preview=True))


def test_only_a_label_of_several_has_a_confidence(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    for task in (MultiLabelClassification(("a", "b")), Regression(Number(0.0, 1.0))):
        with pytest.raises(Inapplicable, match=f"answer is of the kind `{task.answer.kind}`"):
            EarlyExit().apply(tiny_candidate(), replace(context, task=task))


def test_what_edits_an_encoder_must_stand_before(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    made = EarlyExit().apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="put it before the step that replaces the encoder"):
        Quantization().apply(made, context)
