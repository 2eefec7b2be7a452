from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_encoder, tiny_examples, tiny_task, tiny_tokenizer

from eicompress import runtime
from eicompress.answers import NumberPrediction, Vector
from eicompress.contracts import Examples, Task
from eicompress.export.folder import bytes_by_group, write_files
from eicompress.tasks.classification import PairClassification
from eicompress.tasks.embedding import Embedding
from eicompress.tasks.regression import Regression
from eicompress.trials.static_embeddings import StaticClassifier, fit_static
from eicompress.values import Artifact, Text

TABLE = tiny_encoder().words.weight.detach().numpy()
PAIRS: tuple[Text, ...] = ("play it", "rain"), ("play it", "sun")


def fitted(train: Examples, size_mb: float | None = None, task: Task | None = None) -> StaticClassifier | None:
    return fit_static(task or tiny_task(), train, tiny_tokenizer(), TABLE, 0, size_mb)


def written(found: StaticClassifier | None, folder: Path) -> Artifact:
    assert found is not None
    return write_files(found.files, folder / "made", {})


def test_the_artifact_tells_simple_topics_apart(tmp_path: Path) -> None:
    train, measured, found = tiny_examples(), tiny_examples(1), fitted(tiny_examples())
    model = runtime.load(written(found, tmp_path).folder)
    assert model.checked and found is not None
    assert tiny_task().score(model.logits(measured.texts), measured.targets) > 0.9
    assert found.note == (
        f"the mean of the teacher's embeddings of {found.tokens} tokens in {TABLE.shape[1]} dimensions of 8 bits, "
        f"learned from {len(train)} texts"
    )


def test_the_artifact_answers_as_the_mean_of_its_own_table(tmp_path: Path) -> None:
    model = runtime.load(written(fitted(tiny_examples()), tmp_path).folder)
    one, other = model.logits(["rain", "sun"])
    assert model.logits(["rain sun", "sun rain"]) == pytest.approx(np.stack([(one + other) / 2] * 2), abs=1e-5)
    # Without a token the mean is zero.
    assert np.isfinite(model.logits([""])).all()


def test_of_a_pair_both_texts_are_read_apart(tmp_path: Path) -> None:
    task = PairClassification(tiny_task().label_names)
    model = runtime.load(written(fitted(Examples(PAIRS * 8, np.array([0, 1] * 8)), task=task), tmp_path).folder)
    assert model.pairs
    assert model.logits([*PAIRS, ("", "sun")]).argmax(axis=1).tolist() == [0, 1, 1]
    first, swapped = model.logits([PAIRS[0], PAIRS[0][::-1]])  # type: ignore[list-item]
    assert np.abs(first - swapped).max() > 1e-3


def test_vectors_are_learned_by_least_squares_and_have_length_one(tmp_path: Path) -> None:
    examples = Embedding.read({"train": [{"text": text} for text in tiny_examples().texts]}, {"text": "text"})[1][
        "train"
    ]
    task, tokenizer = Embedding(Vector(3)), tiny_tokenizer()
    # What the mean of words can say: how often three of them stand in a text.
    wanted = np.array([[1 + text.split().count(word) for word in ("rain", "song", "the")] for text in examples.texts])
    wanted = (wanted / np.linalg.norm(wanted, axis=1, keepdims=True)).astype(np.float32)
    model = runtime.load(written(fit_static(task, examples, tokenizer, TABLE, 0, None, wanted), tmp_path).folder)
    got = model.logits(examples.texts)
    assert model.answer == Vector(3) and np.linalg.norm(got, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (got * wanted).sum(axis=1).min() > 0.98


def test_a_number_is_answered_in_the_users_units(tmp_path: Path) -> None:
    rows = [{"text": text, "label": 100.0 + 7.5 * text.count("rain")} for text in tiny_examples().texts]
    task, examples = Regression.read({"train": rows}, {})
    model = runtime.load(written(fitted(examples["train"], task=task), tmp_path).folder)
    rain, dry = model.predict(["will it rain", "play the song"])
    assert isinstance(rain, NumberPrediction) and isinstance(dry, NumberPrediction)
    assert 103 < rain.number < 112 and 97 < dry.number < 103


def test_a_smaller_budget_has_room_for_fewer_dimensions_and_none_is_no_artifact(tmp_path: Path) -> None:
    whole = fitted(tiny_examples())
    assert whole is not None and whole.size == TABLE.shape[1]
    size = written(whole, tmp_path).size_mb
    less = fitted(tiny_examples(), size - 0.0005)
    assert less is not None and 0 < less.size < whole.size
    assert written(less, tmp_path / "less").size_mb <= size - 0.0005
    assert fitted(tiny_examples(), 0.0005) is None


def test_the_same_seed_makes_the_same_bytes() -> None:
    first, second = fitted(tiny_examples()), fitted(tiny_examples())
    assert first is not None and second is not None and first.files == second.files


def test_bytes_are_counted_one_a_weight(tmp_path: Path) -> None:
    found = fitted(tiny_examples())
    made = written(found, tmp_path)
    groups = bytes_by_group(made)
    assert found is not None and sum(groups.values()) == made.size_bytes
    assert groups["embedding"] == pytest.approx(found.tokens * found.size + 2 * found.size, abs=32)
