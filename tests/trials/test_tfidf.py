import json
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_examples, tiny_task
from sklearn.feature_extraction.text import TfidfVectorizer

from eicompress import runtime
from eicompress.answers import NumberPrediction
from eicompress.contracts import Examples, Task
from eicompress.export.folder import bytes_by_group, write_files
from eicompress.tasks.classification import PairClassification
from eicompress.tasks.regression import Regression
from eicompress.trials.rounding import quantized
from eicompress.trials.tfidf import (
    BITS,
    LONGEST,
    TfIdf,
    _first_as_good_as_the_best,
    _Table,
    fit_tfidf,
    word_tokenizer,
)
from eicompress.values import Artifact, Text

RAIN: tuple[Text, ...] = ("play it", "rain"), ("play it", "sun")
PAIRS = Examples(RAIN * 8, np.array([0, 1] * 8))


def fitted(train: Examples, size_mb: float | None = None, task: Task | None = None) -> TfIdf:
    found = fit_tfidf(task or tiny_task(), train, 0, size_mb)
    assert found is not None
    return found


def written(found: TfIdf, folder: Path) -> Artifact:
    return write_files(found.files, folder, {})


def test_vectors_are_those_of_scikit_learn() -> None:
    texts = ("Rain, rain and SUN!", "rain and wind", "", "sun  and rain, wind", "été")
    theirs = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, token_pattern=r"\w+")
    expected = theirs.fit_transform(texts).toarray()
    table = _Table.of(texts, 100, pairs=False)
    ours = table.vectors(np.arange(len(table.features))).toarray()
    # The order of the columns differs, and inverse frequencies are stored in half precision.
    assert np.sort(ours, axis=1) == pytest.approx(np.sort(expected, axis=1), abs=1e-3)


def test_the_artifact_answers_as_what_was_trained(tmp_path: Path) -> None:
    train = tiny_examples()
    found = fitted(train)
    model = runtime.load(written(found, tmp_path / "made").folder)
    assert model.checked
    assert tiny_task().score(model.logits(train.texts), train.targets) == 1.0
    assert model.predict(["PLAY the music!"])[0].label == "music"
    assert found.words and found.pairs and str(found.words) in found.note


def test_a_number_is_answered_in_the_users_units(tmp_path: Path) -> None:
    rows = [{"text": text, "label": 100.0 + 7.5 * text.count("rain")} for text in tiny_examples().texts]
    task, examples = Regression.read({"train": rows}, {})
    found = fitted(examples["train"], task=task)
    model = runtime.load(written(found, tmp_path / "made").folder)
    rain, dry = model.predict(["will it rain", "play the song"])
    assert isinstance(rain, NumberPrediction) and isinstance(dry, NumberPrediction)
    assert rain.number == pytest.approx(107.5, abs=1.5) and dry.number == pytest.approx(100.0, abs=1.5)


def test_a_texts_pair_is_read_as_two_texts(tmp_path: Path) -> None:
    task = PairClassification(tiny_task().label_names)
    model = runtime.load(written(fitted(PAIRS, task=task), tmp_path / "made").folder)
    assert model.pairs
    logits = model.logits([("play it", "rain"), ("", "sun"), ("rain", "")])
    assert logits[:2].argmax(axis=1).tolist() == [0, 1]
    # The word was never seen in a first text.
    assert logits[2] == pytest.approx(model.logits([("", "")])[0])


@pytest.mark.parametrize("size_mb", [0.0012, 0.0022, 0.0025, 0.01])
def test_the_artifact_keeps_its_budget(size_mb: float, tmp_path: Path) -> None:
    found = fit_tfidf(tiny_task(), tiny_examples(), 0, size_mb)
    assert found is None or written(found, tmp_path / "made").size_mb <= size_mb


def test_a_larger_budget_holds_more_features_and_the_most_useful_ones_come_first() -> None:
    whole = fitted(tiny_examples())
    least = fitted(tiny_examples(), sum(map(len, whole.files.values())) / 1e6 - 0.0003)
    assert 0 < least.words + least.pairs < whole.words + whole.pairs
    texts: tuple[Text, ...] = ("so good", "so bad", "good so", "bad so") * 8
    train = Examples(texts, np.array([0, 1] * 16))
    first = next(found for mb in np.arange(0.0018, 0.003, 1e-5) if (found := fit_tfidf(tiny_task(), train, 0, mb)))
    vocabulary = json.loads(first.files["tokenizer.json"])["model"]["vocab"]
    assert {"good", "bad"} & set(vocabulary) and "so" not in vocabulary


def test_what_has_no_room_or_no_words_is_none() -> None:
    assert fit_tfidf(tiny_task(), tiny_examples(), 0, 0.0001) is None
    assert fit_tfidf(tiny_task(), Examples(("", "?"), np.array([0, 1])), 0, None) is None


def test_the_same_seed_makes_the_same_bytes() -> None:
    assert fitted(tiny_examples()).files == fitted(tiny_examples()).files


def test_bytes_have_their_groups(tmp_path: Path) -> None:
    made = written(fitted(tiny_examples()), tmp_path / "made")
    groups = bytes_by_group(made)
    assert groups["embedding"] and groups["head"] == 8 and sum(groups.values()) == made.size_bytes


@pytest.mark.parametrize(("more", "place"), [(0.905, 0), (0.95, 1), (0.5, 0), (0.9, 0)])
def test_more_bits_are_taken_where_they_are_better_by_more_than_chance(more: float, place: int) -> None:
    assert _first_as_good_as_the_best([0.9, more], 1000) == place


@pytest.mark.parametrize("bits", BITS)
def test_weights_are_rounded_to_the_nearest_level(bits: int) -> None:
    weights = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)
    weights[3] = 0
    integers, scales = quantized(weights, bits)  # type: ignore[arg-type]
    assert -(2 ** (bits - 1)) <= integers.min() and integers.max() < 2 ** (bits - 1)
    error = np.abs(integers * scales[:, None].astype(np.float32) - weights)
    assert error.mean() < (0.1 if bits == 4 else 0.01) and not error[3].any()


def test_words_are_letters_digits_and_marks_in_lower_case() -> None:
    tokenizer = word_tokenizer(("naïve", "été", "2", "हिन्दी"), pairs=True)
    assert tokenizer.encode("Naïve—ÉTÉ, x 2! हिन्दी").ids == [2, 3, 1, 4, 5]
    assert len(tokenizer.encode("rain " * 1000).ids) == LONGEST
    (pair,) = tokenizer.encode_batch_fast([("2", "2")])
    assert (pair.ids, pair.type_ids) == ([4, 4], [0, 1])
