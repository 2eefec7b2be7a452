from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress.contracts import ModelStrategy
from eicompress.encoder.config import LayerConfig
from eicompress.encoder.linear import Linear, LowRank
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.export.emit import emit
from eicompress.runtime import session
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.grouped_ffn import GroupedFfn
from eicompress.strategies.hidden_pruning import HiddenPruning
from eicompress.strategies.kronecker import KroneckerFactorization
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.pruning import HeadPruning, NeuronPruning
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.svd import Spectrum, Svd
from eicompress.training.importance import Moments
from eicompress.training.teacher import answers_of
from eicompress.trials.candidate import load, save
from tests.conftest import ContextMaker, tiny_candidate


def difference(model: Encoder) -> float:
    """How far the file's logits are from the model's."""
    ids = torch.randint(4, 60, (1, 9), generator=torch.Generator().manual_seed(0))
    feeds = {"input_ids": ids.numpy(), "attention_mask": torch.ones_like(ids).numpy()}
    got = session(emit(model, pairs=False).SerializeToString()).run(["logits"], feeds)[0]
    with torch.no_grad():
        return float(abs(got - model(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()).max())


def test_unweighted_factors_are_the_truncated_svd() -> None:
    weight = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    u, s, v = np.linalg.svd(weight.numpy(), full_matrices=False)
    outer, inner = Spectrum(weight, None).factors(3, seed=0)
    assert outer.shape == (12, 3) and inner.shape == (3, 8)
    assert np.allclose(outer @ inner, (u[:, :3] * s[:3]) @ v[:3], atol=1e-3)


def test_weighted_factors_are_the_best_for_the_states_seen() -> None:
    chance = torch.Generator().manual_seed(0)
    weight = torch.randn(12, 8, generator=chance)
    states = torch.randn(1, 300, 8, generator=chance) @ torch.randn(8, 8, generator=chance)
    seen = Moments(8)
    seen.add(states, torch.ones(1, 300))
    outer, inner = Spectrum(weight, seen).factors(3, seed=0)
    whole = (states[0] @ weight.T).numpy()
    error = ((states[0] @ (outer @ inner).T).numpy() - whole) ** 2
    best = np.linalg.svd(whole, compute_uv=False)[3:] ** 2  # Eckart and Young: no product of rank 3 is nearer
    assert error.sum() == pytest.approx(best.sum(), rel=1e-2)


def test_a_rank_keeps_the_energy_asked_for() -> None:
    spectrum = Spectrum(torch.diag(torch.tensor([3.0] * 8 + [1.0] * 16)), None)
    assert spectrum.rank(0.8) == 8 and spectrum.rank(0.85) == 16 and spectrum.rank(1.0) == 24
    assert spectrum.energy(8) == pytest.approx(72 / 88, rel=1e-3)


@pytest.mark.parametrize(
    ("matrices", "ranks"), [("all", (8, 8, 8, 8)), ("attention", (8, 8, 0, 0)), ("ffn", (0, 0, 8, 8))]
)
@pytest.mark.parametrize("preview", [True, False])
def test_the_matrices_asked_for_are_factorized(
    make_context: ContextMaker, matrices: str, ranks: tuple[int, ...], preview: bool
) -> None:
    made = Svd(matrices=matrices).apply(tiny_candidate(), make_context(preview=preview))
    assert [each.ranks for each in made.model.config.layers] == [ranks] * 3
    assert Encoder(made.model.config).config == made.model.config


def test_a_matrix_that_would_not_get_smaller_stays_as_it_is(make_context: ContextMaker) -> None:
    context = make_context()
    for strategy in (Svd(share=1.0), Svd(rank_by="energy", energy=1.0)):
        made = strategy.apply(tiny_candidate(layers=(LayerConfig(4, 4, 16),), hidden=16, embedding=16), context)
        assert made.model.config.layers[0].ranks == (0, 0, 0, 0)
        assert made.facts["svd"]["energy_kept"] == [1.0] * 4


@pytest.mark.parametrize("first", [GroupedFfn(), KroneckerFactorization(matrices="ffn"), Svd(matrices="ffn")])
def test_where_no_whole_matrix_is_left_it_says_so(make_context: ContextMaker, first: ModelStrategy) -> None:
    made, context = first.apply(tiny_candidate(), make_context()), make_context()
    with pytest.raises(Inapplicable, match="put it before what factorizes or groups them"):
        Svd(matrices="ffn").apply(made, context)


def test_states_are_weighed_in_for_nearer_logits(make_context: ContextMaker) -> None:
    context = make_context()
    whole, _ = answers_of(tiny_candidate(), context.train.texts, "cpu")
    away = {}
    for weighted in (True, False):
        made = Svd(weighted=weighted, matrices="ffn").apply(tiny_candidate(), context)
        away[weighted] = float(np.square(answers_of(made, context.train.texts, "cpu")[0] - whole).mean())
    assert away[True] < away[False]


@pytest.mark.parametrize("order", ["before", "after", "never"])
def test_the_file_shrinks_and_says_what_the_model_says(make_context: ContextMaker, order: str) -> None:
    context, candidate = make_context(), tiny_candidate()
    candidate = Quantization().apply(candidate, context) if order != "never" else candidate
    whole = emit(candidate.model, pairs=False)
    if order == "after":
        candidate = tiny_candidate()
    made = Svd().apply(candidate, context)
    made = Quantization().apply(made, context) if order == "after" else made
    if order != "never":
        made.model.round_floats()
        assert {each.spec for _, each in made.model.linears()} == {candidate.model.classifier.spec}

    def layer_bytes(graph: object) -> int:
        stored = graph.graph.initializer  # type: ignore[attr-defined]
        return sum(len(each.raw_data) for each in stored if each.name[0] == "L" and len(each.dims) > 1)

    assert layer_bytes(emit(made.model, pairs=False)) < 0.9 * layer_bytes(whole)
    assert difference(made.model) < (1e-5 if order == "never" else 0.05)


def test_factors_survive_training_and_the_disk(make_context: ContextMaker, tmp_path: Path) -> None:
    context, candidate = make_context(), tiny_candidate()
    for step in (LayerSharing(groups=2), Svd(), Quantization(), Distillation(epochs=0.2, distortions=0)):
        candidate = step.apply(candidate, context)
    save(candidate, tmp_path)
    again = load(tmp_path)
    assert again.model.config == candidate.model.config
    assert candidate.model.layers[0].ffn.input.inner.bias.eq(0).all()
    ours, theirs = (answers_of(each, context.train.texts, "cpu")[0] for each in (candidate, again))
    assert (ours == theirs).all()


@pytest.mark.parametrize("step", [HeadPruning(0.5), NeuronPruning(0.5), HiddenPruning(0.33)])
def test_what_comes_after_edits_the_factors(make_context: ContextMaker, step: object) -> None:
    context = make_context()
    made = step.apply(Svd().apply(tiny_candidate(), context), context)  # type: ignore[attr-defined]
    assert isinstance(made.model.layers[0].ffn.output, LowRank)
    fresh = Encoder(made.model.config)
    assert {name: each.shape for name, each in fresh.named_parameters()} == {
        name: each.shape for name, each in made.model.named_parameters()
    }
    assert difference(made.model) < 1e-5


def test_products_of_factors_have_no_mean_of_factors(make_context: ContextMaker) -> None:
    context = make_context()
    with pytest.raises(Inapplicable, match="put it before what factorizes them"):
        LayerSharing().apply(Svd().apply(tiny_candidate(), context), context)
    LayerSharing(start="first").apply(Svd().apply(tiny_candidate(), context), context)


def test_a_shared_matrix_is_factorized_once(make_context: ContextMaker) -> None:
    context = make_context()
    model = Svd().apply(LayerSharing().apply(tiny_candidate(), context), context).model
    assert len([each for each in model.modules() if isinstance(each, LowRank)]) == 4
    assert not any(isinstance(each, Linear) for each in model.layers[1].ffn.children())


@pytest.mark.parametrize("weighted", [True, False])
def test_a_preview_finds_the_ranks_of_an_energy_once(make_context: ContextMaker, weighted: bool) -> None:
    context, computed = make_context(preview=True), []

    def cache(key, compute):  # type: ignore[no-untyped-def]
        return context.cache(key, lambda: computed.append(key) or compute())

    for energy in (0.5, 0.8):
        step = Svd(rank_by="energy", energy=energy, weighted=weighted)
        previewed = step.apply(tiny_candidate(), replace(context, cache=cache)).model.config
        assert previewed == step.apply(tiny_candidate(), make_context()).model.config
    assert len(computed) == 1
