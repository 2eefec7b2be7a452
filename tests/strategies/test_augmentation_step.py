from dataclasses import replace
from pathlib import Path

import numpy as np

from eicompress.contracts import Candidate, Training
from eicompress.strategies.augmentation import Augmentation
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.thin_student import ThinStudent
from eicompress.tasks.classification import PairClassification
from eicompress.training.teacher import answers_of
from eicompress.trials import candidate as candidates
from tests.conftest import ContextMaker, tiny_candidate, tiny_examples


def test_texts_are_grown_once_each_and_differ_from_the_tasks(make_context: ContextMaker) -> None:
    context = make_context()
    made = Augmentation(copies=4).apply(tiny_candidate(), context)
    assert len(made.texts) > 40
    assert len(set(made.texts)) == len(made.texts) and not set(made.texts) & set(context.train.texts)
    assert made.facts["augmentation"] == {"texts": len(made.texts), "unlabelled": 0}
    assert Augmentation(copies=4).apply(tiny_candidate(), context).texts == made.texts
    assert Augmentation(copies=4).apply(tiny_candidate(), make_context(seed=1)).texts != made.texts


def test_near_words_come_from_the_corpus_or_from_the_vocabulary(make_context: ContextMaker) -> None:
    context = replace(make_context(), train=tiny_examples(1))
    known = {word for text in context.train.texts for word in str(text).split()}
    for words, foreign in (("corpus", False), ("vocabulary", True)):
        grown = Augmentation(copies=10, neighbours=1.0, words=words).apply(tiny_candidate(), context).texts
        assert any(not set(str(text).split()) <= known for text in grown) == foreign


def test_later_generations_go_further_from_the_texts(make_context: ContextMaker) -> None:
    context = make_context()

    def strange(generations: int) -> float:
        """Share of the grown texts' words that are not in the text that is nearest."""
        grown = Augmentation(copies=9, neighbours=1.0, generations=generations).apply(tiny_candidate(), context).texts
        known = [set(str(text).split()) for text in set(context.train.texts)]
        return float(np.mean([min(len({*str(text).split()} - each) for each in known) for text in grown]))

    assert strange(3) > strange(1)


def test_text_of_the_users_own_comes_in_as_far_as_it_goes(make_context: ContextMaker) -> None:
    context = make_context()
    made = Augmentation(copies=0, unlabelled=2).apply(tiny_candidate(), context)
    assert list(made.texts) == list(context.unlabelled)[:2] and made.facts["augmentation"]["unlabelled"] == 2
    none = Augmentation(copies=0, unlabelled=2).apply(tiny_candidate(), replace(context, unlabelled=()))
    assert not none.texts and none.facts["augmentation"] == {"texts": 0, "unlabelled": 0}


def test_pairs_take_no_single_sentences(make_context: ContextMaker) -> None:
    context = make_context()
    pairs = replace(context.train, texts=tuple((str(text), "rain") for text in context.train.texts))
    made = Augmentation(copies=1, unlabelled=2).apply(
        tiny_candidate(), replace(context, train=pairs, task=PairClassification(("music", "weather")))
    )
    assert made.texts and all(isinstance(text, tuple) for text in made.texts)
    assert made.facts["augmentation"]["unlabelled"] == 0


def test_few_rows_get_more_copies(make_context: ContextMaker) -> None:
    context = make_context()
    rows = len(context.train)

    def grown(least: int, copies: int = 0) -> int:
        made = Augmentation(copies=copies, least_texts=least, neighbours=0.0)
        return len(made._grown(replace(context, unlabelled=()))[0])

    assert grown(0) == grown(rows) == 0
    assert grown(rows + 1) == grown(2 * rows) == grown(0, copies=1)
    assert grown(4 * rows) == grown(0, copies=3) == grown(2 * rows, copies=3)


def test_the_most_disputed_texts_are_chosen(make_context: ContextMaker) -> None:
    context = make_context()
    student = ThinStudent(layers=1).apply(tiny_candidate(), context)
    made = Augmentation(copies=4, pool=3.0).apply(student, context)
    facts = made.facts["augmentation"]
    assert len(made.texts) == facts["texts"] == round(facts["of"] / 3)
    assert facts["kept"] > 1.5 * facts["all"]
    whole = Augmentation(copies=12).apply(student, context)
    assert set(made.texts) <= set(whole.texts)
    # By hand for each text: KL of what the two predict.
    texts = [str(text) for text in whole.texts]
    both = (context.baseline, student)
    expected, given = (np.exp(answers_of(each, texts, "cpu")[0].astype(np.float64)) for each in both)
    expected, given = expected / expected.sum(axis=1, keepdims=True), given / given.sum(axis=1, keepdims=True)
    divergence = dict(zip(texts, (expected * np.log(expected / given)).sum(axis=1), strict=True))
    kept = [divergence[str(text)] for text in made.texts]
    left = [divergence[text] for text in texts if text not in set(made.texts)]
    assert min(kept) > max(left) - 0.01


def test_distillation_reads_the_grown_texts(make_context: ContextMaker) -> None:
    context = make_context()
    grown = Augmentation(copies=2).apply(tiny_candidate(), context)
    Distillation(epochs=2.0, distortions=0).apply(grown, context)
    answered = len(context.teacher.answers.places)  # type: ignore[attr-defined]
    assert answered == len(set(context.train.texts)) + len(grown.texts)


def test_grown_texts_are_never_held_out(make_context: ContextMaker) -> None:
    context, seen = make_context(), []

    def fit(candidate: Candidate, training: Training) -> None:
        seen.append(training)

    grown = Augmentation(copies=2).apply(tiny_candidate(), context)
    Distillation(distortions=1, held_out=0.25).apply(grown, replace(context, fit=fit))
    assert len(seen[0].held_out) == 40 and max(seen[0].held_out) < 160 < len(seen[0].texts)


def test_grown_texts_are_kept_with_a_trained_prefix(make_context: ContextMaker, tmp_path: Path) -> None:
    made = Augmentation(copies=1).apply(tiny_candidate(), make_context())
    pairs = replace(made, texts=(*made.texts, ("a pair", "of texts")))
    candidates.save(pairs, tmp_path)
    assert candidates.load(tmp_path).texts == pairs.texts


def test_a_preview_grows_nothing(make_context: ContextMaker) -> None:
    assert not Augmentation().apply(tiny_candidate(), make_context(preview=True)).texts
