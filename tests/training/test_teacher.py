from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from eicompress.cache import Cache
from eicompress.contracts import Examples
from eicompress.training.teacher import HELD_OUT, Ensemble, StoredTeacher, answers_of, encoder_teacher, held_out
from eicompress.values import Progress, Text
from tests.conftest import tiny_candidate, tiny_examples, tiny_task


def teacher(folder: Path, seen: list[Progress]) -> StoredTeacher:
    return encoder_teacher(tiny_candidate(), "tiny", "", Cache(folder), "cpu", aligned=True).watched(seen.append)


def test_outputs_are_the_models_own_in_the_order_asked(tmp_path: Path) -> None:
    texts = ["play the song", "will it rain today", "stop"]
    outputs = teacher(tmp_path, []).outputs(texts)
    logits, states = answers_of(tiny_candidate(), texts, "cpu")
    assert np.allclose(outputs.logits, logits, atol=1e-2) and np.allclose(outputs.states, states, atol=1e-2)


def test_a_text_is_read_once(tmp_path: Path) -> None:
    seen: list[Progress] = []
    asked = teacher(tmp_path, seen)
    asked.outputs(["play the song", "stop"])
    asked.outputs(["stop", "play the song"])
    assert len(seen) == 1


def test_another_process_finds_them_on_disk(tmp_path: Path) -> None:
    first = teacher(tmp_path, []).outputs(["play the song", "stop"])
    seen: list[Progress] = []
    again = teacher(tmp_path, seen).outputs(["stop", "play the song"])
    assert (again.logits[::-1] == first.logits).all() and not seen


def test_half_precision_is_what_lies_on_disk(tmp_path: Path) -> None:
    teacher(tmp_path, []).outputs(["play the song", "stop"])
    kept = {path.stem: np.load(path) for path in tmp_path.glob("teacher-*/*/*.npy")}
    assert {name: str(array.dtype) for name, array in kept.items()} == {
        "keys": "uint8",
        "of_texts": "float16",
        "of_words": "float16",
        "counts": "int32",
        "states": "float16",
    }


def test_progress_counts_the_texts_that_are_new(tmp_path: Path) -> None:
    seen: list[Progress] = []
    asked = teacher(tmp_path, seen)
    asked.outputs(["play the song"])
    asked.outputs([f"play {word}" for word in "abcdefghij" * 10] + ["play the song"])
    assert seen[0] == Progress("teacher", 1, 1) and seen[-1] == Progress("teacher", 10, 10)


SAYS = {
    # Sure and right, unsure, and sure of the second text alone.
    "knows": [[4.0, 0.0], [0.0, 4.0], [3.0, 0.0]],
    "guesses": [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]],
    "claims": [[0.0, 0.0], [8.0, 0.0], [0.0, 1.0]],
}
ASKED = ["stop it", "will it rain", "play"]


def ensemble(folder: Path, how: str, names: Sequence[str] = tuple(SAYS)) -> Ensemble:
    def stored(name: str) -> StoredTeacher:
        def answer(texts: Sequence[Text], _: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
            logits = np.array([SAYS[name][ASKED.index(str(text))] for text in texts], np.float16)
            return logits, np.repeat(logits[:, :1], len(name), axis=1)

        return StoredTeacher(answer, name, "", False, Cache(folder), lambda _: None)

    return Ensemble(tuple(map(stored, names)), how, tiny_task(), Examples(tuple(ASKED), np.array([0, 1, 0])))


def test_an_ensembles_mean_is_the_geometric_mean_of_what_is_predicted(tmp_path: Path) -> None:
    outputs = ensemble(tmp_path, "mean").outputs(ASKED)
    odds = np.array([np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in map(np.array, SAYS.values())])
    product = odds.prod(axis=0) ** (1 / 3)
    mine = np.exp(outputs.logits.astype(float))
    assert np.allclose(mine / mine.sum(axis=1, keepdims=True), product / product.sum(axis=1, keepdims=True), atol=1e-3)


def test_an_ensembles_best_is_the_surest_of_each_text(tmp_path: Path) -> None:
    outputs = ensemble(tmp_path, "best").outputs(ASKED)
    assert outputs.logits.tolist() == [SAYS["knows"][0], SAYS["claims"][1], SAYS["knows"][2]]


def test_an_ensembles_weights_are_the_odds_of_being_right(tmp_path: Path) -> None:
    """Of three texts "knows" is right on all, "guesses" on the second; (right + 1) / (texts + 2) each."""
    asked = ensemble(tmp_path, "weighted", ("knows", "guesses"))
    assert asked.weights == pytest.approx([1, 0])  # the log of 4:1, and of 2:3, which is worse than a coin
    outputs = asked.outputs(ASKED)
    assert outputs.logits.tolist() == SAYS["knows"]
    even = ensemble(tmp_path, "weighted", ("guesses", "guesses"))
    assert even.weights == pytest.approx([0.5, 0.5])


def test_an_ensembles_states_lie_side_by_side(tmp_path: Path) -> None:
    states = ensemble(tmp_path, "mean", ("knows", "claims")).outputs(ASKED).states
    assert states.tolist() == [[4.0] * 5 + [0.0] * 6, [0.0] * 5 + [8.0] * 6, [3.0] * 5 + [0.0] * 6]


def test_how_teachers_speak_as_one_is_part_of_their_name(tmp_path: Path) -> None:
    digests = {ensemble(tmp_path, how).digest for how in ("mean", "weighted", "best")}
    assert len(digests | {ensemble(tmp_path, "mean", ("knows",)).digest}) == 4


def test_weights_are_measured_on_so_many_examples_at_most() -> None:
    few, many = tiny_examples(2), tiny_examples(200)
    assert held_out(few, seed=0).texts == few.texts
    assert len(held_out(many, seed=0)) == HELD_OUT < len(many)
    assert held_out(many, seed=1).texts != held_out(many, seed=0).texts
