from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.errors import Inapplicable
from eicompress.export.emit import emit
from eicompress.runtime import session
from eicompress.strategies import sparse_training
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.sparse_training import SparseTraining, cubic, make_up, moved, obs_scores, prune
from eicompress.training.teacher import answers_of
from eicompress.trials.candidate import load, save
from tests.conftest import ContextMaker, tiny_candidate

QUICK = SparseTraining(sparsity=0.75, rounds=2, epochs=0.3)


def zeros(model: Encoder) -> float:
    weights = torch.cat([each.effective_weight().flatten() for name, each in model.linears() if "layers" in name])
    return float((weights == 0).float().mean())


def test_sparsity_rises_fast_and_then_slowly() -> None:
    assert cubic(0.7, 0.9, 1) == [0.9]
    assert cubic(0.0, 0.8, 3) == pytest.approx([0.0, 0.7, 0.8])


@pytest.mark.parametrize("budget", ["global", "uniform"])
def test_as_many_weights_go_as_asked(budget: str) -> None:
    linears = [Linear(10, 10), Linear(10, 10)]
    linears[0].weight.data *= 100
    prune({each: each.weight.detach().abs() for each in linears}, 0.75, budget)
    left = [int((each.weight != 0).sum()) for each in linears]
    assert left == ([50, 0] if budget == "global" else [25, 25])


def test_what_went_stays_away() -> None:
    linear = Linear(4, 1)
    linear.weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    prune({linear: torch.tensor([[4.0, 3.0, 2.0, 1.0]])}, 0.5, "global")
    prune({linear: torch.tensor([[1.0, 1.0, 9.0, 9.0]])}, 0.75, "global")
    assert linear.weight.tolist() in ([[1.0, 0, 0, 0]], [[0, 2.0, 0, 0]])


def test_surgery_finds_what_a_quadratic_loss_says_and_makes_up_for_what_went() -> None:
    chance = torch.Generator().manual_seed(0)
    root = torch.randn(16, 16, generator=chance)
    fisher = (root @ root.T + 0.1 * torch.eye(16))[None]
    linear = Linear(16, 1)
    before = linear.weight.detach().clone()

    def loss(weight: torch.Tensor) -> float:
        return float(0.5 * (weight - before) @ fisher[0] @ (weight - before).T)

    scores = obs_scores(linear, fisher)
    kept = torch.ones(1, 16, dtype=torch.bool)
    kept[0, 3] = False
    linear.keep_weights(kept)
    make_up(linear, before, fisher)
    assert linear.weight[0, 3] == 0
    assert loss(linear.weight.detach()) == pytest.approx(float(scores[0, 3]), rel=1e-3)  # the theorem of the paper
    assert loss(linear.weight.detach()) < loss(before * kept)


def test_movement_is_how_far_training_pushes_from_zero() -> None:
    linear = Linear(2, 1)
    linear.weight.data = torch.tensor([[2.0, -1.0]])
    sums = {linear: torch.zeros(1, 2)}
    for times in (1, 2):  # trainings add up
        with moved(sums):
            (linear.weight * torch.tensor([[3.0, 5.0]])).sum().backward()
        assert sums[linear].tolist() == [[-6.0 * times, 5.0 * times]]
        linear.weight.sum().backward()
        assert sums[linear].tolist() == [[-6.0 * times, 5.0 * times]]


def test_movement_counts_all_trainings_before_a_round(
    make_context: ContextMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, seen = make_context(), []

    def noted(scores: Mapping[Linear, torch.Tensor], *given: object) -> None:
        seen.append(torch.cat([each.abs().flatten() for each in scores.values()]).clone())
        prune(scores, *given)  # type: ignore[arg-type]

    def pushed(subject: Candidate, *_: object) -> None:
        for _, linear in subject.encoder.linears():
            linear.weight.sum().backward()

    monkeypatch.setattr(sparse_training, "prune", noted)
    monkeypatch.setattr(sparse_training, "recover", pushed)
    SparseTraining(0.5, start=0.0, rounds=2, epochs=0.3, score="movement").apply(tiny_candidate(), context)
    assert torch.allclose(seen[1], 2 * seen[0])  # no weight went in the first round


@pytest.mark.parametrize("score", ["obs", "magnitude", "movement"])
def test_every_score_trains_to_the_sparsity(make_context: ContextMaker, score: str) -> None:
    made = SparseTraining(0.75, rounds=2, epochs=0.3, score=score).apply(tiny_candidate(), make_context())
    assert zeros(made.model) == pytest.approx(0.75, abs=1e-3)
    assert made.facts["sparse_training"]["sparsity"] == 0.75


def test_zeros_survive_training_rounding_and_the_disk(make_context: ContextMaker, tmp_path: Path) -> None:
    context = make_context()
    made = QUICK.apply(tiny_candidate(), context)
    before = made.model.layers[0].ffn.input.weight.detach().clone()
    made = Distillation(epochs=0.3, distortions=0).apply(made, context)
    assert not torch.equal(before, made.model.layers[0].ffn.input.weight)
    made = Quantization(layer_bits=8).apply(made, context)
    assert zeros(made.model) >= 0.75 - 1e-3
    save(made, tmp_path)
    again = load(tmp_path)
    ours, theirs = (answers_of(each, context.train.texts, "cpu")[0] for each in (made, again))
    assert (ours == theirs).all() and again.model.layers[0].ffn.input.kept is not None


def test_frozen_tables_stay(make_context: ContextMaker) -> None:
    candidate = tiny_candidate()
    words = candidate.model.words.weight.detach().clone()
    made = SparseTraining(rounds=1, epochs=0.3, freeze_embeddings=True).apply(candidate, make_context())
    assert torch.equal(made.model.words.weight, words)
    assert all(each.requires_grad for each in made.model.parameters())


@pytest.mark.parametrize("bits", [None, 8, 4, 2, "ternary"])
def test_the_file_holds_no_zeros_and_the_session_no_nodes_for_them(bits: object, tmp_path: Path) -> None:
    model = tiny_candidate().model
    linears = [each for name, each in model.linears() if "layers" in name]
    prune({each: each.weight.detach().abs() for each in linears}, 0.8, "global")
    dense = tiny_candidate().model
    if bits:
        for each in (model, dense):
            each.set_quantization(QuantSpec(8), QuantSpec(bits))  # type: ignore[arg-type]
            each.round_floats()
    graph = emit(model, pairs=False)
    if bits in (None, 8, 4):
        assert graph.ByteSize() < emit(dense, pairs=False).ByteSize()
    assert ("CumSum" in {node.op_type for node in graph.graph.node}) == (bits != "ternary")
    ids = torch.randint(4, 60, (1, 9), generator=torch.Generator().manual_seed(0))
    feeds = {"input_ids": ids.numpy(), "attention_mask": torch.ones_like(ids).numpy()}
    got = session(graph.SerializeToString()).run(["logits"], feeds)[0]
    with torch.no_grad():
        expected = model(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()
    assert np.abs(got - expected).max() < 1e-5


def test_where_the_zeros_are_changes_no_byte() -> None:
    sizes = []
    for seed in range(2):
        model = tiny_candidate().model
        chance = torch.Generator().manual_seed(seed)
        linears = [each for name, each in model.linears() if "layers" in name]
        scores = {each: torch.rand(each.weight.shape, generator=chance) for each in linears}
        scores[linears[0]] *= 1 + seed
        prune(scores, 0.7, "global")
        sizes.append(emit(model, pairs=False).ByteSize())
    assert sizes[0] == sizes[1]


def test_what_cannot_be_pruned_is_inapplicable(make_context: ContextMaker) -> None:
    with pytest.raises(Inapplicable, match="the model has none"):
        QUICK.apply(tiny_candidate(layers=(), pooling="mean"), make_context())
    with pytest.raises(Inapplicable, match="put it before what prunes weights"):
        LayerSharing().apply(QUICK.apply(tiny_candidate(), make_context()), make_context())
