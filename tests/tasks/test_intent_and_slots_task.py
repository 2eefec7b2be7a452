import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eicompress.answers import IntentAndSlots
from eicompress.contracts import Examples
from eicompress.data.datasets import dataset_from_tables, read_tables
from eicompress.errors import DataError
from eicompress.tasks import task_answering
from eicompress.tasks.choice import task_of
from eicompress.tasks.classification import Classification
from eicompress.tasks.intent_and_slots import IntentAndSlotsTask
from eicompress.tasks.token_classification import TokenClassification
from eicompress.training.losses import answer_loss, answer_losses

ROWS = [
    {"tokens": ["rain", "in", "a.b"], "tags": ["O", "O", "B-place"], "label": "weather"},
    {"text": "play it now", "entities": [{"start": 8, "end": 11, "label": "time"}], "label": "music"},
]
NAMED = {"text": "text", "tags": "tags", "label": "label"}


def read(*rows: dict[str, Any], **others: list[dict[str, Any]]) -> tuple[IntentAndSlotsTask, dict[str, Examples]]:
    def made(row: dict[str, Any]) -> dict[str, Any]:
        columns = IntentAndSlotsTask.columns_in(row, {})
        return {role: row[name] for role, name in columns.items()}

    splits = {name: [made(each) for each in given] for name, given in {"train": [*rows], **others}.items()}
    return IntentAndSlotsTask.read(splits, NAMED)


def test_rows_with_words_tags_and_a_label_are_meant() -> None:
    kind, note = task_of(ROWS, {})
    assert kind is IntentAndSlotsTask
    assert note == "The rows have `tokens`, `tags` and `label`, so the task is `intent_and_slots`."
    assert task_of([ROWS[1]], {})[0] is IntentAndSlotsTask
    assert task_of([{**ROWS[0], "text": "rain"}], {})[0] is Classification, "the text and its label may be meant"
    assert task_of(ROWS, {"label": "tags"})[0] is TokenClassification
    task, examples = read(*ROWS)
    assert task.tags == ("O", "B-place", "B-time", "I-place", "I-time") and task.intents == ("music", "weather")
    assert examples["train"].texts == ("rain in a.b", "play it now")
    answer = task.answer
    assert answer.intents_of(examples["train"].targets).tolist() == [1, 0]
    assert answer.tags_of(examples["train"].targets).tolist() == [[0, 0, 1, -5, -5], [0, 0, 2, -1, -1]]
    assert task_answering(answer, pairs=False) is IntentAndSlotsTask


@pytest.mark.parametrize(
    ("row", "role", "said"),
    [
        ({"label": 3}, "label", "must be text"),
        ({"label": " "}, "label", "must be text"),
        ({"tags": ["O"]}, "tags", "must have a tag for each of the 3 in `tokens`, not 1"),
        ({"tokens": "rain"}, "tags", "must be a list of entities"),
        ({"tokens": [1]}, "text", "must be text or a list of tokens"),
    ],
)
def test_a_cell_that_breaks_a_rule_is_refused(row: dict[str, Any], role: str, said: str) -> None:
    given = {**ROWS[0], **row}
    columns = IntentAndSlotsTask.columns_in(given, {})
    assert said in IntentAndSlotsTask.cell_refusal(role, given, columns)
    assert not any(IntentAndSlotsTask.cell_refusal(each, ROWS[0], columns) for each in columns)


def test_intents_must_be_known_and_several() -> None:
    with pytest.raises(DataError, match=r"known from the training rows, but row 1 of `test` has `musik`: .*`music`"):
        read(*ROWS, test=[{**ROWS[0], "label": "musik"}])
    with pytest.raises(DataError, match="two intents or more in column `label`, but has 1"):
        read(ROWS[0])


def test_both_parts_are_learned_by_words_and_by_texts() -> None:
    task, examples = read(*ROWS)
    targets = torch.from_numpy(examples["train"].targets)
    right = torch.zeros(2, 4, task.answer.outputs)
    right[0, :3], right[1, :3] = torch.eye(7)[[0, 0, 1]], torch.eye(7)[[0, 0, 2]]
    right[0, :3, 6], right[1, :3, 5] = 1.0, 1.0
    intent = right.clone()
    intent[:, :, 5:] = intent[:, :, 5:].flip(-1)
    other = right.clone()
    other[0, 0, :5] = torch.eye(5)[3]
    assert task.loss(30 * right, targets) == pytest.approx(0.0, abs=1.0), "two pieces of a token are not read"
    for worse in (intent, other):
        assert task.loss(30 * worse, targets) > task.loss(30 * right, targets) + 1
        assert task.loss(30 * worse[:, 0], targets[:, 0]) > task.loss(30 * right[:, 0], targets[:, 0]) + 1
        assert answer_loss(task.answer, worse, right, 1.0) > 0.01
        assert answer_losses(task.answer, worse, right)[0] > 0.01
    assert answer_loss(task.answer, right, right, 2.0) == pytest.approx(0.0, abs=1e-6)


def test_the_quality_is_of_whole_texts_with_intents_and_slots_beside() -> None:
    task, examples = read(*ROWS)
    targets = examples["train"].targets
    logits = np.zeros((2, 3, 7), np.float32)
    logits[0, range(3), [0, 0, 1]] = logits[1, range(3), [0, 0, 0]] = 1.0
    logits[0, :, 6] = logits[1, :, 5] = 1.0
    assert task.score(logits, targets) == 0.5
    assert task.beside(logits, targets) == {"intent_accuracy": 1.0, "slot_f1": pytest.approx(2 / 3)}
    assert isinstance(task.answer, IntentAndSlots)


def test_a_training_row_recurs_by_its_text_whatever_its_tags(tmp_path: Path) -> None:
    others = [{**ROWS[1], "text": f"play it now {number}"} for number in range(9)]
    splits = {"train": [ROWS[1], *others], "validation": [{**ROWS[1], "entities": []}], "test": others[:2]}
    for split, rows in splits.items():
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns, refusal = IntentAndSlotsTask.columns_in(ROWS[1], {}), IntentAndSlotsTask.cell_refusal
    data = dataset_from_tables(read_tables(str(tmp_path)), columns, str(tmp_path), 0, refusal)
    assert [row["text"] for row in data.train] == [f"play it now {number}" for number in range(2, 9)]
