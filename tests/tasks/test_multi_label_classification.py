import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from eicompress.answers import LabelSet
from eicompress.errors import DataError
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.tasks import judged_by, task_answering
from eicompress.tasks.choice import task_of
from eicompress.tasks.classification import Classification
from eicompress.tasks.multi_label_classification import MultiLabelClassification
from eicompress.trials.task_data import TaskData, read_data

ROWS = [{"text": "one", "label": ["b", "a"]}, {"text": "two", "label": []}, {"text": "three", "label": ["b"]}]


def test_lists_of_labels_are_flags_in_the_order_of_their_names() -> None:
    task, examples = MultiLabelClassification.read({"train": ROWS}, {"text": "text", "label": "label"})
    assert task.label_names == ("a", "b") and task.answer == LabelSet(("a", "b"))
    assert examples["train"].targets.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_the_loss_of_one_label_is_that_of_transformers() -> None:
    logits, targets = torch.tensor([[0.3, -2.0], [1.0, 0.5]]), torch.tensor([[1, 0], [0, 0]])
    config = transformers.BertConfig(problem_type="multi_label_classification", num_labels=2)
    expected = ForSequenceClassificationLoss(targets.float(), logits, config)
    found = MultiLabelClassification(("a", "b")).loss(logits, targets)
    assert found.item() == pytest.approx(2 * expected.item()), "the sum over labels, not their mean"


def test_each_text_has_an_f1_of_its_own() -> None:
    task = MultiLabelClassification(("a", "b"))
    logits, targets = np.array([[1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]]), np.array([[1, 0], [0, 0], [0, 1]])
    assert task.correct(logits, targets).tolist() == [pytest.approx(2 / 3), 1.0, 0.0]
    assert task.beside(logits, targets) == {"macro_f1": pytest.approx(0.5), "exact_match": pytest.approx(1 / 3)}
    assert judged_by(task, "macro_f1").score(logits, targets) == pytest.approx(0.5)


def test_a_teacher_is_judged_with_its_best_threshold() -> None:
    task, targets = MultiLabelClassification(("a", "b")), np.array([[1, 0], [0, 1]])
    low = np.where(targets > 0, -2.0, -4.0)
    assert task.score(low, targets) == 0.0 and task.best_score(low, targets) == 1.0


def test_the_task_is_found_where_labels_are_lists() -> None:
    kind, note = task_of([{"text": "one", "labels": []}, {"text": "two", "labels": ["a"]}], {})
    assert kind is MultiLabelClassification and "lists in `labels`" in note
    assert task_of([{"text": "one", "label": "a"}], {})[0] is Classification
    assert task_answering(LabelSet(("a",)), pairs=False) is MultiLabelClassification


def from_file(folder: Path, label: str, task: str = "") -> TaskData:
    rows = [f'{{"text": "row {at}", "label": ["{"ab"[at % 2]}"]}}' for at in range(12)]
    (folder / "train.jsonl").write_text("\n".join([*rows, f'{{"text": "bad", "label": {label}}}']))
    return read_data(discover(), read({"model": "-", "data": str(folder / "train.jsonl"), "task": task}))


def test_empty_lists_are_read(tmp_path: Path) -> None:
    read = from_file(tmp_path, "[]")
    assert read.task.name == "multi_label_classification" and sum(map(len, read.examples.values())) == 13
    assert any(not row.any() for each in read.examples.values() for row in each.targets)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ('"a"', "must be a list of labels, which may be empty, but got `a`"),
        ('"a, b"', "must be a list of labels"),
        ('[["a"], ["b"]]', "must have labels that are texts or whole numbers"),
        ('["a", NaN]', "must have labels that are texts or whole numbers"),
        ('["a", null]', "must have labels that are texts or whole numbers"),
        ('["a", " "]', "must have labels that are texts or whole numbers"),
        ("NaN", "must not be empty"),
        ('{"a": 1}', "must be a list of labels"),
    ],
)
def test_what_is_no_list_of_labels_is_named_with_file_and_row(tmp_path: Path, label: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"`train.jsonl`, row 13, column `label`, {said}"):
        from_file(tmp_path, label)


def test_labels_must_be_known_from_train() -> None:
    columns = {"text": "text", "label": "label"}
    with pytest.raises(DataError, match="every label of `test` must occur in `train`, but row 2 has `c`"):
        MultiLabelClassification.read({"train": ROWS, "test": [ROWS[0], {"text": "x", "label": ["c"]}]}, columns)
    with pytest.raises(DataError, match="must have labels in column `label`, but every list is empty"):
        MultiLabelClassification.read({"train": [ROWS[1]]}, columns)


def test_pairs_have_lists_of_labels_too() -> None:
    rows = [{**row, "text_pair": "more"} for row in ROWS]
    named = MultiLabelClassification.columns_in(rows[0], {})
    task, examples = MultiLabelClassification.read({"train": rows}, named)
    assert task.pairs and examples["train"].texts[0] == ("one", "more")
    assert json.dumps(task.answer.config())
