import pytest
import torch

from eicompress.errors import Inapplicable
from eicompress.strategies.embedding_factorization import EmbeddingFactorization, factorize
from tests.conftest import ContextMaker, tiny_candidate


def test_all_dimensions_give_the_table_back() -> None:
    table = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    narrow, projection, mean, kept = factorize(table, torch.ones(30), 8, seed=0)
    assert torch.allclose(narrow @ projection.T + mean, table, atol=1e-5)
    assert kept == pytest.approx(1.0)


def test_unweighted_it_is_the_truncated_svd_of_the_centred_table() -> None:
    table = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    narrow, projection, mean, _ = factorize(table, torch.ones(30), 3, seed=0)
    centred = table - table.mean(dim=0)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    expected = (u[:, :3] * s[:3]) @ v[:3]
    assert torch.allclose(narrow @ projection.T, expected, atol=1e-4)
    assert torch.allclose(mean, table.mean(dim=0), atol=1e-6)


def test_frequent_tokens_are_kept_best() -> None:
    table = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.ones(30)
    weights[4] = 1e6
    narrow, projection, mean, _ = factorize(table, weights, 2, seed=0)
    error = (narrow @ projection.T + mean - table).square().sum(dim=1)
    assert error.argmin() == 4


def test_a_factorized_candidate_has_the_size_asked_for(make_context: ContextMaker) -> None:
    made = EmbeddingFactorization(size=8).apply(tiny_candidate(), make_context())
    assert made.model.words.weight.shape[1] == 8 and made.model.config.embedding == 8
    assert 0 < made.facts["embedding_factorization"]["variance_kept"] < 1


@pytest.mark.parametrize("size", [1, 8, 23])
def test_a_preview_has_the_same_shapes(make_context: ContextMaker, size: int) -> None:
    step = EmbeddingFactorization(size=size)
    previewed, made = (step.apply(tiny_candidate(), make_context(preview=each)).model for each in (True, False))
    assert previewed.config == made.config
    assert {name: each.shape for name, each in previewed.named_parameters()} == {
        name: each.shape for name, each in made.named_parameters()
    }


def test_at_full_width_nothing_changes(make_context: ContextMaker) -> None:
    made = EmbeddingFactorization(size=24).apply(tiny_candidate(), make_context())
    assert made.model.projection is None


def test_twice_is_inapplicable(make_context: ContextMaker) -> None:
    context = make_context()
    made = EmbeddingFactorization(size=8).apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="this one is factorized"):
        EmbeddingFactorization(size=8).apply(made, context)
