"""Data on which an artifact is measured after it was made: rows under its own labels."""

from eicompress.contracts import Examples, Task
from eicompress.data.datasets import read_tables
from eicompress.errors import DataError, nearest
from eicompress.plugins import Registry
from eicompress.runtime import Model
from eicompress.spec import Spec


def rows_for(model: Model, spec: Spec, registry: Registry) -> tuple[str, Task, Examples]:
    """The split to measure an artifact on, the last that the data has; the task under the artifact's own labels; and
    the examples. Raises `SpecError` and `DataError`.
    """
    if model.pairs and not spec.settings["text_pair"]:
        spec = Spec({**spec.settings, "text_pair": "text_pair"})
    task, labels = registry.task(spec.task_name), model.labels
    tables = read_tables(spec.data)
    split = next(name for name in ("test", "validation", "train") if name in tables)
    rows, column = tables[split].rows, spec.columns["label"]
    for at, row in enumerate(rows, start=1):
        for name in spec.columns.values():
            if row.get(name) is None:
                raise DataError(
                    f"every row of `{tables[split].origin}` must have `{name}`, but row {at} has not: "
                    f"{nearest(name, row)}"
                )
        if str(row[column]) not in labels:
            raise DataError(
                f"every label must be one of the artifact's, but row {at} of `{tables[split].origin}` has "
                f"`{row[column]}`: {nearest(str(row[column]), labels)}"
            )
    # A task numbers the labels of its training rows: here, one row for each label that the artifact knows.
    known = [{**rows[0], column: label} for label in labels]
    made, examples = task.read({"train": known, "measured": rows}, spec.columns)
    if made.labels != labels:
        raise DataError(f"the artifact must number its labels as `{spec.task_name}` does, but does not")
    return split, made, examples["measured"]
