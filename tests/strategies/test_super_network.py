import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate, Context
from eicompress.encoder.elastic import Elastic, sloping, sub_network
from eicompress.encoder.quantization import QuantSpec
from eicompress.encoder.tokens import tokenize
from eicompress.errors import Inapplicable
from eicompress.strategies.embedding_factorization import EmbeddingFactorization
from eicompress.strategies.super_network import Subnetwork, SuperNetwork, rewire
from eicompress.training.nested_vocabulary import readings
from tests.conftest import ContextMaker, tiny_candidate


def quality(candidate: Candidate, context: Context) -> float:
    batch = tokenize(candidate.tokenizer, context.train.texts).batch(np.arange(len(context.train)), 0, "cpu")
    with torch.no_grad():
        logits = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return context.task.score(logits.numpy(), context.train.targets)


def largest_change(before: Candidate, after: Candidate, context: Context) -> float:
    batch = tokenize(before.tokenizer, context.train.texts).batch(np.arange(len(context.train)), 0, "cpu")
    read = batch.input_ids, batch.attention_mask, batch.token_type_ids
    with torch.no_grad():
        return float((before.model(*read) - after.model(*read)).abs().max())


TRAINED = SuperNetwork(epochs=20.0, distortions=0, learning_rate=3e-3, label_weight=1.0, temperature=1.0, batch_size=8)


@pytest.mark.slow
def test_after_one_training_small_and_large_parts_know_the_task(make_context: ContextMaker) -> None:
    context = make_context()
    subject = EmbeddingFactorization(size=16).apply(tiny_candidate(), context)
    trained = TRAINED.apply(subject, context)
    for part in (Subnetwork(3), Subnetwork(1, 0.25, 0.25, 0.5), Subnetwork(2, 0.5, 0.5)):
        taken = part.apply(copy.deepcopy(trained), context)
        assert quality(taken, context) >= 0.9, part
        assert len(taken.origin.layers) == part.layers
    least = {"layers": 1, "heads": 0.25, "neurons": 0.25, "vocabulary": 1.0, "embedding": 0.25}
    assert trained.facts["super_network"] == {"least": least}


@pytest.mark.parametrize("bits", [False, True])
def test_a_sub_network_answers_as_its_part_does_in_place_on_every_axis(make_context: ContextMaker, bits: bool) -> None:
    context = make_context(preview=True)
    whole = EmbeddingFactorization(size=16).apply(tiny_candidate(), context)
    whole = SuperNetwork(vocabulary=0.5).apply(whole, context)
    if bits:
        whole.encoder.set_quantization(QuantSpec(4), QuantSpec(2))
    whole.encoder.eval()
    elastic, texts = Elastic(whole.encoder), context.train.texts
    read = readings(whole.tokenizer, (0.5, 1.0), texts, whole.encoder.config.padding_id, context)
    rows = np.arange(len(texts))
    batch = tokenize(whole.tokenizer, texts).batch(rows, whole.encoder.config.padding_id, "cpu")
    axes = itertools.product((1, 3), (0.25, 1.0), (0.5,), (0.5, 1.0), (0.5, 1.0), (-0.5, 1.0))
    for layers, heads, neurons, embedding, vocabulary, slope in axes:
        knobs = Subnetwork(layers, heads, neurons, embedding, vocabulary, heads_slope=slope, neurons_slope=-slope)
        taken = knobs.apply(copy.deepcopy(whole), context)
        widths = sloping(heads, slope, layers, 0.25), sloping(neurons, -slope, layers, 0.25)
        part = sub_network(whole.encoder.config, layers, *widths, embedding)
        given = read[vocabulary].batch(batch) if vocabulary < 1.0 else batch
        own = tokenize(taken.tokenizer, texts).batch(rows, taken.encoder.config.padding_id, "cpu")
        with torch.no_grad():
            in_place = elastic.logits(part, given.input_ids, given.attention_mask, given.token_type_ids)
            alone = taken.model(own.input_ids, own.attention_mask, own.token_type_ids)
        assert torch.allclose(in_place, alone, atol=1e-5), knobs
        assert taken.encoder.config.vocabulary == taken.tokenizer.get_vocab_size()
    # The cut is one: with half of the tokens some text is longer.
    assert read[0.5].tokens.lengths.sum() > tokenize(whole.tokenizer, texts).lengths.sum()


@pytest.mark.slow
def test_parts_with_fewer_tokens_are_trained_on_them_and_know_the_task(make_context: ContextMaker) -> None:
    context = make_context()
    knobs = replace(TRAINED, epochs=20.0, vocabulary=0.5, uneven=True, layers=3, heads=1.0, neurons=1.0)
    trained = knobs.apply(tiny_candidate(), context)
    taken = Subnetwork(3, vocabulary=0.5).apply(copy.deepcopy(trained), context)
    assert taken.encoder.config.vocabulary < trained.encoder.config.vocabulary
    assert quality(taken, context) >= 0.9


def test_without_the_training_the_small_parts_do_not(make_context: ContextMaker) -> None:
    context = make_context()
    untrained = SuperNetwork().apply(tiny_candidate(), make_context(preview=True))
    taken = Subnetwork(1, 0.25, 0.25).apply(untrained, context)
    assert quality(taken, context) <= 0.8


def test_every_step_trains_the_largest_the_smallest_and_random_ones(make_context: ContextMaker) -> None:
    context, seen = make_context(), []
    logits = Elastic.logits

    def counted(self: Elastic, part: object, *read: torch.Tensor) -> torch.Tensor:
        seen.append(part)
        return logits(self, part, *read)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Elastic, "logits", counted)
        SuperNetwork(epochs=1.0, distortions=0, batch_size=5, random=2).apply(tiny_candidate(), context)
    config = tiny_candidate().encoder.config
    steps = [seen[at : at + 4] for at in range(0, len(seen), 4)]
    assert len(steps) == round(len(context.train) / 5)
    assert all(step[0] == sub_network(config, 3, 1.0, 1.0, 1.0) for step in steps)
    assert all(step[1] == sub_network(config, 1, 0.25, 0.25, 1.0) for step in steps)
    assert len({part for step in steps for part in step[2:]}) > 2


def test_rewiring_changes_no_answer_and_puts_what_matters_first(make_context: ContextMaker) -> None:
    context = make_context()
    before = EmbeddingFactorization(size=16).apply(tiny_candidate(), context)
    after = replace(before, model=copy.deepcopy(before.model))
    rewire(after, context)
    assert largest_change(before, after, context) < 1e-4
    table = after.encoder.words.weight @ after.encoder.projection.weight.T  # type: ignore[union-attr]
    first = after.encoder.words.weight[:, :4] @ after.encoder.projection.weight[:, :4].T  # type: ignore[union-attr]
    other = before.encoder.words.weight[:, :4] @ before.encoder.projection.weight[:, :4].T  # type: ignore[union-attr]
    assert (table - first).norm() < 0.9 * (table - other).norm()


def test_what_it_was_not_trained_for_is_refused(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    with pytest.raises(Inapplicable, match=r"`super_network.layers` must be at most the model's 3 layers, but is 4"):
        SuperNetwork(layers=4).apply(tiny_candidate(), context)
    trained = SuperNetwork(layers=2, heads=0.5).apply(tiny_candidate(), context)
    for part, said in (
        (Subnetwork(1), r"`subnetwork.layers` must be at least 2, .* but is 1"),
        (Subnetwork(4), r"`subnetwork.layers` must be at most the model's 3 layers, but is 4"),
        (Subnetwork(2, heads=0.25), r"`subnetwork.heads` must be at least 0.5, .* but is 0.25"),
        (Subnetwork(2, embedding=0.5), "put `embedding_factorization` before `super_network`"),
        (Subnetwork(2, vocabulary=0.5), r"`subnetwork.vocabulary` must be at least 1, .* but is 0.5"),
    ):
        with pytest.raises(Inapplicable, match=said):
            part.apply(copy.deepcopy(trained), context)
