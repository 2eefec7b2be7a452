import numpy as np
import pytest
from sklearn.metrics import f1_score

from eicompress.answers import Labels, LabelSet, from_json, of_config
from eicompress.errors import DataError

LABELS = ("music", "time", "weather")


def drawn(seed: int, texts: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Targets, some of them empty, and logits that know something of them but are too low."""
    generator = np.random.default_rng(seed)
    targets = (generator.random((texts, 3)) < [0.3, 0.1, 0.5]).astype(np.int64)
    return targets, (2.0 * targets - 2.5 + generator.normal(size=targets.shape)).astype(np.float32)


def test_labels_from_the_threshold_up_are_answered_with_their_probabilities() -> None:
    answer = LabelSet(LABELS, threshold=0.4)
    logits = np.log(np.array([[0.5 / 0.5, 0.1 / 0.9, 0.8 / 0.2], [0.3 / 0.7, 0.1 / 0.9, 0.2 / 0.8]]))
    both, none = answer.decode(logits, ["a", "b"])
    assert both.labels == ("weather", "music") and both.confidences == pytest.approx((0.8, 0.5))
    assert both.columns == ("weather 0.800, music 0.500",) and none.labels == () and none.columns == ("-",)


def test_it_is_the_same_after_it_was_written() -> None:
    answer = LabelSet(LABELS, threshold=0.25)
    assert from_json(answer.to_json()) == answer == of_config(answer.config())
    assert answer.config()["problem_type"] == "multi_label_classification" and "pipeline_tag" in answer.config()
    assert of_config({"id2label": {"0": "a"}, "problem_type": "multi_label_classification", "threshold": 7}) == (
        LabelSet(("a",))
    )


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_quality_and_interval_are_those_of_f1(average: str) -> None:
    answer = LabelSet(LABELS, f"{average}_f1")
    targets, ours = drawn(0)
    theirs = drawn(1)[1]
    expected = [f1_score(targets, each >= 0, average=average) for each in (ours, theirs)]
    assert answer.score(targets, ours) == pytest.approx(expected[0])
    apart, half = answer.difference(targets, ours, theirs)
    assert apart == pytest.approx(expected[0] - expected[1]) and 0 < half < 0.5


@pytest.mark.parametrize("quality", ["micro_f1", "macro_f1"])
def test_the_threshold_is_the_best_on_the_rows_that_it_is_chosen_on(quality: str) -> None:
    answer = LabelSet(LABELS, quality)
    targets, logits = drawn(2)
    tuned = answer.tuned(logits, targets, None)
    tried = [LabelSet(LABELS, quality, each).decided(logits) for each in np.linspace(0.01, 0.99, 99)]
    assert tuned.threshold < 0.5, "the logits are too low"
    assert answer.score(targets, tuned.decided(logits)) >= max(answer.score(targets, each) for each in tried) - 1e-9
    assert answer.like(tuned) == tuned and round(tuned.threshold, 4) == tuned.threshold
    found = [set(each.labels) for each in tuned.decode(logits, [""] * len(logits))]
    zeroed = [{LABELS[at] for at in np.flatnonzero(row >= 0)} for row in tuned.decided(logits)]
    assert found == zeroed, "what is scored is what `predict` prints"


def test_without_a_label_there_is_nothing_to_choose_by() -> None:
    assert LabelSet(LABELS).tuned(np.zeros((2, 3)), np.zeros((2, 3), np.int64), None) == LabelSet(LABELS)


def test_a_model_that_answers_one_of_the_labels_is_no_teacher() -> None:
    answer = LabelSet(LABELS)
    assert answer.outputs_of(LabelSet(("weather", "time", "music"))) == (2, 1, 0)
    assert answer.outputs_of(Labels(LABELS)) is None
    assert "must answer each label on its own (`problem_type`" in answer.mismatch("the teacher `t`", Labels(LABELS))
    assert "such as `time`" in answer.mismatch("the teacher `t`", LabelSet(("music", "tme", "weather")))


def test_targets_are_flags_of_labels() -> None:
    assert LabelSet(LABELS).holds(np.array([[0, 1, 0]]))
    assert not LabelSet(LABELS).holds(np.array([0, 1, 2])) and not LabelSet(LABELS).holds(np.array([[0.2, 0.3, 0.5]]))


def test_the_simplest_baseline_answers_the_same_labels_to_every_text() -> None:
    targets = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 1], [0, 1, 0]])
    found = LabelSet(LABELS).simplest_logits("abcd", targets, "ef")
    assert (found >= 0).tolist() == [[False, False, True]] * 2


def test_rows_under_an_artifacts_labels_define_its_task() -> None:
    (row,) = LabelSet(LABELS).readable_rows([{"t": "x", "y": []}], {"label": "y"}, "file")
    assert row["y"] == list(LABELS)
    with pytest.raises(DataError, match="row 1 of `file` has `wether`: did you mean `weather`"):
        LabelSet(LABELS).readable_rows([{"t": "x", "y": ["wether"]}], {"label": "y"}, "file")


def test_agreement_is_that_of_each_label() -> None:
    expected, got = np.array([[3.0, -3.0, 0.0]]), np.array([[3.1, -2.9, 1.0]])
    assert LabelSet(LABELS).agrees(expected, got).tolist() == [True, True, False]


def test_mistakes_are_counted_by_kind_and_by_label() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    baseline = np.where(targets > 0, 1.0, -1.0)
    artifact = np.array([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, -1.0, -1.0]])
    found = LabelSet(LABELS).mistakes(("play it in the rain", "stop", "what time"), targets, baseline, artifact)
    assert not found.shares and "1 of the texts none" in found.summary and "Micro F1 is 40.0%" in found.summary
    assert "answers 1 of the labels, and 1 others; the baseline 3, and 0 others" in found.summary
    lost, kinds, scores = found.tables
    assert lost.rows[0] == ("play it in the rain", "music, weather", "music")
    assert [row[1:] for row in kinds.rows] == [("2", "0"), ("1", "0"), ("1", "0"), ("1", "0")]
    assert scores.rows[0][:2] in {("time", "1"), ("weather", "1")} and scores.rows[-1][0] == "music"
    assert found.charts[0].artifact.y == pytest.approx((100 / 3, 0.0, 100 / 3))
