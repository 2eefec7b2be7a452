from pathlib import Path

import pytest
import torch

from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.export.emit import emit
from eicompress.runtime import session
from eicompress.strategies.kronecker import KroneckerFactorization, nearest_products
from eicompress.strategies.pruning import HeadPruning
from eicompress.strategies.quantization import Quantization
from eicompress.training.teacher import answers_of
from eicompress.trials.candidate import load, save
from tests.conftest import ContextMaker, tiny_candidate


def test_a_sum_of_products_is_found_again() -> None:
    chance = torch.Generator().manual_seed(0)
    large, small = (torch.randn(2, *shape, generator=chance) for shape in ((3, 5), (4, 4)))
    weight = sum(torch.kron(a, b) for a, b in zip(large, small, strict=True))
    found_large, found_small, kept = nearest_products(weight, 4, 2)
    again = sum(torch.kron(a, b) for a, b in zip(found_large, found_small, strict=True))
    assert torch.allclose(again, weight, atol=1e-4) and kept == pytest.approx(1.0)


def test_no_sum_of_as_many_products_is_nearer() -> None:
    weight = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    large, small, kept = nearest_products(weight, 2, 3)
    error = (weight - sum(torch.kron(a, b) for a, b in zip(large, small, strict=True))).square().sum().item()
    pieces = weight.reshape(6, 2, 4, 2).transpose(1, 2).reshape(24, 4)
    best = torch.linalg.svdvals(pieces)[3:].square().sum().item()  # Eckart and Young
    assert error == pytest.approx(best, rel=1e-4)
    assert kept == pytest.approx(1 - error / weight.square().sum().item(), rel=1e-4)


@pytest.mark.parametrize("bits", [False, True])
@pytest.mark.parametrize("preview", [False, True])
def test_the_file_shrinks_and_says_what_the_model_says(make_context: ContextMaker, bits: bool, preview: bool) -> None:
    context, candidate = make_context(preview=preview), tiny_candidate()
    made = KroneckerFactorization(size=2, terms=1).apply(candidate, context)
    if bits:
        made = Quantization().apply(made, context)
        made.model.round_floats()
    graph = emit(made.model, pairs=False)
    assert graph.ByteSize() < 0.55 * emit(tiny_candidate().model, pairs=False).ByteSize()
    ids = torch.randint(4, 60, (1, 9), generator=torch.Generator().manual_seed(0))
    feeds = {"input_ids": ids.numpy(), "attention_mask": torch.ones_like(ids).numpy()}
    got = session(graph.SerializeToString()).run(["logits"], feeds)[0]
    with torch.no_grad():
        expected = made.model(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()
    assert abs(got - expected).max() < 1e-4
    assert Encoder(made.model.config).config == made.model.config


def test_products_survive_the_disk(make_context: ContextMaker, tmp_path: Path) -> None:
    context = make_context()
    made = KroneckerFactorization().apply(tiny_candidate(), context)
    save(made, tmp_path)
    ours, theirs = (answers_of(each, context.train.texts, "cpu")[0] for each in (made, load(tmp_path)))
    assert (ours == theirs).all()


def test_more_terms_are_nearer(make_context: ContextMaker) -> None:
    steps = [KroneckerFactorization(terms=terms) for terms in (1, 4, 12)]
    kept = [sum(each.apply(tiny_candidate(), make_context()).facts["kronecker"]["energy_kept"]) for each in steps]
    assert kept == sorted(kept)


def test_what_it_cannot_do_it_says(make_context: ContextMaker) -> None:
    context = make_context()
    with pytest.raises(Inapplicable, match="fewer than 4 terms"):
        KroneckerFactorization(size=2, terms=4).apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="put `kronecker` after what narrows the model"):
        HeadPruning().apply(KroneckerFactorization().apply(tiny_candidate(), context), context)
