"""Built-in tasks."""

from collections.abc import Iterable

from eicompress.answers import Answer, Number
from eicompress.contracts import Task
from eicompress.hookspecs import hookimpl
from eicompress.tasks.classification import Classification, PairClassification
from eicompress.tasks.regression import Regression, are_numbers


@hookimpl
def register_tasks() -> list[type[Task]]:
    return [Classification, PairClassification, Regression]


def task_of(labels: Iterable[object], *, pairs: bool) -> type[Task]:
    """The built-in task of rows with these labels, where none is named."""
    if are_numbers(labels):
        return Regression
    return PairClassification if pairs else Classification


def task_answering(answer: Answer, *, pairs: bool) -> type[Task]:
    """The built-in task whose artifacts answer so."""
    if isinstance(answer, Number):
        return Regression
    return PairClassification if pairs else Classification
