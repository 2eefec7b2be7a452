import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eicompress.answers import AnswerSpan
from eicompress.errors import DataError, SpecError
from eicompress.plugins import discover
from eicompress.spec import read as read_spec
from eicompress.tasks import judged_by, task_answering
from eicompress.tasks.choice import task_of
from eicompress.tasks.question_answering import QuestionAnswering
from eicompress.training.losses import answer_loss, answer_losses
from eicompress.trials.task_data import TaskData, read_data

CONTEXT = "Ada Byron (born in 1815) wrote it."
ROW = {"question": "Who wrote it?", "context": CONTEXT, "answers": {"text": ["Ada Byron"], "answer_start": [0]}}
BORN = {"question": "When?", "context": CONTEXT, "answers": {"text": ["1815", "in 1815"], "answer_start": [19, 16]}}
SILENT = {"question": "Where?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}}


def read(*rows: dict[str, Any], **more: list[dict[str, Any]]) -> tuple[QuestionAnswering, Any]:
    columns = QuestionAnswering.columns_in(rows[0], {"text": "text", "label": "label"})
    task, examples = QuestionAnswering.read({"train": rows, **more}, columns)
    return task, examples["train"]


def from_file(folder: Path, *rows: dict[str, Any]) -> TaskData:
    lines = [json.dumps(row) for row in (*[{**ROW, "question": f"Who wrote {at}?"} for at in range(12)], *rows)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return read_data(discover(), read_spec({"model": "-", "data": str(folder / "train.jsonl")}))


def sure_of(examples: Any, slots: list[tuple[int, int]]) -> np.ndarray:
    logits = np.full((len(examples), 12, 2), -3.0, np.float32)
    for row, (first, last) in enumerate(slots):
        logits[row, first, 0] = logits[row, last, 1] = 3.0
    return logits


def test_rows_of_squad_are_known_by_their_columns(tmp_path: Path) -> None:
    data = from_file(tmp_path)
    assert isinstance(data.task, QuestionAnswering) and not data.task.unanswerable
    assert "`question`, `context`, `answers`, so the task is `question_answering`" in data.notes[0]
    assert data.examples["train"].texts[0] == ("Who wrote 0?", CONTEXT)
    assert task_answering(AnswerSpan(), pairs=True) is QuestionAnswering
    assert task_of([{"text": "a", "label": "b"}], {})[0] is not QuestionAnswering


def test_columns_may_have_other_names() -> None:
    assert QuestionAnswering.columns_in({"q": "", "context": "", "answers": {}}, {"text": "q", "label": "label"}) == {
        "text": "q",
        "text_pair": "context",
        "label": "answers",
    }
    plain = {role: role for role in QuestionAnswering.columns}
    assert QuestionAnswering.columns_in({"text": "", "label": {}}, plain) == plain


def test_quality_is_f1_or_exact_match_over_all_references() -> None:
    task, examples = read(ROW, BORN)
    logits = sure_of(examples, [(1, 1), (5, 6)])
    assert task.correct(logits, examples.targets).tolist() == [pytest.approx(2 / 3), 1.0]
    assert task.beside(logits, examples.targets) == {"exact_match": 0.5}
    exact = judged_by(task, "exact_match")
    assert exact.score(logits, examples.targets) == 0.5
    assert exact.beside(logits, examples.targets) == {"f1": pytest.approx(5 / 6)}
    with pytest.raises(SpecError, match="must be one of `f1`, `exact_match`"):
        judged_by(task, "accuracy")


def test_the_loss_is_over_words_that_were_read_and_over_no_answer_where_there_may_be_none() -> None:
    task, examples = read(ROW, BORN)
    logits = torch.ones(2, 14, 2)
    logits[:, 12:] = 0.0
    targets = torch.from_numpy(examples.targets)
    assert float(task.loss(logits, targets)) == pytest.approx(np.log(11)), "11 words and marks were read"
    other, silent = read(ROW, SILENT)
    assert other.unanswerable
    assert float(other.loss(logits, torch.from_numpy(silent.targets))) == pytest.approx(np.log(12))
    logits[0, 1:3] = 0.0
    assert float(task.loss(logits[:1], targets[:1])) == 0.0, "an answer that was not read teaches nothing"


def test_a_student_learns_where_its_teachers_answers_begin_and_end() -> None:
    torch.manual_seed(0)
    answer, student, teacher = AnswerSpan(), torch.randn(3, 9, 2), torch.randn(3, 12, 2)
    same = answer_loss(answer, teacher[:, :9], teacher, 2.0)
    assert float(same) == pytest.approx(0.0, abs=1e-6)
    assert float(answer_losses(answer, student, teacher).mean()) == pytest.approx(
        float(answer_loss(answer, student, teacher, 1.0))
    )
    louder = student.clone()
    louder[:, 0] = 50.0
    assert float(answer_loss(answer, louder, teacher, 1.0)) == pytest.approx(
        float(answer_loss(answer, student, teacher, 1.0))
    )
    assert float(answer_loss(AnswerSpan(0.5), louder, teacher, 1.0)) > 1.0, "no answer counts where it may be right"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("Ada", "must be an object with the lists `text` and `answer_start`"),
        ({"text": ["Ada"], "answer_start": []}, "must have as many places"),
        ({"text": [" "], "answer_start": [0]}, "must have answers that are texts and not empty"),
        ({"text": ["Ada"], "answer_start": ["0"]}, "must have whole numbers in `answer_start`"),
        ({"text": ["Bonn"], "answer_start": [0]}, "must have answers that stand in `context`, but `Bonn` does not"),
        ({"text": ["1815"], "answer_start": [18]}, "must have `1815` at its place in `context`, such as 19, not 18"),
    ],
)
def test_answers_that_the_context_does_not_have_are_refused(tmp_path: Path, answers: object, message: str) -> None:
    with pytest.raises(DataError, match=r"`train.jsonl`, row 13, column `answers`") as error:
        from_file(tmp_path, {**ROW, "answers": answers})
    assert message in str(error.value)


def test_missing_columns_and_cells_are_named(tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name != "context"}
    (tmp_path / "train.jsonl").write_text("\n".join([json.dumps(row)] * 12))
    spec = read_spec({"model": "-", "data": str(tmp_path / "train.jsonl"), "task": "question_answering"})
    with pytest.raises(DataError, match="must have the column `context`, but has `question`, `answers`"):
        read_data(discover(), spec)
    with pytest.raises(DataError, match="row 13, column `question`, must not be empty"):
        from_file(tmp_path, {**ROW, "question": " "})


def test_questions_without_an_answer_must_be_in_train_too() -> None:
    with pytest.raises(DataError, match="1 are in `validation` alone, such as row 1"):
        read(ROW, validation=[SILENT])
    with pytest.raises(DataError, match="must have answers in column `answers`"):
        read(SILENT)
    assert read(ROW, SILENT, validation=[SILENT])[0].unanswerable
