from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate, Context, Examples, Training
from eicompress.encoder.config import BigramConfig
from eicompress.encoder.embedding import BigramEmbedding
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.export.emit import emit
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.embedding_codebook import EmbeddingCodebook
from eicompress.strategies.general_distillation import GeneralDistillation
from eicompress.strategies.hidden_pruning import HiddenPruning
from eicompress.strategies.mixed_precision import MixedPrecision
from eicompress.strategies.ngram_embedding import NgramEmbedding
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.sparse_training import SparseTraining
from eicompress.strategies.thin_student import ThinStudent
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.training.teacher import answers_of
from eicompress.trials.candidate import load, save
from tests.conftest import ContextMaker, tiny_candidate

STEP = NgramEmbedding(buckets=64, width=8)
MIXED = Examples(("play song", "stop music", "play music", "stop song"), np.array([0, 0, 1, 1], np.int64))
"""Each word stands in a text of each label, at the same place: only pairs tell which."""


def logits_of(candidate: Candidate, context: Context) -> np.ndarray:
    return answers_of(candidate, context.train.texts, "cpu")[0]


def with_bigrams(candidate: Candidate) -> Candidate:
    """With rows and a matrix that are not zero, as after a training."""
    chance = torch.Generator().manual_seed(0)
    candidate.model.add_bigrams(torch.randn(64, 8, generator=chance), torch.randn(24, 8, generator=chance))
    return candidate


def test_a_text_gets_the_mean_of_its_pairs_vectors() -> None:
    bigrams = BigramEmbedding(hidden=5, shape=BigramConfig(buckets=10, width=3))
    ids, multiplier = [2, 60, 3], 6  # 10 rows times 0.618
    rows = [(0 * multiplier + 2) % 10, (2 * multiplier + 60) % 10, (60 * multiplier + 3) % 10]
    expected = bigrams.table.weight[rows].mean(dim=0) @ bigrams.output.weight.T
    padded = torch.tensor([[*ids, 0, 0]])
    assert bigrams.buckets(padded)[0, :3].tolist() == rows == [2, 2, 3]
    assert torch.allclose(bigrams(padded, (padded > 0).long())[0], expected, atol=1e-6)


def test_of_a_single_token_there_is_the_pair_with_token_0() -> None:
    bigrams = BigramEmbedding(hidden=5, shape=BigramConfig(buckets=10, width=3))
    expected = bigrams.table.weight[7] @ bigrams.output.weight.T
    assert torch.allclose(bigrams(torch.tensor([[37]]), torch.tensor([[1]]))[0], expected, atol=1e-6)


@pytest.mark.parametrize("buckets", [1000, 1024, 4096, 6000, 12_345])
def test_pairs_of_neighbouring_numbers_fill_more_rows_than_chance_would(buckets: int) -> None:
    bigrams = BigramEmbedding(hidden=2, shape=BigramConfig(buckets, width=1))
    side = torch.arange(100, 164)
    pairs = torch.cartesian_prod(side, side)
    filled = len(bigrams.buckets(pairs)[:, 1].unique())
    assert filled >= buckets * (1 - np.exp(-len(pairs) / buckets))


@pytest.mark.parametrize("quantization", [None, Quantization(), Quantization(embedding_bits=2, layer_bits=2)])
@pytest.mark.parametrize("first", [True, False])
def test_the_logits_begin_as_they_were(
    make_context: ContextMaker, quantization: Quantization | None, first: bool
) -> None:
    context = make_context()
    bits = [] if quantization is None else [quantization]
    without, made = tiny_candidate(), tiny_candidate()
    for step in bits:
        without = step.apply(without, context)
    for step in [STEP, *bits] if first else [*bits, STEP]:
        made = step.apply(made, context)
    assert np.array_equal(logits_of(made, context), logits_of(without, context))


def test_it_learns_what_words_alone_do_not_tell(make_context: ContextMaker) -> None:
    context = replace(make_context(), train=MIXED)
    targets = torch.from_numpy(MIXED.targets)

    def right(*steps: NgramEmbedding | Quantization) -> int:
        candidate = tiny_candidate(layers=(), pooling="mean", pooler=False)
        for step in steps:
            candidate = step.apply(candidate, context)

        def loss(batch: Batch) -> torch.Tensor:
            logits = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            return context.task.loss(logits, targets[batch.rows])

        context.fit(candidate, Training(MIXED.texts, loss, epochs=200.0, learning_rate=1e-2, batch_size=4))
        return int((logits_of(candidate, context).argmax(axis=1) == MIXED.targets).sum())

    assert right() < 4
    assert right(STEP) == 4
    assert right(STEP, Quantization(embedding_bits=2, layer_bits=2)) == 4


@pytest.mark.parametrize(("bits", "a_row"), [(8, 8), (4, 4), (2, 2), ("ternary", 2)])
def test_a_row_takes_as_many_bits_as_a_word(make_context: ContextMaker, bits: object, a_row: int) -> None:
    made = STEP.apply(tiny_candidate(), make_context())
    made = Quantization(embedding_bits=bits).apply(made, make_context())  # type: ignore[arg-type]
    assert made.model.bigrams.table.spec == made.model.words.spec
    tables = [each for each in emit(made.model, pairs=False).graph.initializer if each.dims and each.dims[0] == 64]
    assert sorted(len(each.raw_data) for each in tables) == sorted([64 * a_row, 64 * 2])  # scales in half precision


def test_after_quantization_rows_get_the_bits_of_the_words(make_context: ContextMaker) -> None:
    context = make_context()
    made = STEP.apply(Quantization(embedding_bits=2, layer_bits=2).apply(tiny_candidate(), context), context)
    assert made.model.bigrams.table.spec.bits == 2 and made.model.bigrams.output.spec.bits == 4
    book = STEP.apply(EmbeddingCodebook().apply(tiny_candidate(), context), context)
    assert Quantization().apply(book, context).model.bigrams.table.spec.bits == 4


def test_they_survive_training_and_the_disk(make_context: ContextMaker, tmp_path: Path) -> None:
    context, candidate = make_context(), tiny_candidate()
    for step in (STEP, Quantization(), Distillation(epochs=2.0, distortions=0, learning_rate=1e-2)):
        candidate = step.apply(candidate, context)
    assert bool(candidate.model.bigrams.output.effective_weight().abs().sum() > 0)
    save(candidate, tmp_path)
    again = load(tmp_path)
    assert again.model.config == candidate.model.config
    assert np.array_equal(logits_of(candidate, context), logits_of(again, context))


def test_distillation_compares_the_state_with_the_pairs_in_it(make_context: ContextMaker) -> None:
    context, made = make_context(), with_bigrams(tiny_candidate())
    before = made.model.bigrams.table.weight.detach().clone()
    made = Distillation(epochs=0.3, distortions=0, state_weight=1.0).apply(made, context)
    assert not torch.equal(made.model.bigrams.table.weight, before)


def test_general_distillation_teaches_them_too(make_context: ContextMaker) -> None:
    context, made = make_context(), with_bigrams(tiny_candidate())
    before = made.model.bigrams.output.weight.detach().clone()
    made = GeneralDistillation(tokens=1000).apply(made, context)
    assert not torch.equal(made.model.bigrams.output.weight, before)


def test_mixed_precision_weighs_them_like_any_matrix(make_context: ContextMaker) -> None:
    made = MixedPrecision().apply(with_bigrams(tiny_candidate()), make_context())
    assert {"bigrams.table", "bigrams.output"} <= set(made.facts["mixed_precision"]["matrices"])


def test_frozen_embeddings_are_frozen_with_their_pairs(make_context: ContextMaker) -> None:
    made = with_bigrams(tiny_candidate())
    before = made.model.bigrams.table.weight.detach().clone()
    made = SparseTraining(rounds=1, epochs=0.3, freeze_embeddings=True).apply(made, make_context())
    assert torch.equal(made.model.bigrams.table.weight, before)


def test_a_narrower_model_keeps_the_part_that_pairs_add(make_context: ContextMaker) -> None:
    context = make_context()
    made = with_bigrams(tiny_candidate(pooling="mean"))
    output = made.model.bigrams.output.weight.detach().clone()
    for step in (ThinStudent(layers=2, hidden=0.67), HiddenPruning(0.5)):
        made = step.apply(made, context)
    assert torch.equal(made.model.bigrams.output.weight, output[list(made.origin.hidden)])
    assert Encoder(made.model.config).bigrams.output.weight.shape == (8, 8)


def test_a_head_that_is_taken_leaves_them(make_context: ContextMaker) -> None:
    made = with_bigrams(tiny_candidate())
    made.model.take_head(tiny_candidate(seed=1).model, torch.arange(24))
    assert made.model.bigrams is not None and made.model.config.bigrams == BigramConfig(64, 8)


def test_vocabulary_is_pruned_before_and_not_after(make_context: ContextMaker) -> None:
    context = make_context()
    pruned = STEP.apply(VocabularyPruning(num_tokens=100).apply(tiny_candidate(), context), context)
    assert pruned.model.bigrams is not None
    with pytest.raises(Inapplicable, match="put `ngram_embedding` after what prunes the vocabulary"):
        VocabularyPruning(num_tokens=100).apply(STEP.apply(tiny_candidate(), context), context)


def test_one_bucket_leaves_the_model_as_it_is(make_context: ContextMaker) -> None:
    made = NgramEmbedding(buckets=1).apply(tiny_candidate(), make_context())
    assert made.model.bigrams is None and made.model.config.bigrams is None


def test_it_acts_once(make_context: ContextMaker) -> None:
    context = make_context()
    with pytest.raises(Inapplicable, match="has some"):
        STEP.apply(STEP.apply(tiny_candidate(), context), context)
