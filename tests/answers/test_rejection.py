import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eicompress.answers import LabelPrediction, Labels, LabelSet, of_config
from eicompress.answers.rejection import auroc, threshold
from eicompress.errors import ModelError

LABELS = ("music", "weather")


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    inside, outside = generator.beta(4, 2, size=200), generator.beta(2, 3, size=50)
    return inside, generator.random(200) < inside, outside


@pytest.mark.parametrize("seed", range(3))
def test_with_texts_outside_it_is_the_threshold_of_the_highest_mean_of_both_shares(seed: int) -> None:
    inside, right, outside = drawn(seed)

    def reached(below: float) -> float:
        return float((right & (inside >= below)).mean() + (outside < below).mean())

    found = threshold(inside, right, outside)
    assert reached(found) == pytest.approx(max(reached(each) for each in np.linspace(0, 1, 5001)), abs=0.002)
    assert round(found, 4) == found


def test_without_them_it_keeps_95_of_100_right_answers() -> None:
    inside, right, _ = drawn(0)
    found = threshold(inside, right, None)
    assert 0.95 <= (inside[right] >= found).mean() <= 0.96
    assert threshold(inside, np.zeros(200, bool), None) == 0.0


def test_auroc_is_that_of_scikit_learn() -> None:
    inside, _, outside = drawn(1)
    inside, outside = inside.round(1), outside.round(1)  # so that many are equal
    expected = roc_auc_score([1] * 200 + [0] * 50, np.concatenate([inside, outside]))
    assert auroc(inside, outside) == pytest.approx(expected)


def test_a_text_below_the_threshold_has_no_label() -> None:
    logits, targets = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])), np.array([0, 0, 0])
    answer = Labels(LABELS).tuned(logits, targets, np.log(np.array([[0.4, 0.6], [0.25, 0.75]])))
    assert 0.75 < answer.reject_below <= 0.8
    sure, unsure = answer.decode(logits, ["a", "b", "c"])[::2]
    assert answer.rejected(sure) == sure
    rejected = answer.rejected(unsure)
    assert isinstance(rejected, LabelPrediction) and rejected.label is None and rejected.columns == ("-", "0.700")
    found = answer.of_outside(logits, targets, np.log(np.array([[0.4, 0.6], [0.1, 0.9]])))
    assert found == {"auroc": pytest.approx(7 / 12), "in_scope_accuracy": 2 / 3, "out_of_scope_recall": 0.5}
    assert of_config(answer.config()) == answer == Labels(LABELS).like(answer)


def test_without_a_threshold_nothing_is_rejected_in_silence() -> None:
    answer = of_config({"id2label": {"0": "a", "1": "b"}, "reject_below": "none"})
    assert answer == Labels(("a", "b"))
    with pytest.raises(ModelError, match=r"must have a threshold above 0.0001, `reject_below`"):
        answer.rejected(LabelPrediction("a", 0.1))


def test_targets_of_another_form_choose_no_threshold() -> None:
    soft = np.array([[0.2, 0.8]])
    assert Labels(LABELS).tuned(soft, soft, None) == Labels(LABELS)
    assert Labels(LABELS).of_outside(soft, soft, soft) == {}


@pytest.mark.parametrize("kind", [Labels, LabelSet])
def test_to_choose_a_threshold_adds_no_byte_to_a_file(kind: type[Labels] | type[LabelSet]) -> None:
    generator = np.random.default_rng(0)
    untuned = kind(LABELS)
    for _ in range(20):
        logits = generator.normal(size=(30, 2))
        targets = generator.integers(2, size=(30,) if kind is Labels else (30, 2))
        assert len(json.dumps(untuned.tuned(logits, targets, None).config())) <= len(json.dumps(untuned.config()))
