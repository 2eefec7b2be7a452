import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from eicompress_starts import PENALTIES, StartingPoint, weights
from eicompress_starts.make import read_texts

from eicompress import runtime
from eicompress.cache import Cache
from eicompress.contracts import Candidate, Context, Examples, Task
from eicompress.data.quickstart import builtin_model
from eicompress.encoder import convert
from eicompress.encoder.heads import answer_with_states, answer_words
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable, ModelError
from eicompress.export import folder as artifacts
from eicompress.plugins import discover
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.study.recipe_file import read_recipe
from eicompress.study.space_file import read_space
from eicompress.tasks.embedding import Embedding
from eicompress.tasks.multi_task import SeveralTasks
from eicompress.tasks.question_answering import QuestionAnswering
from eicompress.tasks.token_classification import TokenClassification
from eicompress.testing import MUSIC, WEATHER, Claim, strategy_checks, tiny_artifact, tiny_candidate, tiny_context
from eicompress.training.task_teachers import TaskTeachers, tasks_by_text
from eicompress.training.teacher import answers_of, encoder_teacher
from eicompress.trials.inputs import read_start, whole_candidate

LARGEST_FILES = 15_000_000


@pytest.mark.parametrize("claim", strategy_checks(StartingPoint), ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def encoder(candidate: Candidate) -> Encoder:
    assert isinstance(candidate.model, Encoder)
    return candidate.model


def test_the_default_space_tries_it() -> None:
    registry = discover(only="eicompress-starts")
    assert registry.strategy("starting_point") is StartingPoint
    space = read_space("edge", registry)
    assert [slot.name for slot in space.slots if slot.unless == "starting_point"] == [
        "thin_student",
        "embedding_factorization",
    ]
    assert any(known["use starting_point"] for known in space.known)


def test_what_the_readme_offers_can_be_read() -> None:
    recipe = read_recipe(Path(__file__).parent / "recipe.toml", discover(only="eicompress-starts"))
    assert recipe.steps[0] == StartingPoint("minilm-1")


def test_all_read_one_table_and_together_are_small() -> None:
    tables = [encoder(weights.load(name, 3)).words.weight for name in weights.NAMES]
    assert all(torch.equal(tables[0], each) for each in tables)
    assert sum(path.stat().st_size for path in weights.FOLDER.iterdir()) < LARGEST_FILES


def test_the_more_layers_the_nearer_to_the_states_of_their_teacher() -> None:
    texts = ["how do i get to the station", "play some jazz", "The river was named after the town.", "is it cold"]
    source = convert.load(builtin_model("builtin:minilm"), outputs=1)
    source.encoder.pool_by_mean()
    teacher = whole_candidate(source.encoder, source.tokenizer)
    wanted = unit(answers_of(teacher, texts, "cpu")[1])
    cosines = [
        float((unit(answers_of(weights.load(name, 1), texts, "cpu")[1]) * wanted).sum(axis=1).mean())
        for name in weights.NAMES
    ]
    assert cosines == sorted(cosines)
    assert cosines[0] > 0.5 and cosines[1] > 0.7 and cosines[2] > 0.8


def unit(states: np.ndarray) -> np.ndarray:
    whole = states.astype(np.float32)
    return whole / np.linalg.norm(whole, axis=1, keepdims=True)


def test_alike_texts_are_nearer_than_others() -> None:
    texts = ["how do i get to the station", "what is the way to the train station", "play some jazz music"]
    for name in weights.NAMES:
        states = unit(answers_of(weights.load(name, 2), texts, "cpu")[1])
        near = states @ states.T
        assert near[0, 1] > max(near[0, 2], near[1, 2]) + 0.2


def test_its_classifier_knows_the_teachers_answers_before_any_training(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    made = StartingPoint("minilm-1").apply(tiny_candidate(), context)
    wanted = np.asarray(context.teacher.outputs(context.train.texts).logits, np.float32)
    logits = answers_of(made, context.train.texts, "cpu")[0]
    assert (logits.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.8
    (penalty,) = made.facts["starting_point"]["penalties"]
    assert penalty in PENALTIES


def context_of(folder: Path, task: Task, examples: Examples, head: Callable[[Encoder], None]) -> Context:
    """Of a task whose teacher is a tiny encoder with random weights."""
    baseline = tiny_candidate(outputs=task.answer.outputs)
    head(baseline.encoder)
    teacher = encoder_teacher(baseline, "tiny", "", Cache(folder / "teacher"), "cpu", aligned=True)
    return replace(tiny_context(folder, baseline), task=task, train=examples, teacher=teacher)


def test_its_classifier_knows_the_teachers_tags_of_words(tmp_path: Path) -> None:
    rows = [{"tokens": text.split(), "tags": ["B-x", *["O"] * (len(text.split()) - 1)]} for text in (*MUSIC, *WEATHER)]
    task, examples = TokenClassification.read({"train": rows}, {"text": "tokens", "label": "tags"})
    context = context_of(tmp_path, task, examples["train"], answer_words)
    made = StartingPoint("minilm-1").apply(context.baseline, context)
    assert made.encoder.config.per_word
    wanted = np.asarray(context.teacher.outputs(context.train.texts).logits, np.float32)
    logits = answers_of(made, context.train.texts, "cpu")[0]
    read = wanted.any(axis=2)
    assert (logits.argmax(axis=2) == wanted.argmax(axis=2))[read].mean() > 0.8


def test_words_that_are_beyond_its_positions_are_left_out(tmp_path: Path) -> None:
    texts = [*MUSIC, *WEATHER, "rain in " * 12]
    rows = [{"tokens": text.split(), "tags": ["B-x", *["O"] * (len(text.split()) - 1)]} for text in texts]
    task, examples = TokenClassification.read({"train": rows}, {"text": "tokens", "label": "tags"})
    context = context_of(tmp_path, task, examples["train"], answer_words)
    made = StartingPoint("minilm-1", length_coverage=0.9).apply(context.baseline, context)
    assert made.encoder.config.positions < 24 and made.facts["starting_point"]["penalties"]


def test_its_classifier_finds_where_the_teachers_answers_begin(tmp_path: Path) -> None:
    rows = [
        {"question": "what rains", "context": text, "answers": {"text": [text.split()[0]], "answer_start": [0]}}
        for text in (*MUSIC, *WEATHER)
    ]
    columns = {"text": "question", "text_pair": "context", "label": "answers"}
    task, examples = QuestionAnswering.read({"train": rows}, columns)
    context = context_of(tmp_path, task, examples["train"], answer_words)
    made = StartingPoint("minilm-1").apply(context.baseline, context)
    wanted = np.asarray(context.teacher.outputs(context.train.texts).logits, np.float32)
    logits = answers_of(made, context.train.texts, "cpu")[0].astype(np.float32)
    read = wanted.any(axis=2)
    assert np.abs(logits - wanted)[read].mean() < wanted[read].std()


def test_its_vectors_are_near_the_teachers_and_of_length_one(tmp_path: Path) -> None:
    texts = (*MUSIC, *WEATHER)
    task, examples = Embedding.read({"train": [{"text": each} for each in texts]}, {"text": "text"})
    task = task.sized(24)
    context = context_of(tmp_path, task, examples["train"], answer_with_states)
    made = StartingPoint("minilm-1").apply(context.baseline, context)
    wanted = np.asarray(context.teacher.outputs(texts).logits, np.float32)
    vectors = answers_of(made, texts, "cpu")[0].astype(np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-2)
    assert (vectors * wanted).sum(axis=1).mean() > 0.9
    artifact = artifacts.write(made, task.answer, tmp_path / "artifact", pairs=False, manifest={})
    assert np.linalg.norm(runtime.load(artifact.folder).logits(texts), axis=1) == pytest.approx(1.0, abs=1e-2)


def test_each_of_several_tasks_has_a_classifier_of_its_own_texts(tmp_path: Path) -> None:
    rows = [
        {"task": name, "text": text, "label": f"{name} {at % 2}"}
        for name, texts in (("one", MUSIC), ("other", WEATHER))
        for at, text in enumerate(texts)
    ]
    task, examples = SeveralTasks.read({"train": rows}, {})
    context = context_of(tmp_path, task, examples["train"], lambda _: None)
    teachers = TaskTeachers(task.answer, (context.teacher,), tasks_by_text(task.answer, [context.train]))
    context = replace(context, teacher=teachers)
    made = StartingPoint("minilm-1").apply(context.baseline, context)
    assert len(made.facts["starting_point"]["penalties"]) == 2
    wanted = np.asarray(teachers.outputs(context.train.texts).logits, np.float32)
    logits = answers_of(made, context.train.texts, "cpu")[0].astype(np.float32)
    asked = wanted != 0
    assert np.abs(logits - wanted)[asked].mean() < wanted[asked].std()


def test_its_vocabulary_can_be_pruned(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    made = StartingPoint("minilm-0").apply(tiny_candidate(), context)
    whole = tiny_artifact(tmp_path / "whole", made).size_bytes
    pruned = VocabularyPruning(num_tokens=300).apply(made, context)
    assert tiny_artifact(tmp_path / "small", pruned).size_bytes < whole / 10


def test_it_stands_before_all_other_steps(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    cut = tiny_candidate()
    encoder(cut).keep_positions(8)
    with pytest.raises(Inapplicable, match="put it before all other steps"):
        StartingPoint().apply(cut, context)


def test_a_study_begins_with_one_by_its_name() -> None:
    baseline = tiny_candidate()
    with pytest.raises(ModelError, match="cut out of a larger one"):
        read_start("builtin:minilm-3", baseline)
    with pytest.raises(ModelError, match="did you mean `builtin:minilm-3`"):
        read_start("builtin:minilm-33", baseline)
    source = convert.load(builtin_model("builtin:minilm"), outputs=3)
    made, digest = read_start("builtin:minilm-3", whole_candidate(source.encoder, source.tokenizer))
    assert digest != read_start("builtin:minilm-1", whole_candidate(source.encoder, source.tokenizer))[1]
    assert torch.equal(encoder(made).classifier.weight, source.encoder.classifier.weight)
    assert len(encoder(made).layers) == 3


def test_other_weights_than_those_shipped_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in weights.FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / weights.WEIGHTS).write_bytes(b"other")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    weights._stored.cache_clear()
    with pytest.raises(ModelError, match="must have the SHA-256"):
        weights.load("minilm-0", 2)
    weights._stored.cache_clear()


def test_texts_are_read_from_rows_of_many_kinds(tmp_path: Path) -> None:
    rows = [
        {"text": "One. Two. Three."},
        {"tokens": ["play", "jazz"], "label": "music"},
        {"text": "a", "text_pair": "b"},
        {"question": "Who?", "context": "He did."},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read_texts([tmp_path / "rows.jsonl"], 0)
    assert found == read_texts([tmp_path / "rows.jsonl"], 0)
    assert " ".join(each for each in found[:-5] if isinstance(each, str)) == "One. Two. Three."
    assert found[-5:] == ["play jazz", ("a", "b"), "Who?", ("Who?", "He did."), "He did."]


def test_a_short_training_makes_starting_points(tmp_path: Path) -> None:
    rows = [{"text": f"The {each} is on the table. It is a good {each}."} for each in ("cup", "book", "lamp", "key")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = ["--text", str(tmp_path / "rows.jsonl"), "--validation", str(tmp_path / "rows.jsonl")]
    command = [sys.executable, "-m", "eicompress_starts.make", *files, "--epochs", "8", "--output", str(tmp_path / "o")]
    subprocess.run(command, check=True, capture_output=True)
    described = json.loads((tmp_path / "o" / weights.DESCRIPTION).read_text())
    assert set(described["starts"]) == set(weights.NAMES)
    assert (tmp_path / "o" / weights.WEIGHTS).stat().st_size < LARGEST_FILES


def test_its_classifier_knows_the_teachers_answers_to_words_and_to_texts(tmp_path: Path) -> None:
    rows = [
        row
        for text in (*MUSIC, *WEATHER)
        for row in (
            {"task": "topic", "text": text, "label": "music" if text in MUSIC else "weather"},
            {"task": "words", "tokens": text.split(), "tags": ["B-x", *["O"] * (len(text.split()) - 1)]},
        )
    ]
    task, examples = SeveralTasks.read({"train": rows}, {})
    context = context_of(tmp_path, task, examples["train"], lambda encoder: answer_words(encoder, 3))
    made = StartingPoint("minilm-1").apply(context.baseline, context)
    wanted = np.asarray(context.teacher.outputs(context.train.texts).logits, np.float32)
    logits = answers_of(made, context.train.texts, "cpu")[0]
    assert len(made.facts["starting_point"]["penalties"]) == 2
    for place in task.answer.places:
        own, asked = place.of(logits), place.of(wanted)
        assert (own.argmax(axis=-1) == asked.argmax(axis=-1))[asked.any(axis=-1)].mean() > 0.7
