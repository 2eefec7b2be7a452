from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.emit import emit
from eicompress.runtime import session
from eicompress.strategies import hidden_pruning
from eicompress.strategies.hidden_pruning import HiddenPruning, read_kept_alone
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.training.importance import WAYS, Moments, measured_batches
from eicompress.training.teacher import answers_of
from tests.conftest import ContextMaker, tiny_candidate


def test_a_reader_is_the_least_squares_best_one_of_the_kept_dimensions() -> None:
    chance = torch.Generator().manual_seed(0)
    states = torch.randn(1, 400, 6, generator=chance) @ torch.randn(6, 6, generator=chance) + 1.0
    linear, kept = Linear(6, 3), torch.tensor([0, 2, 5])
    expected = linear(states, torch.ones(1, 400))[0].detach()
    seen = Moments(6)
    seen.add(states, torch.ones(1, 400, dtype=torch.int64))
    with torch.no_grad():
        read_kept_alone(linear, seen, kept)
    linear.select(inputs=kept)
    ours = linear(states[..., kept], torch.ones(1, 400))[0].detach()
    design = np.concatenate([states[0][:, kept].numpy(), np.ones((400, 1), np.float32)], axis=1)
    solution = np.linalg.lstsq(design, expected.numpy(), rcond=None)[0]
    residual = ((design @ solution - expected.numpy()) ** 2).mean()
    assert ((ours - expected) ** 2).mean().item() == pytest.approx(residual, rel=0.02)


def test_moments_are_of_real_tokens_only() -> None:
    states = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    seen = Moments(3)
    seen.add(states, mask)
    real = states[mask.bool()].numpy()
    assert np.allclose(seen.mean, real.mean(axis=0), atol=1e-6)
    assert np.allclose(seen.covariance, np.cov(real.T, bias=True), atol=1e-6)


def test_making_up_for_what_is_missing_stays_nearer_to_the_whole_model(make_context: ContextMaker) -> None:
    context = make_context()
    whole, _ = answers_of(tiny_candidate(), context.train.texts, "cpu")
    away = {}
    for reconstruct in (True, False):
        pruned = HiddenPruning(share=0.33, reconstruct=reconstruct).apply(tiny_candidate(), context)
        away[reconstruct] = float(np.square(answers_of(pruned, context.train.texts, "cpu")[0] - whole).mean())
    assert away[True] < 0.5 * away[False]


def test_padding_changes_nothing(make_context: ContextMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    context = make_context()
    context = replace(context, train=context.train.take([3, 0, 7]))  # of different lengths
    padded = HiddenPruning(share=0.33).apply(tiny_candidate(), context)
    monkeypatch.setattr(hidden_pruning, "measured_batches", partial(measured_batches, size=1))
    alone = HiddenPruning(share=0.33).apply(tiny_candidate(), context)
    for one, other in zip(padded.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("importance", WAYS)
@pytest.mark.parametrize("preview", [True, False])
def test_the_width_is_as_asked(make_context: ContextMaker, importance: str, preview: bool) -> None:
    context = make_context(preview=preview)
    pruned = HiddenPruning(share=0.33, importance=importance).apply(tiny_candidate(), context)
    assert pruned.model.config.hidden == 16 == len(pruned.origin.hidden)
    assert pruned.facts["hidden_pruning"]["width"] == 16


@pytest.mark.parametrize("bits", [None, 4])
def test_the_file_shrinks_and_says_what_the_model_says(make_context: ContextMaker, bits: int | None) -> None:
    context = make_context()
    candidate = LayerSharing(groups=2).apply(tiny_candidate(embedding=10), context)
    if bits:
        candidate.model.set_quantization(QuantSpec(4), QuantSpec(4))
    whole = emit(candidate.model, pairs=False).ByteSize()
    model = HiddenPruning(share=0.33).apply(candidate, context).model
    if bits:
        model.round_floats()
    graph = emit(model, pairs=False)
    assert graph.ByteSize() < whole - 1000
    ids = torch.randint(4, 60, (1, 9), generator=torch.Generator().manual_seed(0))
    feeds = {"input_ids": ids.numpy(), "attention_mask": torch.ones_like(ids).numpy()}
    got = session(graph.SerializeToString()).run(["logits"], feeds)[0]
    with torch.no_grad():
        expected = model(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()
    assert abs(got - expected).max() < (0.05 if bits else 1e-5)


def test_nothing_is_pruned_where_no_share_is_asked_for(make_context: ContextMaker) -> None:
    candidate = tiny_candidate()
    assert HiddenPruning(share=0.0).apply(candidate, make_context()) is candidate
