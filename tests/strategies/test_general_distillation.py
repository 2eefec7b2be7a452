from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate, Training
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.strategies.general_distillation import GeneralDistillation, read
from eicompress.strategies.thin_student import ThinStudent
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.training.teacher import answers_of
from tests.conftest import WORDS, ContextMaker, tiny_candidate, tiny_examples, tiny_tokenizer

SENTENCES = [f"{one} {two} the {three}" for one in WORDS for two in WORDS[:6] for three in WORDS[6:]]
UNSEEN = ["today it is the song", "what stops today", "sun and rain"]


def apart(student: Candidate, teacher: Candidate) -> float:
    """Mean distance of the states that the heads read, on texts that were not read."""
    ours, theirs = (answers_of(each, UNSEEN, "cpu")[1] for each in (student, teacher))
    return float(np.abs(ours - theirs[:, list(student.origin.hidden)]).mean())


def knobs(**changes: float) -> GeneralDistillation:
    return replace(GeneralDistillation(tokens=10_000, learning_rate=3e-3, batch_size=16), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "weights",
    [
        {"hidden_weight": 0.0},
        {"pooled_weight": 0.0},
        {"pooled_weight": 0.0, "hidden_weight": 0.0, "relation_weight": 1.0, "relation_heads": 4},
        {},
    ],
    ids=["pooled", "hidden", "relations", "default"],
)
def test_each_loss_falls(weights: dict[str, float], make_context: ContextMaker) -> None:
    context = replace(make_context(), unlabelled=SENTENCES)
    student = ThinStudent(layers=1).apply(tiny_candidate(), context)
    losses: list[float] = []

    def fit(candidate: Candidate, training: Training) -> None:
        def loss(batch: Batch) -> torch.Tensor:
            found = training.loss(batch)
            losses.append(float(found.detach()))
            return found

        context.fit(candidate, replace(training, loss=loss))

    knobs(**weights).apply(student, replace(context, fit=fit))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_the_student_comes_nearer_to_its_teacher_on_texts_it_has_not_read(make_context: ContextMaker) -> None:
    context = replace(make_context(), unlabelled=SENTENCES)
    student = ThinStudent(layers=1).apply(tiny_candidate(), context)
    before = apart(student, context.baseline)
    made = knobs().apply(student, context)
    assert apart(made, context.baseline) < 0.7 * before
    assert made.facts["general_distillation"]["sentences"] == len(SENTENCES)


def test_a_pruned_vocabulary_is_compared_word_by_word(make_context: ContextMaker) -> None:
    """A student whose tokens alone were pruned says the same of words that stayed, and learns those that fell apart."""
    train = tiny_examples(1).take([0, 1, 3])
    kept = ["play the song", "stop the music", "stop it play it"] * 10
    fallen = ["rain the sun", "what is the weather", "will it rain today"] * 100
    losses: dict[bool, list[float]] = {True: [], False: []}

    def fit(candidate: Candidate, training: Training) -> None:
        def loss(batch: Batch) -> torch.Tensor:
            found = training.loss(batch)
            losses[training.texts[0] == kept[0]].append(float(found.detach()))
            return found

        context.fit(candidate, replace(training, loss=loss))

    for texts in (kept, fallen):
        context = replace(make_context(), train=train, unlabelled=texts)
        student = VocabularyPruning(num_tokens=100, unseen=False).apply(tiny_candidate(), context)
        knobs(tokens=3000).apply(student, replace(context, fit=fit))
    assert losses[True][0] == pytest.approx(0, abs=1e-9)
    assert losses[False][0] > 0.1 and np.mean(losses[False][-5:]) < 0.5 * losses[False][0]


def test_a_student_without_layers_learns_the_pooled_state(make_context: ContextMaker) -> None:
    context = replace(make_context(), unlabelled=SENTENCES)
    student = ThinStudent(layers=0).apply(tiny_candidate(), context)
    before = apart(student, context.baseline)
    knobs().apply(student, context)
    assert apart(student, context.baseline) < before


def test_the_head_stays_as_it_is(make_context: ContextMaker) -> None:
    context = replace(make_context(), unlabelled=SENTENCES)
    student = tiny_candidate()
    made = knobs(tokens=500).apply(ThinStudent(layers=2).apply(student, context), context)
    assert torch.equal(made.model.classifier.weight, tiny_candidate().model.classifier.weight)
    assert not torch.equal(made.model.words.weight, tiny_candidate().model.words.weight)


def test_no_more_of_the_stream_is_read_than_the_budget_of_tokens() -> None:
    pulled: list[str] = []

    def stream() -> Iterator[str]:
        while True:
            pulled.append("the song")
            yield pulled[-1]

    texts, count = read(stream(), tiny_tokenizer(), 1000)
    assert 1000 <= count < 1004 and len(texts) == count / 4
    assert len(pulled) <= 1024


def test_sentences_of_one_token_are_left_out_and_short_streams_end() -> None:
    assert read(["song", "the song", ""], tiny_tokenizer(), 1000) == (["the song"], 4)


def test_without_text_it_says_what_to_give(make_context: ContextMaker) -> None:
    with pytest.raises(Inapplicable, match="name it by `--unlabelled`"):
        GeneralDistillation().apply(tiny_candidate(), replace(make_context(preview=True), unlabelled=()))
