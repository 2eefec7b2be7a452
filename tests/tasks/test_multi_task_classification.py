import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eicompress.contracts import Examples, TeacherOutputs
from eicompress.errors import DataError, SpecError
from eicompress.plugins import discover
from eicompress.spec import read as read_spec
from eicompress.tasks.multi_task import MultiTaskClassification
from eicompress.trials.task_data import TaskData, in_turns, read_data
from eicompress.values import Text

ROWS: list[dict[str, Any]] = [
    {"task": "topic", "text": "play it", "label": "music"},
    {"task": "match", "text": "play it", "text_pair": "it plays", "label": "yes"},
    {"task": "topic", "text": "will it rain", "label": "weather"},
    {"task": "match", "text": "play it", "text_pair": "rain", "label": "no"},
]


def write(folder: Path, **tasks: list[dict[str, Any]]) -> list[str]:
    """`--data` of each task."""
    for name, rows in tasks.items():
        (folder / name).mkdir()
        for split in ("train", "validation", "test"):
            own = [{**row, "text": f"{row['text']} {split}"} for row in rows]
            (folder / name / f"{split}.jsonl").write_text("\n".join(map(json.dumps, own)))
    return [f"{name}={folder / name}" for name in tasks]


def of_task(name: str) -> list[dict[str, Any]]:
    return [{role: value for role, value in row.items() if role != "task"} for row in ROWS if row["task"] == name]


def opened(data: list[str], **settings: object) -> TaskData:
    return read_data(discover(), read_spec({"model": "-", "data": data, **settings}))


class Sure:
    """A teacher that gives each text these logits."""

    digest, aligned = "", False

    def __init__(self, logits: list[list[float]]) -> None:
        self.logits = np.array(logits, np.float16)

    def outputs(self, texts: tuple[Text, ...]) -> TeacherOutputs:
        return TeacherOutputs(self.logits, np.zeros((len(texts), 0)))


def test_rows_are_read_under_the_labels_of_their_own_task() -> None:
    task, examples = MultiTaskClassification.read({"train": ROWS}, {})
    assert [(each.name, each.answer.labels, each.pairs) for each in task.parts] == [
        ("match", ("no", "yes"), True),
        ("topic", ("music", "weather"), False),
    ]
    assert examples["train"].texts == ("play it", ("play it", "it plays"), "will it rain", ("play it", "rain"))
    assert examples["train"].targets.tolist() == [2, 1, 3, 0]
    assert task.pairs


def test_the_loss_is_the_mean_cross_entropy_of_each_rows_own_head() -> None:
    task, examples = MultiTaskClassification.read({"train": ROWS}, {})
    logits, targets = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), examples["train"].targets
    heads = [(2, 2), (0, 2), (2, 2), (0, 2)]
    expected = [
        F.cross_entropy(logits[row : row + 1, at : at + width], torch.tensor([int(targets[row]) - at]))
        for row, (at, width) in enumerate(heads)
    ]
    torch.testing.assert_close(task.loss(logits, torch.from_numpy(targets)), torch.stack(expected).mean())


def test_the_quality_is_a_share_of_what_the_teachers_reach() -> None:
    task, examples = MultiTaskClassification.read({"train": ROWS}, {})
    teacher = Sure([[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]])  # of `match` it reads one of two right
    judged = task.judged(examples["train"], teacher)  # type: ignore[arg-type]
    own = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]])  # both of `match`, one of two of `topic`
    assert task.score(own, judged.targets) == pytest.approx((1.0 / 0.5 + 0.5 / 1.0) / 2)
    assert task.correct(own, judged.targets).mean() == pytest.approx(task.score(own, judged.targets))
    beside = {"mean_accuracy": 0.75, "match_accuracy": 1.0, "topic_accuracy": 0.5}
    assert task.beside(own, judged.targets) == pytest.approx(beside)
    again = task.judged(judged, teacher)  # type: ignore[arg-type]
    assert again.targets.tolist() == judged.targets.tolist()
    plain = task.without_teacher()
    assert plain.quality == "mean_accuracy" and plain.judged(examples["train"], teacher) is examples["train"]  # type: ignore[arg-type]
    assert plain.score(own, examples["train"].targets) == pytest.approx(0.75)
    assert plain.beside(own, examples["train"].targets).keys() == {"match_accuracy", "topic_accuracy"}


def test_data_sets_become_one_whose_first_rows_have_each_tasks_share(tmp_path: Path) -> None:
    read = opened(write(tmp_path, topic=3 * of_task("topic"), match=of_task("match")))
    targets = read.examples["train"].targets
    assert len(targets) == 8 and {*(targets[:4] >= 2).tolist()} == {True, False}
    assert read.task.quality == "mean_share"
    turns = in_turns([{"task": name} for name in "aaaabb"])
    assert "".join(row["task"] for row in turns) == "abaaba"
    accuracy = opened([f"{name}={tmp_path / name}" for name in ("topic", "match")], quality="mean_accuracy")
    assert accuracy.task.quality == "mean_accuracy" and accuracy.digest != read.digest


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS, {**ROWS[1], "text_pair": None}], "task `match`: every row must have a second text.*row 3 of `train`"),
        ([*ROWS, {**ROWS[0], "text_pair": "b"}], "task `topic`: every row must not have a second text.*has one"),
        ([*ROWS[:2], ROWS[3]], "task `topic`: `train` must have at least two labels"),
    ],
)
def test_rows_that_fit_no_task_are_refused(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        MultiTaskClassification.read({"train": rows}, {})


def test_a_task_without_training_rows_is_refused() -> None:
    with pytest.raises(DataError, match="must have rows in `train`, but row 1 has `other`"):
        MultiTaskClassification.read({"train": ROWS, "test": [{**ROWS[0], "task": "other"}]}, {})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (["topic=a", "b"], "must each have the name of a task, NAME=DATA, but got `b`"),
        (["topic=a", "topic=b"], "must name each task once, but names `topic` twice"),
    ],
)
def test_data_sets_without_names_of_their_own_are_refused(data: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read_spec({"model": "-", "data": data})


def test_what_is_no_classification_or_alone_is_refused(tmp_path: Path) -> None:
    numbers = [{"text": "a", "label": 0.5}, {"text": "b", "label": 0.25}]
    data = write(tmp_path, topic=of_task("topic"), match=of_task("match"), score=numbers)
    with pytest.raises(DataError, match="but `score` is of the task `regression`"):
        opened(data)
    with pytest.raises(SpecError, match="must be two or more, but got"):
        opened(data[:1])
    with pytest.raises(SpecError, match="`--task` must be left out"):
        opened(data[:2], task="classification")
    assert read_spec({"model": "-", "data": data[:2]}).study == "topic-match"
    assert read_spec({"model": "-", "data": data[:1]}).tasks == {"topic": str(tmp_path / "topic")}


def test_an_empty_cell_names_its_task_and_row(tmp_path: Path) -> None:
    data = write(tmp_path, topic=[*of_task("topic"), {"text": "c", "label": ""}], match=of_task("match"))
    with pytest.raises(DataError, match=r"task `topic`: `train.jsonl`, row 3, column `label`"):
        opened(data)


def test_examples_of_tasks_are_taken_as_others_are() -> None:
    _, examples = MultiTaskClassification.read({"train": ROWS}, {})
    taken: Examples = examples["train"].take([1, 2])
    assert taken.targets.tolist() == [1, 3]
