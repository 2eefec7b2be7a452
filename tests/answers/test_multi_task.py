import numpy as np
import pytest

from eicompress.answers import (
    AnswerSpan,
    IntentAndSlots,
    Labels,
    LabelSet,
    MultiTask,
    Number,
    Part,
    from_json,
    of_config,
)
from eicompress.answers.label_set import MACRO_F1
from eicompress.errors import ModelError

TOPIC = Part("topic", Labels(("music", "news", "weather")), pairs=False)
MATCH = Part("match", Labels(("no", "yes")), pairs=True)
ANSWER = MultiTask((MATCH, TOPIC))
TASKS, TAUGHT = np.array([0, 0, 1, 1, 1, 1]), np.where(np.arange(6) < 2, 1.0, 0.5)
TARGETS = np.stack([TASKS, TAUGHT, [0, 1, 0, 1, 2, 2]], axis=1)
"""Two texts of the first task, four of the second, whose teacher reads half of them right."""
LOGITS = np.array(
    [
        [2.0, 1.0, 9.0, 9.0, 9.0],  # right: `no`
        [2.0, 1.0, 9.0, 9.0, 9.0],  # wrong: `no` for `yes`
        [9.0, 9.0, 3.0, 1.0, 0.0],  # right: `music`
        [9.0, 9.0, 3.0, 1.0, 0.0],  # wrong: `music` for `news`
        [9.0, 9.0, 0.0, 0.0, 5.0],  # right: `weather`
        [9.0, 9.0, 0.0, 0.0, 5.0],  # right: `weather`
    ]
)
TAGS = Part("tags", LabelSet(("loud", "new")), pairs=False)
URGENCY = Part("urgency", Number(10.0, 4.0), pairs=False)
KINDS = MultiTask((TAGS, TOPIC, URGENCY))
GENERATOR = np.random.default_rng(0)
OF_KINDS = np.zeros((90, 4))
OF_KINDS[:, 0], OF_KINDS[:, 1] = np.repeat([0, 1, 2], 30), np.repeat([0.5, 1.0, 0.8], 30)
OF_KINDS[:30, 2:] = GENERATOR.integers(2, size=(30, 2))
OF_KINDS[30:60, 2], OF_KINDS[60:, 2] = GENERATOR.integers(3, size=30), GENERATOR.normal(size=30)
OURS, THEIRS = GENERATOR.normal(size=(2, 90, 6)).astype(np.float32)


def test_a_text_is_judged_by_the_labels_of_its_own_task() -> None:
    assert ANSWER.tasks_of(TARGETS).tolist() == TASKS.tolist()
    of_match, of_topic = ANSWER.divided(TARGETS)
    assert of_match.rows.tolist() == [0, 1] and of_topic.targets.tolist() == [0, 1, 2, 2]
    assert (of_match.taught, of_topic.taught) == (1.0, 0.5)
    assert ANSWER.names == ("match/no", "match/yes", "topic/music", "topic/news", "topic/weather")
    assert ANSWER.score(TARGETS, LOGITS) == pytest.approx(((1 / 2) / 1 + (3 / 4) / (1 / 2)) / 2)
    assert ANSWER.score(TARGETS[2:], LOGITS[2:]) == pytest.approx(1.5), "the mean over the tasks that have texts"
    assert KINDS.holds(OF_KINDS) and not KINDS.holds(OF_KINDS[:, :3]) and not KINDS.holds(OF_KINDS[:, 0])


def test_scores_and_intervals_are_made_of_those_of_each_kind() -> None:
    scores, halves = [], []
    for part, own, rows, taught in (
        (TAGS, slice(0, 2), slice(0, 30), 0.5),
        (TOPIC, slice(2, 5), slice(30, 60), 1.0),
        (URGENCY, slice(5, 6), slice(60, 90), 0.8),
    ):
        targets = OF_KINDS[rows, 2:4] if part is TAGS else OF_KINDS[rows, 2]
        targets = targets.astype(np.float32 if part is URGENCY else np.int64)
        ours, theirs = OURS[rows, own], THEIRS[rows, own]
        scores.append([part.answer.score(targets, each) / taught for each in (ours, theirs)])
        halves.append(part.answer.difference(targets, ours, theirs)[1] / taught)
    assert KINDS.score(OF_KINDS, OURS) == pytest.approx(np.mean(scores, axis=0)[0])
    apart, half = KINDS.difference(OF_KINDS, OURS, THEIRS)
    assert apart == pytest.approx(np.mean(scores, axis=0)[0] - np.mean(scores, axis=0)[1])
    assert half == pytest.approx(np.sqrt(np.square(halves).sum()) / 3)
    np.testing.assert_allclose(KINDS.decided(OURS)[:, :2], TAGS.answer.decided(OURS[:, :2]))
    np.testing.assert_allclose(KINDS.standard(OURS)[:, 5], (OURS[:, 5] - 10) / 4, rtol=1e-5)
    np.testing.assert_array_equal(KINDS.standard(OURS)[:, :5], OURS[:, :5])


@pytest.mark.parametrize(("answer", "targets"), [(ANSWER, TARGETS), (KINDS, OF_KINDS)])
def test_the_answer_is_the_same_after_it_was_written_and_read(answer: MultiTask, targets: np.ndarray) -> None:
    tuned = answer.tuned(LOGITS if answer is ANSWER else OURS, targets, None)
    assert tuned != answer and answer.like(tuned) == tuned and answer.like(MATCH.answer) == answer
    assert from_json(tuned.to_json()) == tuned
    in_units = [Part("urgency", Number(), False) if each.name == "urgency" else each for each in tuned.parts]
    assert of_config(tuned.config()) == MultiTask(tuple(in_units))


WORDS = MultiTask((TOPIC, Part("slots", IntentAndSlots(("O", "B-sky"), ("ask", "say")), False)))
"""Logits of the topics, then of two tags and two intents."""
OF_WORDS = np.zeros((2, 3, 7))
OF_WORDS[:, 0, :3] = [[0, 4, 1], [3, 1, 0]]
OF_WORDS[:, 1, 3:] = [[5, 1, 2, 1], [2, 1, 0, 9]]
OF_WORDS[1, 2, 3:] = [1, 8, 1, 2]
"""Two texts, of one word and of two."""


def test_a_task_of_words_has_rows_of_its_own_behind_that_of_the_text() -> None:
    topic, slots = WORDS.places
    assert (WORDS.outputs, WORDS.word_outputs, WORDS.reads) == (7, 4, "both") and ANSWER.reads == "texts"
    np.testing.assert_array_equal(topic.of(OF_WORDS), OF_WORDS[:, 0, :3])
    np.testing.assert_array_equal(slots.of(OF_WORDS), OF_WORDS[:, 1:, 3:])
    np.testing.assert_array_equal(WORDS.standard(OF_WORDS), OF_WORDS)
    assert {name: each.shape(1, 9) for name, each in WORDS.graph_outputs.items()} == {
        "topic_logits": (1, 3),
        "slots_logits": (1, 9, 4),
    }
    alone = MultiTask((WORDS.parts[1],))
    assert alone.reads == "words" and alone.places[0].of(OF_WORDS[:, 1:, 3:]).shape == (2, 2, 4)


def test_words_are_answered_and_scored_as_by_a_model_of_them_alone() -> None:
    part, logits = WORDS.parts[1].answer, OF_WORDS[:, 1:, 3:]
    assert isinstance(part, IntentAndSlots)
    texts, tags = ("why", "the sky"), np.array([[0, -1], [0, 1]])
    (_, second) = WORDS.decode(OF_WORDS, texts)
    assert second.answers == {
        "topic": TOPIC.answer.decode(OF_WORDS[:, 0, :3], texts)[1],
        "slots": part.decode(logits, texts)[1],
    }
    assert second.columns[1].startswith("slots=say 0.9") and second.columns[1].endswith("sky 4-7 sky")
    targets = np.full((3, 4), -1.0)
    targets[:, 0], targets[:, 1], targets[2, 2] = [1, 1, 0], [0.5, 0.5, 1.0], 0
    targets[:2, 2:] = part.targets(tags, np.array([0, 1]))
    read = OF_WORDS[[0, 1, 1]]
    assert WORDS.score(targets, read) == pytest.approx((1.0 / 0.5 + 1.0 / 1.0) / 2)
    of_topic, of_slots = WORDS.divided(targets)
    assert (
        of_topic.targets.tolist() == [0] and of_slots.targets.tolist() == part.targets(tags, np.array([0, 1])).tolist()
    )
    assert WORDS.agrees(read, read).all() and WORDS.holds(targets)
    found = WORDS.mistakes(("why", "the sky", "rain"), targets, read, read)
    assert [row[:3] for row in found.tables[0].rows] == [
        ("topic", "accuracy", "1"),
        ("slots", "sentence_accuracy", "2"),
    ]
    simplest = WORDS.simplest_logits(("why", "the sky", "rain"), targets, ("the sky", ("one", "other")))
    assert simplest[0, 2, 3:5].argmax() == 1 and not simplest[1].any()


def test_tasks_of_words_are_the_last_ones_of_a_config() -> None:
    assert of_config(WORDS.config()) == WORDS == from_json(WORDS.to_json())
    assert "Output `slots_logits`" in WORDS.described and "`slots_logits` (batch, tokens, 4)" in WORDS.described
    turned = MultiTask(WORDS.parts[::-1])
    assert of_config(turned.config()) is None
    part = {"name": "a", "answer": AnswerSpan().to_json(), "pairs": True}
    with pytest.raises(KeyError):
        from_json({"kind": "multi_task", "parts": [part]})


@pytest.mark.parametrize("counts", [[2, 2], [2, 4], ["2", 3], [0, 5], []])
def test_a_config_whose_tasks_have_other_labels_than_it_names_is_none_of_several_tasks(counts: list[object]) -> None:
    tasks = [{"name": name, "labels": count} for name, count in zip("ab", counts, strict=False)]
    assert of_config({**ANSWER.config(), "tasks": tasks}) is None


def test_each_text_gets_the_answers_of_the_tasks_that_read_it() -> None:
    single, pair = ANSWER.decode(LOGITS[[2, 0]], ["a text", ("one", "other")])
    (topic,) = TOPIC.answer.decode(LOGITS[[2], 2:], ["a text"])
    assert single.answers == {"topic": topic}
    assert single.columns == (f"topic=music {topic.confidence:.3f}",)
    assert pair.to_json()["tasks"]["match"]["label"] == "no"
    assert ANSWER.mixed and not MultiTask((TOPIC,)).mixed
    (found,) = KINDS.decode(np.array([[3.0, -3.0, 0.0, 1.0, 0.0, 7.25]]), ["a text"])
    assert found.columns == ("tags=loud 0.953", "topic=news 0.576", "urgency=39")


def test_outputs_of_another_order_and_unit_are_found_by_task_and_label() -> None:
    turned = Part("topic", Labels(("weather", "music", "news")), pairs=False)
    assert ANSWER.outputs_of(MultiTask((turned, MATCH))) == (3, 4, 1, 2, 0)
    assert ANSWER.outputs_of(MultiTask((turned,))) is None
    assert ANSWER.outputs_of(TOPIC.answer) is None
    assert "give one for each task, as `NAME=FOLDER`" in ANSWER.mismatch("the teacher `a`", TOPIC.answer)
    assert "match, topic and no others, but has topic" in ANSWER.mismatch("the teacher `a`", MultiTask((turned,)))
    fewer = MultiTask((MATCH, Part("topic", Labels(("music", "news")), pairs=False)))
    assert "labels of task `topic` of the teacher `a`" in ANSWER.mismatch("the teacher `a`", fewer)
    other = MultiTask((Part("urgency", Number(4.0, 2.0), False), TOPIC, TAGS))
    assert KINDS.outputs_of(other) == (4, 5, 1, 2, 3, 0)
    factors, shifts = KINDS.rescaling(other) or (0, 0)
    assert np.array(factors).tolist() == [1, 1, 1, 1, 1, 0.5] and np.array(shifts).tolist() == [0, 0, 0, 0, 0, -1.5]
    assert KINDS.rescaling(KINDS) is None and ANSWER.scale is None


def test_mistakes_are_counted_for_each_task() -> None:
    found = KINDS.mistakes([f"text {at}" for at in range(90)], OF_KINDS, THEIRS, OURS)
    titles = [each.title for each in found.tables]
    for title in ("tags: ", "topic: Precision", "urgency: Largest errors"):
        assert any(each.startswith(title) for each in titles), title
    assert "topic: Artifact and baseline give" in found.summary and "of 30 validation texts" in found.summary
    assert [row[:3] for row in found.tables[0].rows] == [
        ("tags", "micro_f1", "30"),
        ("topic", "accuracy", "30"),
        ("urgency", "pearson", "30"),
    ]
    assert found.tables[0].rows[0][5] == "50.0%" and found.tables[0].rows[2][5] == "0.800", "the teachers"
    assert [each.name for each in found.charts][1:] == ["topic-calibration", "urgency-answers-against-numbers"]


def test_a_model_card_describes_each_task() -> None:
    said = MultiTask((MATCH, TAGS)).described
    assert "## Task `match`\n\nPairs of texts. Output `match_logits`.\n\n### Labels\n\n`no`, `yes`" in said
    assert "logistic function of the file's `tags_logits`" in said


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ModelError, match="a task must be one of the artifact's, but got `topc`: did you mean `topic`"):
        ANSWER.part("topc")


def test_qualities_of_parts_are_kept() -> None:
    strict = MultiTask((Part("tags", LabelSet(("loud", "new"), MACRO_F1), False),))
    assert from_json(strict.to_json()) == strict
