import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from eicompress.contracts import Examples
from eicompress.errors import DataError
from eicompress.plugins import discover
from eicompress.spec import read as read_spec
from eicompress.tasks.choice import task_of
from eicompress.tasks.classification import Classification, PairClassification
from eicompress.tasks.embedding import Embedding
from eicompress.tasks.regression import Regression
from eicompress.trials.task_data import TaskData, read_data

NAMES = {"text": "text", "text_pair": "text_pair", "label": "label"}
PAIRS = [{"text": f"one {at}", "text_pair": f"other {at}", "label": at / 7} for at in range(12)]


def read_rows(folder: Path, rows: list[dict[str, object]], **settings: str) -> TaskData:
    (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return read_data(discover(), read_spec({"model": "-", "data": str(folder / "train.jsonl"), **settings}))


def test_a_pair_is_two_texts_with_the_same_number_and_score() -> None:
    _, splits = Embedding.read({"train": PAIRS}, NAMES)
    examples = splits["train"]
    assert examples.texts[:4] == ("one 0", "other 0", "one 1", "other 1")
    assert examples.targets[:4].tolist() == [[0, 0], [0, 0], [1, pytest.approx(1 / 7)], [1, pytest.approx(1 / 7)]]


def test_single_texts_are_paired_by_chance_the_same_way_each_time() -> None:
    rows = [{"text": f"text {at}"} for at in range(9)]
    first, again = (Embedding.read({"train": rows}, {"text": "text"})[1]["train"].targets for _ in range(2))
    assert np.array_equal(first, again, equal_nan=True) and np.isnan(first[:, 1]).all()
    assert np.bincount(first[:, 0].astype(int)).tolist() == [2, 2, 2, 2, 1]


def test_texts_alone_are_found_to_be_meant() -> None:
    assert task_of([{"text": "a"}], NAMES)[0] is Embedding
    assert task_of([{"text": "a", "text_pair": "b"}], NAMES)[0] is Embedding
    assert task_of([{"text": "a", "intent": "b"}], NAMES)[0] is Classification, "which asks for its label"
    assert task_of([{"text": "a", "text_pair": "b", "label": "c"}], NAMES)[0] is PairClassification
    assert task_of(PAIRS, NAMES)[0] is Regression


def test_a_class_beside_a_text_is_not_read(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": f"text {at}", "label": "music"} for at in range(40)]
    assert np.isnan(read_rows(tmp_path, rows, task="embedding").examples["train"].targets[:, 1]).all()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "label": 0.5}, "must have the column `text_pair`, but has `text`, `label`"),
        ({"text": "a", "text_pair": "b", "label": "near"}, "row 1, column `label`, must be a finite number, but got"),
        ({"text": "a", "text_pair": "b", "label": float("nan")}, "row 1, column `label`, must not be empty"),
        ({"text": "a", "text_pair": "b", "label": float("inf")}, "row 1, column `label`, must be a finite number"),
        ({"text": "a", "text_pair": ["b"], "label": 0.5}, "row 1, column `text_pair`, must be text"),
    ],
)
def test_what_is_no_pair_with_a_score_is_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path, [row] * 40, task="embedding")


def test_scores_that_do_not_differ_are_refused() -> None:
    rows = [{**row, "label": 1.0} for row in PAIRS]
    with pytest.raises(
        DataError, match="`validation` must have different scores in column `label`, but every row says"
    ):
        Embedding.read({"train": PAIRS, "validation": rows}, NAMES)


def test_quality_is_spearmans_correlation_and_no_worse_than_none() -> None:
    task, splits = Embedding.read({"train": PAIRS}, NAMES)
    targets = splits["train"].targets
    logits = np.random.default_rng(3).normal(size=(24, 5)).astype(np.float32)
    cosines = [
        np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(logits[::2], logits[1::2], strict=True)
    ]
    wanted = spearmanr(cosines, targets[::2, 1]).statistic
    assert task.score(logits, targets) == pytest.approx(max(0.0, wanted))
    flipped = targets * [1, -1]
    assert max(task.score(logits, targets), task.score(logits, flipped)) == pytest.approx(abs(wanted))
    assert min(task.score(logits, targets), task.score(logits, flipped)) == 0.0
    assert task.beside(logits, targets)["pearson"] == pytest.approx(pearsonr(cosines, targets[::2, 1]).statistic)
    loss = task.loss(torch.from_numpy(logits), torch.from_numpy(targets))
    assert loss.item() == pytest.approx(1 - pearsonr(cosines, targets[::2, 1]).statistic, abs=1e-5)


def test_texts_whose_partners_are_elsewhere_have_no_quality_and_no_loss() -> None:
    task, splits = Embedding.read({"train": PAIRS}, NAMES)
    alone = splits["train"].take(range(0, 24, 2))
    logits = np.ones((12, 3), np.float32)
    assert task.score(logits, alone.targets) == 0.0 and task.correct(logits, alone.targets).tolist() == [0.0] * 12
    assert task.loss(torch.from_numpy(logits), torch.from_numpy(alone.targets)) == 0
    assert task.beside(logits, alone.targets) == {} and "must have a score" in task.unmeasurable(alone)
    assert task.unmeasurable(Examples(splits["train"].texts, splits["train"].targets)) == ""


def test_what_is_left_of_the_quality_in_the_first_dimensions_is_shown() -> None:
    task, splits = Embedding.read({"train": PAIRS}, NAMES)
    targets = splits["train"].targets
    logits = np.random.default_rng(5).normal(size=(24, 16)).astype(np.float32)
    logits[:, 0] += np.linspace(0, 9, 24)
    shown = task.sized(16).beside(logits, targets)
    assert set(shown) == {"pearson", "spearman_8", "spearman_4", "spearman_2"}
    assert shown["spearman_4"] == task.score(logits[:, :4], targets) != task.score(logits, targets)
    assert set(task.sized(4096).beside(logits, targets)) == {"pearson"}, "these are not vectors of the task"
