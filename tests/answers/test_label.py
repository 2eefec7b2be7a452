import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from eicompress.answers import LabelPrediction, Labels, Number, from_json, of_config
from eicompress.answers.calibration import calibration
from eicompress.answers.label_mistakes import MATRIX, confusion, counted, per_label
from eicompress.errors import DataError

LABELS = ("music", "weather")
TEXTS = ("play a song", "will it rain", "stop it", "sun today")
TARGETS = np.array([0, 1, 0, 1])
BASELINE = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0], [2.0, 0.0]])
ARTIFACT = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, 1.0]])


def test_the_best_label_has_the_softmax_for_confidence() -> None:
    (found,) = Labels(LABELS).decode(np.array([[0.0, np.log(3.0)]]), ["rain"])
    assert isinstance(found, LabelPrediction) and found.label == "weather"
    assert found.confidence == pytest.approx(0.75) and found.columns == ("weather", "0.750")


def test_it_is_the_same_after_it_was_written() -> None:
    answer = Labels(LABELS)
    assert from_json(answer.to_json()) == answer == of_config(answer.config())
    assert of_config({"id2label": {"0": "a", "2": "c"}}) is None and of_config({}) is None


def test_outputs_are_found_by_their_names() -> None:
    assert Labels(LABELS).outputs_of(Labels(("rain", "weather", "music"))) == (2, 1)
    assert Labels(LABELS).outputs_of(Labels(("music", "rain"))) is None and Labels(LABELS).outputs_of(Number()) is None
    message = Labels(LABELS).mismatch("the teacher `t`", Labels(("music", "wether")))
    assert "1 of 2 are not there, such as `weather`" in message and "wether" in message


def test_the_majority_class_is_right_as_often_as_it_occurs() -> None:
    assert Labels(LABELS).simplest_logits("abc", np.array([1, 1, 0]), "de").argmax(axis=1).tolist() == [1, 1]


def test_targets_are_numbers_of_labels() -> None:
    assert Labels(LABELS).holds(TARGETS)
    assert not Labels(LABELS).holds(np.array([0.5, 0.7])) and not Labels(LABELS).holds(np.array([[0, 1], [1, 0]]))


def test_a_near_tie_agrees_and_another_label_does_not() -> None:
    expected = np.array([[1.0, 1.01], [1.0, -1.0]])
    assert Labels(LABELS).agrees(expected, np.array([[1.0, 0.9], [0.0, 1.0]])).tolist() == [True, False]


def test_rows_under_an_artifacts_labels_define_its_task() -> None:
    rows = [{"q": "x", "y": "weather"}]
    assert [each["y"] for each in Labels(LABELS).readable_rows(rows, {"label": "y"}, "file")] == list(LABELS)
    with pytest.raises(DataError, match="row 1 of `file` has `sport`"):
        Labels(LABELS).readable_rows([{"y": "sport"}], {"label": "y"}, "file")


def test_what_is_lost_and_gained_is_counted_by_text() -> None:
    found = counted(LABELS, TARGETS, BASELINE, ARTIFACT)
    assert (len(found.lost), found.gained, found.agreement, found.difference) == (1, 1, 0.5, 0.0)
    # Two of four texts differ: variance 0.5 / 4.
    assert found.interval == pytest.approx(1.96 * np.sqrt(0.5 / 4))


def test_examples_are_those_that_only_the_baseline_reads_right() -> None:
    found = Labels(LABELS).mistakes(TEXTS, TARGETS, BASELINE, ARTIFACT)
    assert found.tables[0].rows == (("stop it", "music", "weather", f"{np.e / (np.e + 1):.0%}"),)
    assert "gives the same" not in found.summary and "same answer to 50.0% of 4 validation texts" in found.summary
    assert "loses 1 that the baseline reads right, and gains 1: +0.0 ±" in found.summary


def test_confused_labels_are_counted_for_both() -> None:
    assert counted(LABELS, TARGETS, BASELINE, ARTIFACT).confused == (("music", "weather", "1", "0"),)


def test_labels_that_lost_texts_are_reported_with_their_counts() -> None:
    assert counted(LABELS, TARGETS, BASELINE, ARTIFACT).weakest == (("music", "2", "1", "2"),)
    assert counted(LABELS, TARGETS, ARTIFACT, BASELINE).weakest == (("weather", "2", "1", "2"),)
    assert counted(LABELS, TARGETS, BASELINE, BASELINE).weakest == ()


def test_calibration_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    found = calibration(np.array([0.92, 0.98, 0.52, 0.58]), np.array([True, True, True, False]))
    assert [(each.count, each.accuracy) for each in found.bins] == [(2, 0.5), (2, 1.0)]
    assert found.error == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)


def test_precision_recall_and_f1_of_each_label_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    targets, answers, baseline = (generator.integers(5, size=200) for _ in range(3))
    labels = tuple("abcde")
    found = {label: rest for label, *rest in per_label(labels, targets, answers, baseline)}
    theirs = precision_recall_fscore_support(targets, answers)
    for at, label in enumerate(labels):
        assert found[label][:4] == [str(theirs[3][at]), *(f"{theirs[part][at]:.1%}" for part in range(3))]
    f1 = [float(each[3].rstrip("%")) for each in found.values()]
    assert f1 == sorted(f1)


def test_a_label_that_is_never_answered_has_no_precision() -> None:
    assert per_label(LABELS, np.array([0, 1]), np.array([0, 0]), np.array([0, 1]))[0] == (
        *("weather", "1", "-", "0.0%", "0.0%", "100.0%"),
    )


def test_the_confusion_matrix_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    targets, answers = (generator.integers(5, size=200) for _ in range(2))
    assert np.array_equal(confusion(tuple("abcde"), targets, answers).counts, confusion_matrix(targets, answers))


def test_of_150_labels_the_most_confused_are_shown_and_the_others_together() -> None:
    labels, targets = tuple(f"label {at}" for at in range(150)), np.arange(150).repeat(4)
    answers = targets.copy()
    answers[targets == 7] = 90
    found = confusion(labels, targets, answers)
    assert len(found.names) == MATRIX + 1 and found.names[-1] == "138 others"
    assert {"label 7", "label 90"} <= {*found.names} and np.sum(found.counts) == 600
    assert found.counts[found.names.index("label 7")][found.names.index("label 90")] == 4
    tables = Labels(labels).mistakes([""] * 600, targets, np.eye(150)[targets], np.eye(150)[answers]).tables
    (worst,) = [each for each in tables if "lowest F1" in each.title]
    assert len(worst.rows) == 15 and {row[0] for row in worst.rows[:2]} == {"label 7", "label 90"}


def test_models_are_compared_by_the_quality_that_is_maximised() -> None:
    answer = Labels(LABELS, "macro_f1")
    targets = np.array([0, 0, 0, 1])
    all_music, all_right = np.array([[1.0, 0.0]] * 4), np.eye(2)[targets]
    apart, half = answer.difference(targets, all_music, all_right)
    assert apart == pytest.approx(6 / 14 - 1) and half > 0.2
    found = answer.mistakes(TEXTS, targets, all_right, all_music)
    assert not found.shares and found.interval == half
    assert "Macro F1 is 42.9% for the artifact and 100.0% for the baseline: \u221257.1 ±" in found.summary
    assert from_json(answer.to_json()) == answer
