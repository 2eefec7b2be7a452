"""Built-in tasks."""

from dataclasses import replace
from typing import Any, cast

from eicompress.answers import Answer, AnswerSpan, IntentAndSlots, LabelSet, MultiTask, Number, Tags, Vector
from eicompress.contracts import Task
from eicompress.errors import SpecError, listed
from eicompress.hookspecs import hookimpl
from eicompress.tasks.classification import Classification, PairClassification
from eicompress.tasks.embedding import Embedding
from eicompress.tasks.intent_and_slots import IntentAndSlotsTask
from eicompress.tasks.multi_label_classification import MultiLabelClassification
from eicompress.tasks.multi_task import SeveralTasks
from eicompress.tasks.question_answering import QuestionAnswering
from eicompress.tasks.regression import Regression
from eicompress.tasks.token_classification import TokenClassification


@hookimpl
def register_tasks() -> list[type[Task]]:
    return [
        Classification,
        PairClassification,
        Embedding,
        IntentAndSlotsTask,
        MultiLabelClassification,
        SeveralTasks,
        QuestionAnswering,
        Regression,
        TokenClassification,
    ]


def judged_by(task: Task, quality: str) -> Task:
    """The task with the quality that is to be maximised; empty for its own. Raises `SpecError` for one it lacks."""
    if quality in ("", task.quality):
        return task
    known = task.qualities or (task.quality,)
    if quality not in known:
        raise SpecError(
            f"`--quality` must be one of {listed(known)} for the task `{task.name}`, but got `{quality}`: name one of "
            "them"
        )
    return cast(Task, replace(cast(Any, task), quality=quality))


def task_answering(answer: Answer, *, pairs: bool) -> type[Task]:
    """The built-in task whose artifacts answer so."""
    if isinstance(answer, LabelSet):
        return MultiLabelClassification
    if isinstance(answer, Number):
        return Regression
    if isinstance(answer, AnswerSpan):
        return QuestionAnswering
    if isinstance(answer, Vector):
        return Embedding
    if isinstance(answer, IntentAndSlots):
        return IntentAndSlotsTask
    if isinstance(answer, Tags):
        return TokenClassification
    if isinstance(answer, MultiTask):
        return SeveralTasks
    return PairClassification if pairs else Classification
