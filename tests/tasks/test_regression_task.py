import numpy as np
import pytest
import torch

from eicompress.answers import Number
from eicompress.contracts import Task
from eicompress.errors import DataError
from eicompress.tasks import task_answering
from eicompress.tasks.choice import task_of
from eicompress.tasks.classification import Classification, PairClassification
from eicompress.tasks.regression import Regression

ROWS = [{"text": "one", "label": 1.0}, {"text": "two", "label": "3.5"}, {"text": "six", "label": 6}]


def test_numbers_are_read_in_deviations_from_their_mean() -> None:
    task, examples = Regression.read({"train": ROWS, "validation": ROWS[:1]}, {})
    numbers = np.array([1.0, 3.5, 6.0])
    assert (task.answer.mean, task.answer.deviation) == (3.5, pytest.approx(numbers.std()))
    assert examples["train"].targets == pytest.approx((numbers - 3.5) / numbers.std())
    assert examples["validation"].targets == pytest.approx([(1.0 - 3.5) / numbers.std()])
    assert not task.pairs and examples["train"].texts == ("one", "two", "six")


def test_pairs_are_read_where_a_second_column_is_there_or_named() -> None:
    rows = [{"text": "a", "text_pair": "b", "label": 0.5}, {"text": "c", "text_pair": "d", "label": 0.7}]
    columns = Regression.columns_in(rows[0], {})
    assert columns == {"text": "text", "label": "label", "text_pair": "text_pair"}
    task, examples = Regression.read({"train": rows}, columns)
    assert task.pairs and examples["train"].texts == (("a", "b"), ("c", "d"))
    assert "text_pair" not in Regression.columns_in(ROWS[0], {})
    assert Regression.columns_in(ROWS[0], {"text_pair": "other"})["text_pair"] == "other"


@pytest.mark.parametrize("label", ["warm", float("nan"), "inf", True, None, [1.0]])
def test_what_is_no_number_is_named_with_its_row(label: object) -> None:
    with pytest.raises(DataError, match=r"finite number in column `label`, but row 2 of `train` has"):
        Regression.read({"train": [ROWS[0], {"text": "x", "label": label}]}, {})
    assert Regression.refusal(label) == "must be a finite number"


def test_one_number_alone_cannot_be_learned() -> None:
    with pytest.raises(DataError, match="different numbers in column `label`, but every row says `1`"):
        Regression.read({"train": ROWS[:1] * 2}, {})


@pytest.mark.parametrize(
    ("train", "validation", "named"),
    [([1.0, 2.0, 1e308], [1.0], "`train` has 1e"), ([5e-324, 0.0, 0.0], [1.0], "has"), ([1.0, 2.0], [1e300], "1e.300")],
)
def test_numbers_without_a_common_order_of_size_cannot_be_learned(
    train: list[float], validation: list[float], named: str
) -> None:
    splits = {"train": train, "validation": validation}
    rows = {name: [{"text": "x", "label": each} for each in numbers] for name, numbers in splits.items()}
    with pytest.raises(DataError, match=f"must be of one order of size, .*{named}"):
        Regression.read(rows, {})


def test_quality_is_pearsons_correlation_and_spearmans_stands_beside() -> None:
    task, targets = Regression(Number()), np.array([0.0, 1.0, 2.0, 10.0])
    logits = np.array([[0.0], [1.0], [5.0], [4.0]])
    assert task.score(logits, targets) == pytest.approx(np.corrcoef(logits[:, 0], targets)[0, 1])
    # One of the six pairs is in the wrong order: 1 - 6 * 2 / (4 * 15).
    assert task.beside(logits, targets) == {"spearman": pytest.approx(0.8)}
    assert task.score(-logits, targets) == 0.0 and task.score(np.zeros((4, 1)), targets) == 0.0
    assert task.beside(np.zeros((4, 1)), targets) == {"spearman": 0.0}


def test_equal_numbers_share_a_rank() -> None:
    task, targets = Regression(Number()), np.array([0.0, 1.0, 1.0, 2.0])
    assert task.beside(np.array([[0.0], [7.0], [7.0], [9.0]]), targets) == {"spearman": pytest.approx(1.0)}


def test_the_loss_is_the_mean_squared_error() -> None:
    task = Regression(Number())
    assert task.loss(torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0])) == 2.0
    assert task.correct(np.array([[1.0], [1.5], [9.0]]), np.array([1.0, 1.0, 1.0])).tolist() == [1.0, 0.5, 0.0]


def test_a_task_is_found_from_labels_and_columns() -> None:
    def found(labels: list[object], **more: str) -> type[Task]:
        return task_of([{"text": "a", "label": label, **more} for label in labels], {})[0]

    assert found([0.5, "0.25", 1.0], text_pair="b") is Regression
    assert found([1.0, 2.0, 2.5]) is Classification
    assert found(["a", 0.5, 0.7], text_pair="b") is PairClassification
    assert found(["1", "2"]) is Classification
    assert task_answering(Regression.read({"train": ROWS}, {})[0].answer, pairs=True) is Regression
