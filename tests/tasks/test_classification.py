import json
from pathlib import Path

import numpy as np
import pytest

from eicompress.answers import Number
from eicompress.contracts import Array
from eicompress.errors import DataError, SpecError
from eicompress.metrics.quality import difference_of
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.tasks import judged_by
from eicompress.tasks.classification import Classification, PairClassification
from eicompress.tasks.multi_label_classification import MultiLabelClassification
from eicompress.tasks.regression import Regression
from eicompress.tasks.token_classification import TokenClassification
from eicompress.trials.task_data import read_data

ROWS = [{"text": "one", "label": "b"}, {"text": "two", "label": "a"}]


def test_labels_are_those_of_train_in_order() -> None:
    task, examples = Classification.read({"train": ROWS}, {})
    assert task.label_names == ("a", "b")
    assert examples["train"].texts == ("one", "two") and examples["train"].targets.tolist() == [1, 0]


def test_columns_are_named_by_the_user_and_numbers_are_labels_too() -> None:
    rows = [{"q": "one", "y": 3}, {"q": "two", "y": 12}]
    task, examples = Classification.read({"train": rows}, {"text": "q", "label": "y"})
    assert task.label_names == ("12", "3") and examples["train"].texts == ("one", "two")


def test_pairs_are_read_as_pairs() -> None:
    rows = [{"text": "one", "text_pair": "uno", "label": "a"}, {"text": "two", "text_pair": "due", "label": "b"}]
    _, examples = PairClassification.read({"train": rows}, {})
    assert examples["train"].texts == (("one", "uno"), ("two", "due"))


def test_one_label_alone_cannot_be_learned() -> None:
    with pytest.raises(DataError, match="at least two labels in column `label`, but every row says `a`"):
        Classification.read({"train": [{"text": "x", "label": "a"}]}, {})


def test_a_label_that_train_lacks_is_named_with_its_row() -> None:
    with pytest.raises(DataError, match=r"every label of `validation` must occur in `train`, but row 2 has `c`"):
        Classification.read({"train": ROWS * 2, "validation": [*ROWS[:1], {"text": "x", "label": "c"}]}, {})


def test_quality_is_the_share_of_right_answers() -> None:
    task = Classification(("a", "b"))
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
    assert task.correct(logits, np.array([0, 1, 1])).tolist() == [1.0, 1.0, 0.0]
    assert task.score(logits, np.array([0, 1, 1])) == pytest.approx(2 / 3)


def test_a_lone_surrogate_in_the_data_is_replaced() -> None:
    _, examples = Classification.read({"train": [{"text": "a\ud800b", "label": "a"}, *ROWS]}, {})
    assert examples["train"].texts[0] == "a\ufffdb"


@pytest.mark.parametrize("label", [["music"], {"a": 1}, None, float("inf")])
def test_a_label_is_a_text_or_a_number(label: object) -> None:
    assert Classification.refusal(label) == "must be a text or a number"
    assert not any(map(Classification.refusal, ("music", 1, 1.5, True)))


@pytest.mark.parametrize("label", ["two\nlines", "a\tb", "\x1b[31mred", "a\u2028b", "half of \ud83d"])
def test_a_label_that_is_more_than_a_line_is_refused_wherever_labels_are_read(label: str) -> None:
    said = "must be one line without tabs, control characters or lone surrogates"
    assert Classification.refusal(label) == said
    assert MultiLabelClassification.refusal(["music", label]) == f"must have labels of which each {said}"
    tagged: list[tuple[object, object]] = [
        (["play", "it"], ["O", f"B-{label}"]),
        ("play it", [{"start": 5, "end": 7, "label": label}]),
    ]
    columns = {"text": "text", "label": "label"}
    for text, tags in tagged:
        assert said in TokenClassification.cell_refusal("label", {"text": text, "label": tags}, columns)


@pytest.mark.parametrize("pair", [(1, "1"), (1, True), (True, "True"), (1, 1.0), ("music", "music "), ("a b", "a  b")])
def test_labels_that_look_the_same_are_refused(pair: tuple[object, object]) -> None:
    rows = [{"text": "x", "label": label} for label in (*pair, "other")]
    with pytest.raises(DataError, match="labels of `train` must differ in more than type or spacing, but row 1"):
        Classification.read({"train": rows}, {})


def test_labels_that_look_the_same_are_refused_however_the_file_is_cut(tmp_path: Path) -> None:
    labels = [1, 1, "music", "1", "music", 1, 1, "music", "1", "music", 1, 1]
    lines = [json.dumps({"text": f"text {at}", "label": label}) for at, label in enumerate(labels)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    for seed in range(4):
        with pytest.raises(DataError, match=r"but row 1 has 1 and row 4 has '1': write both in one way"):
            read_data(discover(), read({"model": "-", "data": str(tmp_path / "rows.jsonl"), "seed": seed}))


def test_long_labels_are_shortened_where_they_are_refused() -> None:
    long = "x" * 9_000
    pair, alone, unknown = (
        [{"text": "x", "label": label} for label in labels]
        for labels in ((long, f"{long} ", "other"), (long, long), (long, "music", "music", "rain", "rain"))
    )
    for splits in ({"train": pair}, {"train": alone}, {"train": unknown[1:], "test": unknown}):
        with pytest.raises(DataError) as refused:
            Classification.read(splits, {})
        assert len(str(refused.value)) < 500


def test_numbers_in_one_file_and_texts_in_another_are_the_same_labels() -> None:
    train = [{"text": "x", "label": label} for label in (1, 2)]
    _, examples = Classification.read({"train": train, "test": [{"text": "y", "label": "2"}]}, {})
    assert examples["test"].targets.tolist() == [1]


def test_labels_of_one_row_each_are_named_and_no_split_is_blamed() -> None:
    train = [{"text": f"{n}", "label": f"{n}"} for n in range(48)]
    with pytest.raises(DataError, match=r"48 of the 48 labels of `train` have one row each.*--label"):
        Classification.read({"train": train, "validation": [{"text": "x", "label": "50"}]}, {})


def test_macro_f1_counts_each_label_alike() -> None:
    task = judged_by(Classification(("a", "b")), "macro_f1")
    logits, targets = np.array([[2.0, 1.0]] * 4), np.array([0, 0, 0, 1])
    assert task.quality == "macro_f1" and not task.averaged
    assert task.score(logits, targets) == pytest.approx(6 / 14)
    assert task.beside(logits, targets) == {"accuracy": 0.75}
    assert difference_of(task, logits, np.eye(2)[targets], targets).high < 0
    assert judged_by(task, "accuracy").averaged and judged_by(task, "") == task


def test_a_task_may_say_that_its_quality_is_no_mean_where_its_kind_of_answer_is_scored_by_one() -> None:
    class Balanced(Classification):
        averaged = False  # type: ignore[assignment]  # a class attribute, as in the docs

        def score(self, logits: Array, targets: Array) -> float:
            right = self.correct(logits, targets)
            return float(np.mean([right[targets == label].mean() for label in np.unique(targets)]))

    task, logits, targets = Balanced(("a", "b")), np.array([[2.0, 1.0]] * 4), np.array([0, 0, 0, 1])
    assert task.answer.averaged and Classification(("a", "b")).averaged and not Regression(Number()).averaged
    assert difference_of(task, logits, np.eye(2)[1 - targets], targets).mean == pytest.approx(0.5)


def test_a_quality_that_a_task_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(SpecError, match="must be one of `accuracy`, `macro_f1` for the task `classification`, but got"):
        judged_by(Classification(("a", "b")), "precision")
