"""Every strategy on a model that tags words: it trains, and the file answers as the model does."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MUSIC, WEATHER, tiny_candidate, tiny_context
from tokenizers import Tokenizer, models

from eicompress import runtime
from eicompress.cache import Cache
from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.heads import answer_words
from eicompress.errors import Inapplicable
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.strategies import register_strategies
from eicompress.strategies.augmentation import Augmentation
from eicompress.strategies.cross_distillation import CrossDistillation
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.early_exit import EarlyExit
from eicompress.strategies.general_distillation import GeneralDistillation
from eicompress.strategies.layer_distillation import LayerDistillation
from eicompress.strategies.mixed_precision import MixedPrecision
from eicompress.strategies.ngram_embedding import NgramEmbedding
from eicompress.strategies.pruning import NeuronPruning
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.super_network import Subnetwork, SuperNetwork
from eicompress.strategies.thin_student import ThinStudent
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.tasks.intent_and_slots import IntentAndSlotsTask
from eicompress.tasks.token_classification import TokenClassification
from eicompress.training.teacher import answers_of, encoder_teacher

TEXTS = (*MUSIC, *WEATHER)
THINGS = ("song", "music", "sun", "rain", "weather")
ROWS = [
    {"tokens": text.split(), "tags": ["B-thing" if word in THINGS else "O" for word in text.split()]}
    for text in (*TEXTS, *TEXTS)
]
VARIANTS: list[tuple[type[ModelStrategy], Mapping[str, Any]]] = [
    (LayerDistillation, {"attention_weight": 1.0, "progressive": True}),
    (Distillation, {"logits": "mse"}),
    (CrossDistillation, {"teacher_updates": "none"}),
    (CrossDistillation, {"teacher_updates": "alternating", "teacher_layers": 1, "head": "copy"}),
    (GeneralDistillation, {"relation_weight": 1.0, "relation_heads": 4}),
    (Augmentation, {"copies": 1, "pool": 2.0}),
    (VocabularyPruning, {"num_tokens": 100}),
    (ThinStudent, {"layers": 0, "hidden": 0.5}),
    (ThinStudent, {"layers": 1, "heads": 0.5, "neurons": 0.5}),
]


def tagging_context(folder: Path) -> Context:
    baseline = tiny_candidate(outputs=3)
    answer_words(baseline.encoder)
    columns = {"text": "tokens", "label": "tags"}
    task, examples = TokenClassification.read({"train": ROWS}, columns)
    teacher = encoder_teacher(baseline, "tiny", "", Cache(folder / "teacher"), "cpu", aligned=True)
    return replace(tiny_context(folder, baseline), task=task, train=examples["train"], teacher=teacher)


def intents_context(folder: Path) -> Context:
    baseline = tiny_candidate(outputs=5)
    answer_words(baseline.encoder)
    rows = [{**row, "label": "music" if at % len(TEXTS) < len(MUSIC) else "weather"} for at, row in enumerate(ROWS)]
    task, examples = IntentAndSlotsTask.read({"train": rows}, {"text": "tokens", "tags": "tags", "label": "label"})
    teacher = encoder_teacher(baseline, "tiny", "", Cache(folder / "teacher"), "cpu", aligned=True)
    return replace(tiny_context(folder, baseline), task=task, train=examples["train"], teacher=teacher)


def copied(candidate: Candidate) -> Candidate:
    return replace(candidate, model=copy.deepcopy(candidate.model))


def check_file(made: Candidate, context: Context, folder: Path) -> None:
    answer = context.task.answer
    artifact = artifacts.write(made, answer, folder / "artifact", pairs=False, manifest={})
    logits = runtime.load(artifact.folder).logits(TEXTS)
    assert logits.shape == (len(TEXTS), 4, answer.outputs)
    assert check_parity(made, TEXTS, logits, answer).agreement >= 0.995


APPLICABLE = [
    pytest.param(each, dict(each.example), marks=pytest.mark.slow)
    for each in register_strategies()
    if issubclass(each, ModelStrategy) and each not in (EarlyExit, NgramEmbedding, Subnetwork)
]


@pytest.mark.parametrize(
    ("strategy", "knobs"), [*VARIANTS, *APPLICABLE], ids=lambda each: each.name if isinstance(each, type) else None
)
def test_a_strategy_keeps_what_words_are_answered(
    tmp_path: Path, strategy: type[ModelStrategy], knobs: Mapping[str, Any]
) -> None:
    context = tagging_context(tmp_path)
    made = strategy(**knobs).apply(copied(context.baseline), context)
    assert made.encoder.config.per_word
    check_file(made, context, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "knobs"),
    [
        *VARIANTS,
        (Distillation, {"label_weight": 0.5}),
        (MixedPrecision, {}),
        (SuperNetwork, {"epochs": 0.5, "random": 1}),
        (NeuronPruning, {"share": 0.5}),
    ],
    ids=lambda each: each.name if isinstance(each, type) else None,
)
def test_a_strategy_keeps_intents_beside_words(
    tmp_path: Path, strategy: type[ModelStrategy], knobs: Mapping[str, Any]
) -> None:
    context = intents_context(tmp_path)
    check_file(strategy(**knobs).apply(copied(context.baseline), context), context, tmp_path)


def test_intents_are_learned_from_the_teacher(tmp_path: Path) -> None:
    context = intents_context(tmp_path)
    answer = context.task.answer
    made = copied(context.baseline)
    with torch.no_grad():
        made.encoder.classifier.weight[len(answer.tags) :].neg_()
    wanted = answer.intent_logits(context.teacher.outputs(TEXTS).logits).argmax(axis=1)
    before = answer.intent_logits(answers_of(made, TEXTS, "cpu")[0]).argmax(axis=1)
    made = Distillation(epochs=8.0, learning_rate=1e-2, label_weight=0.0).apply(made, context)
    after = answer.intent_logits(answers_of(made, TEXTS, "cpu")[0]).argmax(axis=1)
    assert (before == wanted).mean() < 0.5 < (after == wanted).mean()


def test_parts_of_a_super_network_and_few_bits_answer_words(tmp_path: Path) -> None:
    context = tagging_context(tmp_path)
    made = copied(context.baseline)
    for step in (SuperNetwork(epochs=0.5, random=1), Subnetwork(layers=2, heads=0.5), Quantization(), MixedPrecision()):
        made = step.apply(made, context)
    check_file(made, context, tmp_path)


def test_a_student_with_other_pieces_learns_its_teachers_tags(tmp_path: Path) -> None:
    """Its tokens are letters alone, so that only the alignment by words can teach it."""
    context = tagging_context(tmp_path)
    context.train.targets[:] = 0  # labels say nothing
    vocabulary = context.baseline.tokenizer.get_vocab()
    kept = sorted(number for token, number in vocabulary.items() if token not in THINGS)
    numbers = {number: place for place, number in enumerate(kept)}
    made = copied(context.baseline)
    tokenizer = Tokenizer.from_str(made.tokenizer.to_str())
    tokenizer.model = models.WordPiece(
        {token: numbers[number] for token, number in vocabulary.items() if number in numbers}, unk_token="[UNK]"
    )
    made.encoder.keep_tokens(torch.tensor(kept))
    made = replace(made, tokenizer=tokenizer)
    wanted = context.teacher.outputs(TEXTS).logits.argmax(axis=-1)

    def agreement(candidate: Candidate) -> float:
        found = answers_of(candidate, TEXTS, "cpu")[0]
        real = context.teacher.outputs(TEXTS).logits.any(axis=-1) & found.any(axis=-1)
        return float((found.argmax(axis=-1) == wanted)[real].mean())

    before = agreement(made)
    trained = Distillation(epochs=60, distortions=1, label_weight=0.0, learning_rate=5e-3).apply(made, context)
    assert agreement(trained) > max(0.9, before)
    check_file(trained, context, tmp_path)


def test_what_does_not_apply_says_why(tmp_path: Path) -> None:
    context = tagging_context(tmp_path)
    with pytest.raises(Inapplicable, match="adds to the pooled state of a text, but this encoder answers each word"):
        NgramEmbedding(buckets=64, width=8).apply(copied(context.baseline), context)
    with pytest.raises(Inapplicable, match=r"state_weight` must be 0 where each word is answered"):
        Distillation(state_weight=1.0).apply(copied(context.baseline), context)


def test_answers_are_stored_word_by_word_and_found_again(tmp_path: Path) -> None:
    context, texts = tagging_context(tmp_path), ["stop it", "what is the song", "xyz"]
    first = context.teacher.outputs(texts[:1]).logits
    again = tagging_context(tmp_path).teacher.outputs(texts).logits
    assert first.shape == (1, 2, 3) and again.shape == (3, 4, 3)
    assert np.array_equal(again[:1, :2], first) and not again[0, 2:].any() and not again[2, 1:].any()
