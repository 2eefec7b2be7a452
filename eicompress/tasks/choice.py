"""The task of rows, where none is named."""

from collections.abc import Mapping, Sequence

from eicompress.contracts import Task
from eicompress.errors import listed
from eicompress.tasks.classification import Classification, PairClassification
from eicompress.tasks.embedding import Embedding, are_texts_alone
from eicompress.tasks.intent_and_slots import IntentAndSlotsTask, are_intents_and_tags
from eicompress.tasks.multi_label_classification import MultiLabelClassification, are_lists
from eicompress.tasks.question_answering import QuestionAnswering, are_questions
from eicompress.tasks.regression import Regression, are_numbers
from eicompress.tasks.token_classification import TokenClassification, is_meant
from eicompress.values import Json


def task_of(rows: Sequence[Json], columns: Mapping[str, str]) -> tuple[type[Task], str]:
    """The built-in task of rows, where none is named, and what a user should know of the choice; `columns` by role."""
    if are_questions(rows[0], columns):
        names = listed(QuestionAnswering.columns_in(rows[0], columns).values())
        return QuestionAnswering, f"The rows have {names}, so the task is `{QuestionAnswering.name}`."
    if are_intents_and_tags(rows[0], columns):
        named = IntentAndSlotsTask.columns_in(rows[0], columns)
        return (
            IntentAndSlotsTask,
            f"The rows have `{named['text']}`, `{named['tags']}` and `{named['label']}`, so the task is "
            f"`{IntentAndSlotsTask.name}`.",
        )
    if is_meant(rows, columns):
        text, label = (TokenClassification.columns_in(rows[0], columns)[role] for role in ("text", "label"))
        return (
            TokenClassification,
            f"The rows have `{text}` and `{label}`, so the task is `{TokenClassification.name}`.",
        )
    if are_texts_alone(rows[0], columns):
        return Embedding, f"The rows have texts alone, so the task is `{Embedding.name}`."
    label = MultiLabelClassification.columns_in(rows[0], columns)["label"]
    if are_lists([row.get(label) for row in rows]):
        name = MultiLabelClassification.name
        return MultiLabelClassification, f"The rows have lists in `{label}`, so the task is `{name}`."
    label, pair = columns.get("label", "label"), columns.get("text_pair", "text_pair")
    if are_numbers(row.get(label) for row in rows):
        return Regression, f"The labels are numbers, most of them with a fraction, so the task is `{Regression.name}`."
    return PairClassification if pair in rows[0] else Classification, ""
