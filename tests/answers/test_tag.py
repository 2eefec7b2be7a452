import json
from pathlib import Path

import numpy as np
import pytest

from eicompress.answers import Labels, Tags, from_json, of_config
from eicompress.answers.entities import CONTINUED, NONE, f1
from eicompress.answers.tag import TagPrediction
from eicompress.answers.words import first_tokens, words_of

TAGS = Tags(("O", "B-person", "B-place", "I-person", "I-place"))
RECORDED = Path(__file__).parent / "seqeval.json"


def logits_of(tags: list[list[int]]) -> np.ndarray:
    found = np.zeros((len(tags), max(map(len, tags)), TAGS.outputs), np.float32)
    for row, numbers in enumerate(tags):
        found[row, np.arange(len(numbers)), numbers] = 5.0
    return found


def test_words_are_runs_of_characters_and_punctuation_stands_alone() -> None:
    text = "O'Brien, in  Köln_2 你好!"
    assert [text[start:end] for start, end in words_of(text)] == [
        *("O", "'", "Brien", ",", "in", "Köln", "_", "2", "你", "好", "!")
    ]
    assert words_of(" \t\n") == []


def test_the_first_token_of_a_word_answers_and_a_word_that_was_cut_has_none() -> None:
    words = words_of("playing chess now")
    special = (0, 0)
    assert first_tokens([special, (0, 4), (4, 7), (8, 13), special], words) == [1, 3, -1]
    # Tokens of some tokenizers begin with the space before them.
    assert first_tokens([(0, 7), (7, 13), (13, 14), (14, 17)], words) == [0, 1, 3]


@pytest.mark.parametrize("scheme", ["strict", "runs"])
def test_entities_are_counted_as_seqeval_counts_them(scheme: str) -> None:
    recorded = json.loads(RECORDED.read_text())[scheme]
    answer = Tags(tuple(recorded["tags"]))
    for case in recorded["cases"]:
        numbers = {tag: number for number, tag in enumerate(answer.tags)}
        width = max(map(len, case["true"]))
        targets = np.full((len(case["true"]), width), NONE)
        logits = np.zeros((len(case["true"]), width, answer.outputs), np.float32)
        for row, (true, answered) in enumerate(zip(case["true"], case["predicted"], strict=True)):
            targets[row, : len(true)] = [numbers[tag] for tag in true]
            logits[row, np.arange(len(true)), [numbers[tag] for tag in answered]] = 1.0
        assert f1(answer.counts(targets, logits).sum(axis=0)) == pytest.approx(case["f1"])


def test_words_that_only_continue_a_token_do_not_count() -> None:
    targets = np.array([[1, CONTINUED - 3, 3, 0, NONE]])
    right, wrong = logits_of([[1, 0, 3, 0]]), logits_of([[1, 3, 0, 0]])
    assert TAGS.counts(targets, right).tolist() == [[1, 1, 1]]
    assert TAGS.counts(targets, wrong).tolist() == [[0, 1, 1]]


def test_the_logit_of_o_is_lowered_as_far_as_the_best_f1_asks_for() -> None:
    targets = np.array([[1, 3, 0, 2], [0, 0, 0, NONE], [2, 0, 1, NONE]])
    logits = logits_of([[1, 3, 0, 2], [0, 0, 0], [2, 0, 1]])
    assert not TAGS.adjustment(logits, targets).any()
    logits[..., 0] = np.where(targets == NONE, 0.0, np.where(targets > 0, 6.0, 9.0))
    found = TAGS.adjustment(logits, targets)
    assert -4.0 <= found[0] < -1.0 and not found[1:].any()
    # The fourth words of two texts were not read, and are no entities whatever is taken off.
    read = logits.any(axis=-1, keepdims=True)
    assert f1(TAGS.counts(targets, logits).sum(axis=0)) == 0.0
    assert f1(TAGS.counts(targets, logits + found * read).sum(axis=0)) == 1.0
    # It is raised where entities are found that are not there.
    logits = logits_of([[1, 3, 0, 2], [1, 2, 0], [2, 2, 1]])
    logits[..., 0] = np.where(targets == 0, 4.0, 0.0)
    assert 1.0 <= TAGS.adjustment(logits, targets)[0] < 5.0


def test_entities_have_their_characters() -> None:
    (found,) = TAGS.decode(logits_of([[1, 3, 0, 2, 0]]), ["Ada Byron saw London ."])
    assert isinstance(found, TagPrediction)
    assert [(each.label, each.start, each.end, each.text) for each in found.entities] == [
        ("person", 0, 9, "Ada Byron"),
        ("place", 14, 20, "London"),
    ]
    assert found.columns == ("person 0-9 Ada Byron, place 14-20 London",)
    assert json.loads(json.dumps(found.to_json()))["entities"][1]["confidence"] == pytest.approx(0.974, abs=1e-3)
    (nothing,) = TAGS.decode(np.zeros((1, 0, TAGS.outputs), np.float32), [""])
    assert nothing.columns == ("-",)


def test_a_run_without_its_beginning_is_no_entity_unless_no_tag_begins_one() -> None:
    assert len(TAGS.spans(np.array([[3, 3, 0]])).rows) == 0
    inside = Tags(("O", "I-person", "I-place"))
    assert list(zip(*(each.tolist() for each in inside.spans(np.array([[1, 1, 2, 0, 2]]))), strict=True)) == [
        (0, 0, 2, 0),
        (0, 2, 3, 1),
        (0, 4, 5, 1),
    ]


def test_the_most_frequent_tag_of_a_word_is_the_simplest_answer() -> None:
    known, targets = ["Paris is Paris", "Is Paris"], np.array([[2, 0, 2], [0, 1, NONE]])
    logits = TAGS.simplest_logits(known, targets, ["so is paris", "IS"])
    assert logits.argmax(axis=-1).tolist() == [[0, 0, 2], [0, 0, 0]]


def test_tags_are_read_back_and_a_config_says_what_they_are() -> None:
    assert from_json(TAGS.to_json()) == TAGS
    named = {"architectures": ["BertForTokenClassification"], **TAGS.config()}
    assert of_config(named) == TAGS and named["pipeline_tag"] == "token-classification"
    assert TAGS.outputs_of(Tags(("B-person", "O", "I-person", "I-place", "B-place"))) == (1, 0, 4, 2, 3)
    assert TAGS.outputs_of(Tags(("O", "B-person"))) is None


def test_words_agree_where_their_tags_do() -> None:
    expected = logits_of([[1, 3, 0], [0]])
    other = logits_of([[1, 3, 2], [0]])
    assert TAGS.agrees(expected, expected).tolist() == [True] * 4
    assert sorted(TAGS.agrees(expected, other).tolist()) == [False, True, True, True]


def test_mistakes_are_entities_that_are_lost_and_kinds_of_mistakes() -> None:
    texts = ("Ada Byron saw London .", "Bonn is Bonn")
    targets = np.array([[1, 3, 0, 2, 0], [2, 0, 2, NONE, NONE]])
    baseline = logits_of([[1, 3, 0, 2, 0], [2, 0, 2]])
    artifact = logits_of([[1, 0, 0, 1, 0], [2, 1, 0]])
    found = TAGS.mistakes(texts, targets, baseline, artifact)
    lost, kinds, types = found.tables
    assert ("Bonn is Bonn", "Bonn", "place", "nothing") in lost.rows
    assert (texts[0], "Ada Byron", "person", "person: Ada") in lost.rows
    assert [row[1] for row in kinds.rows] == ["1", "1", "0", "1", "1"]
    assert [row[2] for row in kinds.rows] == ["0"] * 5
    assert {row[0]: row[1] for row in types.rows} == {"person": "1", "place": "3"}
    assert "4 entities" in found.summary and "finds 1 of them, and answers 3 others" in found.summary
    mean, half = TAGS.difference(targets, artifact, baseline)
    assert mean == pytest.approx(2 * 1 / 8 - 1) and 0 < half == found.interval


@pytest.mark.parametrize("classes", [True, "BertForTokenClassification", None, {"a": 1}])
def test_classes_that_are_no_list_name_no_tags(classes: object) -> None:
    assert of_config({"id2label": {"0": "a", "1": "b"}, "architectures": classes}) == Labels(("a", "b"))
