from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eicompress.contracts import Candidate, Context, Examples, ModelStrategy, Training
from eicompress.encoder.config import ReferenceConfig
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.export.emit import emit
from eicompress.strategies.bottleneck import BottleneckLayers
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.hidden_pruning import HiddenPruning
from eicompress.strategies.mixed_attention import MixedAttention
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.reference import Reference
from eicompress.strategies.super_network import SuperNetwork
from eicompress.strategies.thin_student import ThinStudent
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.testing import MUSIC, WEATHER
from eicompress.training.teacher import answers_of
from eicompress.trials.candidate import load, save
from tests.conftest import ContextMaker, tiny_candidate

STEP = Reference(references=4, vectors=2, width=8)


def logits_of(candidate: Candidate, context: Context) -> np.ndarray:
    return answers_of(candidate, context.train.texts, "cpu")[0]


def tokens_of(candidate: Candidate, text: str) -> list[int]:
    return candidate.tokenizer.encode(text).ids[:16]


def stored_tokens(candidate: Candidate) -> list[list[int]]:
    return [[each for each in row if each != 0] for row in candidate.model.references.ids.tolist()]


def test_references_are_training_texts_that_differ(make_context: ContextMaker) -> None:
    made = Reference(references=10, vectors=1, width=8).apply(tiny_candidate(), make_context())
    expected = [tokens_of(made, text) for text in (*MUSIC, *WEATHER)]
    assert sorted(stored_tokens(made)) == sorted(expected)


def test_a_validation_text_is_never_stored(make_context: ContextMaker) -> None:
    context = make_context()
    seen = replace(context, train=Examples(MUSIC, np.zeros(len(MUSIC), np.int64)))
    made = STEP.apply(tiny_candidate(), seen)
    assert len(stored_tokens(made)) == 4
    assert all(each in [tokens_of(made, text) for text in MUSIC] for each in stored_tokens(made))


def test_what_is_stored_are_the_baselines_last_states_by_parts(make_context: ContextMaker) -> None:
    made = Reference(references=10, vectors=3, width=24).apply(tiny_candidate(), make_context())
    baseline, references = tiny_candidate().model, made.model.references
    assert made.facts["reference"] == {"variance_kept": 1.0}
    for row, ids in enumerate(stored_tokens(made)):
        one = torch.tensor([ids])
        states = baseline.states(one, torch.ones_like(one), one * 0)[-1]
        expected = torch.nn.functional.adaptive_avg_pool1d(states.transpose(1, 2), 3).transpose(1, 2)
        vectors = references.table(torch.tensor([row])).unflatten(-1, (3, 24))
        assert torch.allclose(references.output(vectors, torch.ones(1, 3)), expected, atol=1e-3)


def test_fewer_dimensions_are_principal_components(make_context: ContextMaker) -> None:
    made = Reference(references=10, vectors=2, width=6).apply(tiny_candidate(), make_context())
    whole = Reference(references=10, vectors=2, width=24).apply(tiny_candidate(), make_context())
    states, near = (
        each.output(each.table.weight.unflatten(-1, (2, -1)), torch.ones(10, 2)).detach()
        for each in (whole.model.references, made.model.references)
    )
    assert torch.equal(whole.model.references.ids, made.model.references.ids)
    centred = (states - states.mean(dim=(0, 1))).flatten(0, 1)
    kept = torch.linalg.svdvals(centred).square()
    share = float(kept[:6].sum() / kept.sum())
    assert made.facts["reference"]["variance_kept"] == pytest.approx(share, abs=1e-3)
    assert float((near - states).square().sum() / centred.square().sum()) == pytest.approx(1 - share, abs=1e-3)


def test_a_narrow_student_reads_the_dimensions_that_it_kept(make_context: ContextMaker) -> None:
    context = make_context()
    first, second = tiny_candidate(), tiny_candidate()
    for step in (HiddenPruning(0.5), STEP):
        first = step.apply(first, context)
    for step in (STEP, HiddenPruning(0.5)):
        second = step.apply(second, context)
    rows = [list(each.origin.hidden) for each in (first, second)]
    whole = STEP.apply(tiny_candidate(), context).model.references.output
    for made, kept in zip((first, second), rows, strict=True):
        assert torch.equal(made.model.references.output.weight, whole.weight[kept])
        assert torch.equal(made.model.references.output.bias, whole.bias[kept])


class Watch:
    """A loss that notes which reference each text reads."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.numbers: dict[tuple[int, bool], int] = {}
        """The reference of each row, and whether it was held out."""

    def __call__(self, batch: Batch) -> Tensor:
        model = self.candidate.encoder
        _, number = model.references.nearest(model.words, batch.input_ids, batch.attention_mask)
        for row, each in zip(batch.rows.tolist(), number.tolist(), strict=True):
            self.numbers[row, not model.training] = each
        return model(batch.input_ids, batch.attention_mask, batch.token_type_ids).square().mean()


def test_no_training_text_reads_its_own_reference_while_it_is_trained_or_held_out(make_context: ContextMaker) -> None:
    context, texts = make_context(), (*MUSIC, *WEATHER)
    made = Reference(references=10, vectors=1, width=8).apply(tiny_candidate(), context)
    own = [stored_tokens(made).index(tokens_of(made, text)) for text in texts]
    watch = Watch(made)
    context.fit(made, Training(texts, watch, epochs=4.0, learning_rate=1e-4, batch_size=4, held_out=(2, 7)))
    assert {row for row, _ in watch.numbers} == set(range(10))
    assert {row for row, held_out in watch.numbers if held_out} == {2, 7}
    assert all(number != own[row] for (row, _), number in watch.numbers.items())
    model, tokens = made.model, [torch.tensor([tokens_of(made, text)]) for text in texts]
    assert model.references.learning is False
    found = [int(model.references.nearest(model.words, each, torch.ones_like(each))[1]) for each in tokens]
    assert found == own  # in use, the nearest one


def test_they_are_learned_and_survive_the_disk(make_context: ContextMaker, tmp_path: Path) -> None:
    context, candidate = make_context(), tiny_candidate()
    for step in (STEP, Quantization()):
        candidate = step.apply(candidate, context)
    before = candidate.model.references.table.weight.detach().clone()
    candidate = Distillation(epochs=2.0, distortions=0, learning_rate=1e-2).apply(candidate, context)
    assert not torch.equal(candidate.model.references.table.weight, before)
    save(candidate, tmp_path)
    again = load(tmp_path)
    assert again.model.config.references == ReferenceConfig(4, 16, 2, 8)
    assert np.array_equal(logits_of(candidate, context), logits_of(again, context))


@pytest.mark.parametrize(("bits", "numbers"), [(8, 16), (4, 8), (2, 4)])
def test_a_reference_takes_32_bytes_a_scale_and_its_numbers(
    make_context: ContextMaker, bits: object, numbers: int
) -> None:
    context = make_context()
    made = Reference(references=5, vectors=2, width=8).apply(tiny_candidate(), context)
    made = Quantization(embedding_bits=bits).apply(made, context)  # type: ignore[arg-type]
    stored = [each for each in emit(made.model, pairs=False).graph.initializer if each.dims and each.dims[0] == 5]
    assert sorted(len(each.raw_data) for each in stored) == sorted([5 * 32, 5 * numbers, 5 * 2])


def test_more_references_than_different_training_texts_are_refused(make_context: ContextMaker) -> None:
    with pytest.raises(Inapplicable, match=r"must be at most the 10 training texts .* but is 11: store fewer"):
        Reference(references=11).apply(tiny_candidate(), make_context())
    nothing = replace(make_context(preview=True), train=Examples((), np.zeros(0, np.int64)))
    with pytest.raises(Inapplicable, match=r"must be at most the 0 training texts .*, or give more training texts"):
        Reference(references=1).apply(tiny_candidate(), nothing)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((ThinStudent(layers=0), STEP), "the first layer, but the model has none"),
        ((STEP, ThinStudent(layers=0)), "one layer must stay"),
        ((STEP, VocabularyPruning(num_tokens=100)), "put `reference` after what prunes the vocabulary"),
        ((STEP, STEP), "`reference` acts on layers that read a text alone"),
        (
            (STEP, BottleneckLayers(width=8)),
            "`bottleneck` acts on .* leave one of the two steps out",
        ),
        ((STEP, MixedAttention()), "`mixed_attention` acts on layers that read a text alone"),
        ((STEP, SuperNetwork()), "train it before what .* gives it .* references"),
        ((MixedAttention(), STEP), "without rotations, windows, distances, convolutions or bottlenecks"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    make_context: ContextMaker, steps: tuple[ModelStrategy, ModelStrategy], reason: str
) -> None:
    first, second = steps
    made = first.apply(tiny_candidate(), make_context())
    with pytest.raises(Inapplicable, match=reason):
        second.apply(made, make_context())
