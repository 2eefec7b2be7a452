import numpy as np
import pytest

from eicompress.answers import IntentAndSlots, Labels, Tags, from_json, of_config
from eicompress.answers.entities import CONTINUED, NONE

BOTH = IntentAndSlots(("O", "B-place", "I-place"), ("travel", "weather"))
TEXTS = ("rain in New York", "go there")
TAGS = np.array([[0, 0, 1, 2], [0, CONTINUED - 1, NONE, NONE]])
INTENTS = np.array([1, 0])


def logits_of(tags: list[list[int]], intents: list[list[int]]) -> np.ndarray:
    """Of words, the intent of each; words that are not there are zeros."""
    found = np.zeros((len(tags), max(map(len, tags)), BOTH.outputs), np.float32)
    for row, (numbers, said) in enumerate(zip(tags, intents, strict=True)):
        places = np.arange(len(numbers))
        found[row, places, numbers] = 5.0
        found[row, places, [len(BOTH.tags) + each for each in said]] += 3.0
    return found


RIGHT = logits_of([[0, 0, 1, 2], [0, 0]], [[1, 1, 0, 1], [0, 0]])


def test_targets_hold_the_tags_and_the_intent() -> None:
    targets = BOTH.targets(TAGS, INTENTS)
    assert BOTH.tags_of(targets).tolist() == TAGS.tolist()
    assert BOTH.intents_of(targets).tolist() == INTENTS.tolist()
    assert BOTH.holds(targets) and not BOTH.holds(INTENTS)


def test_the_intent_is_that_of_the_mean_of_the_words_that_were_read() -> None:
    assert BOTH.intent_logits(RIGHT) == pytest.approx(np.array([[0.75, 2.25], [3.0, 0.0]]))
    rain, away = BOTH.decode(RIGHT, TEXTS)
    assert (rain.label, away.label) == ("weather", "travel") and rain.confidence < away.confidence
    assert [(each.label, each.text) for each in rain.entities] == [("place", "New York")] and away.entities == ()
    assert rain.columns == ("weather", f"{rain.confidence:.3f}", "place 8-16 New York") and away.columns[2] == "-"
    assert rain.to_json()["entities"][0]["start"] == 8


def test_a_text_is_right_where_its_intent_and_all_its_slots_are() -> None:
    targets = BOTH.targets(TAGS, INTENTS)
    intent, slot = RIGHT.copy(), RIGHT.copy()
    intent[0, :, 3:] = intent[0, :, :2:-1]
    slot[0, 3] = slot[0, 1]
    assert BOTH.right(targets, RIGHT).tolist() == [True, True]
    assert BOTH.right(targets, intent).tolist() == BOTH.right(targets, slot).tolist() == [False, True]
    assert BOTH.difference(targets, slot, RIGHT)[0] == -0.5
    found = BOTH.mistakes(TEXTS, targets, RIGHT, slot)
    assert "reads 50.0% wholly right, intent and slots, the baseline 100.0%" in found.summary and found.shares
    assert {each.title for each in found.tables} >= {"Entities that it lost", "Kinds of mistakes"}
    assert BOTH.agrees(RIGHT, RIGHT).all() and not BOTH.agrees(RIGHT, intent).all()


def test_a_config_says_which_outputs_are_intents() -> None:
    config = {"architectures": ["BertForTokenClassification"], **BOTH.config()}
    assert of_config(config) == BOTH == from_json(BOTH.to_json())
    for broken in (0, 5, True, "2"):
        assert of_config({**config, "intents": broken}) == Tags(BOTH.names)


def test_outputs_are_found_by_their_names() -> None:
    other = IntentAndSlots(("O", "I-place", "B-place", "B-day"), ("weather", "music", "travel"))
    assert BOTH.outputs_of(other) == (0, 2, 1, 6, 4)
    assert BOTH.outputs_of(Tags(BOTH.tags)) is None and "`eicompress teach`" in BOTH.mismatch("the model", None)
    assert other.outputs_of(BOTH) is None and "`B-day`" in other.mismatch("the model", BOTH)
    fewer = IntentAndSlots(BOTH.tags, ("travel", "music"))
    assert fewer.outputs_of(BOTH) is None and "`music`" in fewer.mismatch("the model", BOTH)
    assert isinstance(BOTH.of_text, Labels)


def test_the_simplest_baseline_answers_the_majority_and_the_most_frequent_tag_of_a_word() -> None:
    known = ("New York", "go to York", "go")
    tags = np.array([[1, 2, NONE], [0, 0, 1], [0, NONE, NONE]])
    logits = BOTH.simplest_logits(known, BOTH.targets(tags, np.array([1, 0, 0])), ["to New Jersey"])
    (found,) = BOTH.decode(logits, ["to New Jersey"])
    assert found.label == "travel" and [each.text for each in found.entities] == ["New"]
