"""Built-in tasks."""

from eicompress.contracts import Task
from eicompress.hookspecs import hookimpl
from eicompress.tasks.classification import Classification, PairClassification


@hookimpl
def register_tasks() -> list[type[Task]]:
    return [Classification, PairClassification]
