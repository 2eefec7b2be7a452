import numpy as np
import pytest

from eicompress.answers import Labels, MultiTask, Part, from_json, of_config
from eicompress.errors import DataError, ModelError

TOPIC = Part("topic", Labels(("music", "news", "weather")), pairs=False)
MATCH = Part("match", Labels(("no", "yes")), pairs=True)
ANSWER = MultiTask((MATCH, TOPIC))
TARGETS = np.array([0, 1, 2, 3, 4, 4])
"""Two texts of the first task, four of the second."""
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


def test_a_text_is_judged_by_the_labels_of_its_own_task() -> None:
    assert ANSWER.tasks_of(TARGETS).tolist() == [0, 0, 1, 1, 1, 1]
    assert ANSWER.labels_of(TARGETS).tolist() == [0, 1, 0, 1, 2, 2]
    assert ANSWER.right(TARGETS, LOGITS).tolist() == [True, False, True, False, True, True]
    assert ANSWER.names == ("match/no", "match/yes", "topic/music", "topic/news", "topic/weather")


def test_weighted_right_answers_have_the_mean_share_of_the_teachers_as_their_mean() -> None:
    """The teacher of `topic` is right on two of four texts, that of `match` on both of two."""
    judged = TARGETS + 5 * np.array([0, 0, 1, 0, 1, 0])
    assert ANSWER.tasks_of(judged).tolist() == ANSWER.tasks_of(TARGETS).tolist()
    shares = ANSWER.right(judged, LOGITS) * ANSWER.weights(judged)
    assert shares.mean() == pytest.approx(((1 / 2) / (2 / 2) + (3 / 4) / (2 / 4)) / 2)
    plain = ANSWER.right(TARGETS, LOGITS) * ANSWER.weights(TARGETS)
    assert plain.mean() == pytest.approx((1 / 2 + 3 / 4) / 2), "without a teacher it is the mean accuracy"
    apart, half = ANSWER.difference(judged, LOGITS, np.zeros_like(LOGITS))
    right = ANSWER.right(judged, np.zeros_like(LOGITS)) * ANSWER.weights(judged)
    assert apart == pytest.approx(shares.mean() - right.mean()) and half > 0


def test_the_answer_is_the_same_after_it_was_written_and_read() -> None:
    tuned = ANSWER.tuned(LOGITS, TARGETS, None)
    assert [each.answer.reject_below for each in tuned.parts] != [each.answer.reject_below for each in ANSWER.parts]
    assert from_json(tuned.to_json()) == tuned
    assert of_config(tuned.config()) == tuned
    assert ANSWER.like(tuned) == tuned
    assert ANSWER.like(MATCH.answer) == ANSWER


@pytest.mark.parametrize("counts", [[2, 2], [2, 4], ["2", 3], [0, 5], []])
def test_a_config_whose_tasks_have_other_labels_than_it_names_is_none_of_several_tasks(counts: list[object]) -> None:
    tasks = [{"name": name, "labels": count} for name, count in zip("ab", counts, strict=False)]
    assert of_config({**ANSWER.config(), "tasks": tasks}) is None


def test_each_text_gets_the_answers_of_the_tasks_that_read_it() -> None:
    single, pair = ANSWER.decode(LOGITS[[2, 0]], ["a text", ("one", "other")])
    assert {name: each.label for name, each in single.answers.items()} == {"topic": "music"}
    assert single.columns == (f"topic=music {single.answers['topic'].confidence:.3f}",)
    assert pair.to_json()["tasks"]["match"]["label"] == "no"
    assert ANSWER.mixed and not MultiTask((TOPIC,)).mixed


def test_outputs_of_another_order_are_found_by_task_and_label() -> None:
    turned = Part("topic", Labels(("weather", "music", "news")), pairs=False)
    assert ANSWER.outputs_of(MultiTask((turned, MATCH))) == (3, 4, 1, 2, 0)
    assert ANSWER.outputs_of(MultiTask((turned,))) is None
    assert ANSWER.outputs_of(TOPIC.answer) is None
    assert "give one for each task, as `NAME=FOLDER`" in ANSWER.mismatch("the teacher `a`", TOPIC.answer)
    assert "match, topic and no others, but has topic" in ANSWER.mismatch("the teacher `a`", MultiTask((turned,)))
    fewer = MultiTask((MATCH, Part("topic", Labels(("music", "news")), pairs=False)))
    assert "labels of task `topic` of the teacher `a`" in ANSWER.mismatch("the teacher `a`", fewer)


def test_mistakes_are_counted_for_each_task() -> None:
    texts = [("a", "b"), ("c", "d"), "e", "f", "g", "h"]
    found = ANSWER.mistakes(texts, TARGETS, np.roll(LOGITS, 1, axis=0), LOGITS)
    titles = [each.title for each in found.tables]
    assert any(each.startswith("match: ") for each in titles) and any(each.startswith("topic: ") for each in titles)
    assert "match: Artifact and baseline give" in found.summary and "of 4 validation texts" in found.summary
    of_topic = next(each for each in found.tables if each.title.startswith("topic: Precision"))
    assert {row[0]: row[1] for row in of_topic.rows} == {"music": "1", "news": "1", "weather": "2"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"task": "topc", "text": "a", "label": "music"}, "got `topc`: did you mean `topic`"),
        ({"task": "topic", "text": "a", "label": "yes"}, "every label of task `topic`.*its row 2 has `yes`"),
    ],
)
def test_rows_of_no_task_or_label_of_the_artifact_are_refused(row: dict[str, str], said: str) -> None:
    columns = {"task": "task", "text": "text", "label": "label"}
    good = {"task": "topic", "text": "a", "label": "music"}
    assert len(ANSWER.readable_rows([good], columns, "test.jsonl")) == 5
    with pytest.raises(DataError, match=said):
        ANSWER.readable_rows([good, row], columns, "test.jsonl")
    with pytest.raises(ModelError, match="must be a task of the artifact, but got `topc`"):
        ANSWER.part("topc")
