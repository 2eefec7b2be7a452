from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress.encoder.config import EncoderConfig
from eicompress.encoder.embedding import CodebookEmbedding
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.export.emit import emit
from eicompress.runtime import session
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.embedding_codebook import ENTRIES, EmbeddingCodebook, learned
from eicompress.strategies.embedding_factorization import EmbeddingFactorization
from eicompress.strategies.hidden_pruning import HiddenPruning
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.training.k_means import k_means
from eicompress.training.teacher import answers_of
from eicompress.trials.candidate import load, save
from tests.conftest import ContextMaker, tiny_candidate


def test_points_that_lie_in_heaps_are_found() -> None:
    heaps = torch.arange(256.0)[:, None] * torch.tensor([[1.0, -1.0]])
    codes, entries = k_means(heaps.repeat(3, 1), torch.ones(768), ENTRIES, seed=0)
    again = entries[codes.long()]
    assert (again - heaps.repeat(3, 1)).square().mean() < 0.02 * heaps.var()


def test_entries_are_weighted_means_of_what_is_nearest_to_them() -> None:
    chance = torch.Generator().manual_seed(0)
    points, weights = torch.randn(3000, 2, generator=chance), torch.rand(3000, generator=chance)
    codes, entries = k_means(points, weights, ENTRIES, seed=0)
    distances = torch.cdist(points, entries)
    assert torch.allclose(distances.gather(1, codes.long()[:, None])[:, 0], distances.amin(dim=1), atol=1e-3)
    used = np.unique(codes.numpy())
    means = [np.average(points[codes == code].numpy(), axis=0, weights=weights[codes == code]) for code in used]
    assert np.abs(np.stack(means) - entries[used.tolist()].numpy()).mean() < 0.02  # k-means is nearly at rest


def test_each_place_can_have_a_book_of_its_own() -> None:
    pieces = torch.randn(600, 3, 4, generator=torch.Generator().manual_seed(0))
    codes, book = learned(pieces, torch.ones(600), 3, seed=0)
    alone, entries = k_means(pieces[:, 1], torch.ones(600), ENTRIES, seed=1)
    assert torch.equal(codes[:, 1], alone) and torch.equal(book[256:512], entries)


@pytest.mark.parametrize("books", ["shared", "each"])
@pytest.mark.parametrize("piece", [4, 16])
def test_words_are_scaled_entries(make_context: ContextMaker, books: str, piece: int) -> None:
    words = EmbeddingCodebook(piece=piece, books=books).apply(tiny_candidate(), make_context()).model.words
    assert isinstance(words, CodebookEmbedding)
    token, places = 30, -(-24 // piece)
    starts = [256 * place if books == "each" else 0 for place in range(places)]
    row = torch.cat([words.book[start + int(code)] for start, code in zip(starts, words.codes[token], strict=True)])
    assert torch.allclose(words(torch.tensor([token]))[0], row[:24] * words.scales[token])


def test_with_fewer_words_than_entries_nothing_is_lost(make_context: ContextMaker) -> None:
    candidate, context = tiny_candidate(), make_context()
    table = candidate.model.words.weight.detach().clone()
    made = EmbeddingCodebook(piece=16, books="each").apply(candidate, context)
    assert made.facts["embedding_codebook"] == {"bits_a_weight": round(8 * 2 / 24, 3), "variance_kept": 1.0}
    assert torch.allclose(made.model.words.weight, table, atol=1e-5)


@pytest.mark.parametrize("books", ["shared", "each"])
@pytest.mark.parametrize(("embedding", "piece"), [(24, 8), (10, 4), (24, 16)])
@pytest.mark.parametrize("quantized", [False, True])
def test_the_file_says_what_the_model_says(
    make_context: ContextMaker, books: str, embedding: int, piece: int, quantized: bool
) -> None:
    context = make_context()
    made = EmbeddingCodebook(piece=piece, books=books).apply(tiny_candidate(embedding=embedding), context)
    if quantized:
        made = Quantization().apply(made, context)
        made.model.round_floats()
    ids = torch.randint(4, 60, (1, 9), generator=torch.Generator().manual_seed(0))
    feeds = {"input_ids": ids.numpy(), "attention_mask": torch.ones_like(ids).numpy()}
    got = session(emit(made.model, pairs=False).SerializeToString()).run(["logits"], feeds)[0]
    with torch.no_grad():
        expected = made.model(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()
    assert abs(got - expected).max() < (0.05 if quantized else 1e-5)


@pytest.mark.parametrize("preview", [True, False])
def test_a_word_takes_a_byte_a_piece(make_context: ContextMaker, preview: bool) -> None:
    made = EmbeddingCodebook(piece=8).apply(tiny_candidate(), make_context(preview=preview))
    codes = [each for each in emit(made.model, pairs=False).graph.initializer if each.data_type == 2]
    assert [len(each.raw_data) for each in codes] == [made.model.config.vocabulary * 3]


def test_codes_survive_training_and_the_disk(make_context: ContextMaker, tmp_path: Path) -> None:
    context, candidate = make_context(), tiny_candidate()
    steps = (EmbeddingFactorization(size=10), EmbeddingCodebook(), Quantization())
    for step in steps:
        candidate = step.apply(candidate, context)
    before = candidate.model.words.book.detach().clone()
    codes = candidate.model.words.codes.clone()
    candidate = Distillation(epochs=0.3, distortions=0).apply(candidate, context)
    assert torch.equal(candidate.model.words.codes, codes)
    assert not torch.equal(candidate.model.words.book, before)
    save(candidate, tmp_path)
    again = load(tmp_path)
    assert again.model.config == candidate.model.config
    assert EncoderConfig.from_json(again.model.config.to_json()) == again.model.config
    ours, theirs = (answers_of(each, context.train.texts, "cpu")[0] for each in (candidate, again))
    assert (ours == theirs).all()


def test_a_vocabulary_can_be_pruned_after(make_context: ContextMaker) -> None:
    context = make_context()
    made = EmbeddingCodebook().apply(tiny_candidate(), context)
    before = answers_of(made, context.train.texts, "cpu")[0]
    pruned = VocabularyPruning(num_tokens=70).apply(made, context)
    assert len(pruned.model.words.codes) == pruned.model.config.vocabulary < 80
    assert np.allclose(answers_of(pruned, context.train.texts, "cpu")[0], before, atol=1e-5)
    assert isinstance(Encoder(pruned.model.config).words, CodebookEmbedding)


def test_what_a_codebook_cannot_be_cut_for_is_inapplicable(make_context: ContextMaker) -> None:
    context = make_context()
    for step, why in (
        (EmbeddingCodebook(), "codebook already"),
        (EmbeddingFactorization(size=8), "put it before"),
        (HiddenPruning(0.33), "narrow the model before"),
    ):
        with pytest.raises(Inapplicable, match=why):
            step.apply(EmbeddingCodebook().apply(tiny_candidate(), context), context)
