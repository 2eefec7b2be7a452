import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eicompress.answers.entities import CONTINUED, NONE
from eicompress.errors import DataError
from eicompress.metrics.quality import difference_of
from eicompress.plugins import discover
from eicompress.spec import read as read_spec
from eicompress.tasks import task_answering
from eicompress.tasks.choice import task_of
from eicompress.tasks.classification import Classification
from eicompress.tasks.token_classification import TokenClassification
from eicompress.trials.task_data import TaskData, read_data

ROW = {"tokens": ["meet", "Ada", "Byron", "in", "Bonn"], "tags": ["O", "B-per", "I-per", "O", "B-loc"]}


def read(rows: list[dict[str, Any]], **columns: str) -> tuple[TokenClassification, Any]:
    named = TokenClassification.columns_in(rows[0], columns)
    task, examples = TokenClassification.read({"train": rows}, named)
    return task, examples["train"]


def from_file(folder: Path, *rows: dict[str, Any]) -> TaskData:
    lines = [
        json.dumps(row) for row in (*[{**ROW, "tokens": [*ROW["tokens"][:-1], f"x{at}"]} for at in range(12)], *rows)
    ]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return read_data(discover(), read_spec({"model": "-", "data": str(folder / "train.jsonl")}))


def test_tokens_with_tags_and_a_text_with_spans_are_the_same_examples() -> None:
    text = "meet Ada Byron in Bonn"
    entities = [{"start": 5, "end": 14, "label": "per"}, {"start": 18, "end": 22, "label": "loc"}]
    task, examples = read([ROW])
    other, spans = read([{"text": text, "entities": entities}])
    assert task == other and task.tags == ("O", "B-loc", "B-per", "I-loc", "I-per")
    assert examples.texts == spans.texts == (text,)
    assert examples.targets.tolist() == spans.targets.tolist() == [[0, 2, 4, 0, 1]]


def test_a_token_of_several_words_counts_once_and_goes_on_with_its_tag() -> None:
    task, examples = read([{"tokens": ["O'Brien", "!"], "tags": ["B-per", "O"]}, {"tokens": ["no"], "tags": ["O"]}])
    assert task.tags == ("O", "B-per", "I-per")
    assert examples.targets.tolist() == [[1, CONTINUED - 2, CONTINUED - 2, 0], [0, NONE, NONE, NONE]]
    loss = task.loss(torch.zeros(2, 5, 3), torch.from_numpy(examples.targets))
    assert float(loss) == pytest.approx(np.log(3)), "what goes on is learned too, and what is no word is not"


def test_a_texts_quality_is_its_f1_and_that_of_a_text_without_entities_is_one() -> None:
    task, examples = read([ROW, {"tokens": ["no"], "tags": ["O"]}])
    logits = np.zeros((2, 5, 5), np.float32)
    logits[0, [0, 1, 2, 3, 4], [0, 2, 4, 0, 0]] = 1
    assert task.correct(logits, examples.targets).tolist() == [pytest.approx(2 / 3), 1.0]
    assert task.score(logits, examples.targets) == pytest.approx(2 / 3)


def test_tags_without_a_beginning_are_runs_of_words() -> None:
    task, examples = read([{"tokens": ["Ada", "Byron", "in", "Bonn"], "tags": ["I-per", "I-per", "O", "I-loc"]}])
    assert task.tags == ("O", "I-loc", "I-per")
    logits = np.eye(3, dtype=np.float32)[examples.targets]
    assert task.answer.counts(examples.targets, logits).tolist() == [[2, 2, 2]]


def test_the_task_is_found_from_the_columns_and_said() -> None:
    kind, note = task_of([ROW], {"text": "text", "label": "label"})
    assert (
        kind is TokenClassification
        and note == "The rows have `tokens` and `tags`, so the task is `token_classification`."
    )
    assert task_of([{"text": "a", "entities": []}], {})[0] is TokenClassification
    entities = [{"start": 0, "end": 1, "label": "x"}]
    assert task_of([{"text": "b", "label": []}, {"text": "a", "label": entities}], {})[0] is TokenClassification
    assert task_of([{"text": "a", "found": entities}], {"label": "found"})[0] is TokenClassification
    assert task_of([{"text": "a", "label": "b", **ROW}], {})[0] is Classification, "as it was before"
    assert task_of([{"text": "a", "label": "b", **ROW}], {"label": "tags"})[0] is TokenClassification
    assert task_answering(read([ROW])[0].answer, pairs=False) is TokenClassification


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, r"column `tags`, must have a tag for each of the 2 in `tokens`, not 1"),
        ({"tokens": ["a", "b"], "tags": ["B-per", "I-loc"]}, r"column `tags`, must have `B-loc` before `I-loc`"),
        ({"tokens": ["a"], "tags": ["per"]}, r"column `tags`, must have tags that are `O` or begin with"),
        ({"tokens": ["a"], "tags": "O"}, r"column `tags`, must be a list of tags"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, r"column `tokens`, must have tokens with a character each"),
        ({"tokens": [], "tags": []}, r"column `tokens`, must not be empty"),
        ({"tokens": [1], "tags": ["O"]}, r"column `tokens`, must be text or a list of tokens"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_its_file(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=rf"`train.jsonl`, row 13, {said}"):
        from_file(tmp_path, row)


@pytest.mark.parametrize(
    ("entity", "said"),
    [
        (
            {"start": 5, "end": 90, "label": "per"},
            r"must have entities inside of the text, which has 14 characters, not 5",
        ),
        ({"start": -1, "end": 3, "label": "per"}, r"must have entities inside of the text"),
        ({"start": 6, "end": 14, "label": "per"}, r"must have entities of whole words, not 6 to 14"),
        ({"start": 4, "end": 5, "label": "per"}, r"must have entities of whole words"),
        ({"start": "5", "end": 8, "label": "per"}, r"must have entities with whole numbers"),
        ({"start": 0, "end": 8, "label": "per"}, r"must have entities that do not overlap"),
    ],
)
def test_an_entity_must_be_words_of_the_text(tmp_path: Path, entity: dict[str, Any], said: str) -> None:
    good = [{"text": f"meet Ada Byron {at}", "entities": [{"start": 5, "end": 14, "label": "per"}]} for at in range(12)]
    bad = {"text": "meet Ada Byron", "entities": [{"start": 5, "end": 8, "label": "per"}, entity]}
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(row) for row in [*good, bad]))
    with pytest.raises(DataError, match=rf"`train.jsonl`, row 13, column `entities`, {said}"):
        read_data(discover(), read_spec({"model": "-", "data": str(tmp_path / "train.jsonl")}))


def test_an_entity_that_only_goes_on_is_refused_where_others_begin(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must begin with `B-per`, as others in the data do, but one in row"):
        read([ROW, {"tokens": ["Ada"], "tags": ["I-per"]}])
    with pytest.raises(DataError, match=r"known from the training rows, but row 1 of `test` has `B-org`"):
        TokenClassification.read(
            {"train": [ROW], "test": [{"tokens": ["a"], "tags": ["B-org"]}]}, {"text": "tokens", "label": "tags"}
        )
    with pytest.raises(DataError, match="must have entities"):
        read([{"tokens": ["a"], "tags": ["O"]}])


def test_two_models_are_compared_by_the_counts_of_their_texts_in_a_moment() -> None:
    task, examples = read([{**ROW, "tokens": [*ROW["tokens"][:-1], f"x{at}"]} for at in range(2000)])
    right = np.eye(5, dtype=np.float32)[examples.targets]
    wrong = right.copy()
    wrong[:500, 4] = np.eye(5)[0]
    found = difference_of(task, wrong, right, examples.targets)
    assert found.mean == pytest.approx(task.score(wrong, examples.targets) - 1)
    assert found.low < found.mean < found.high < 0
