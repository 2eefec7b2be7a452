"""Data for measuring a finished artifact: rows under the artifact's own answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from eicompress.answers import MultiTask
from eicompress.contracts import Examples, Task
from eicompress.data.datasets import Table, check_rows, read_tables
from eicompress.data.outside import read_outside, texts_of
from eicompress.errors import DataError, SpecError, listed
from eicompress.plugins import Registry
from eicompress.runtime import Model
from eicompress.spec import Spec
from eicompress.tasks import judged_by, task_answering
from eicompress.tasks.classification import Classification
from eicompress.tasks.multi_task import MEAN_ACCURACY, MEAN_SHARE, MultiTaskClassification
from eicompress.trials.task_data import JOINED, check_tasks, columns_of_task, named_rows
from eicompress.values import Json


def rows_for(model: Model, spec: Spec, registry: Registry) -> tuple[str, Task, Examples]:
    """The split to measure an artifact on, the last that the data has; the task under the artifact's own answer; and
    the examples. Of several tasks, those that have data. Raises `SpecError` and `DataError`.
    """
    if isinstance(model.answer, MultiTask) or spec.tasks:
        return _rows_of_tasks(model, spec)
    task = registry.task(spec.settings["task"] or task_answering(model.answer, pairs=model.pairs).name)
    tables = read_tables(spec.data)
    split = _last(tables)
    rows = tables[split].rows
    there = {name: value for name, value in next(iter(rows), {}).items() if name != "text_pair" or model.answer.unit}
    columns = task.columns_in(there, {**({"text_pair": "text_pair"} if model.pairs else {}), **spec.columns})
    check_rows(tables[split], columns, task.cell_refusal)
    made, found = _read(task, rows, columns, tables[split].origin, model)
    outside = read_outside(spec.data, columns, task.cell_refusal) if made.answer.may_reject else {}
    found = replace(found, outside=texts_of(outside[split], columns) if split in outside else ())
    if why := made.unmeasurable(found):
        raise DataError(f"`{tables[split].origin}` {why}")
    return split, judged_by(made, spec.settings["quality"]), found


def _read(
    task: type[Task], rows: Sequence[Json], columns: Mapping[str, str], origin: str, model: Model
) -> tuple[Task, Examples]:
    """The task that the artifact answers, and the rows as its examples."""
    known = model.answer.readable_rows(rows, columns, origin)
    read, examples = task.read({"train": known, "measured": rows}, columns)
    made = read.sized(model.answer.outputs)
    if made.answer.names != model.answer.names:
        raise DataError(f"the artifact must number its labels as `{task.name}` does, but does not")
    return made, examples["measured"]


def _last(tables: Mapping[str, Table]) -> str:
    return next(name for name in ("test", "validation", "train") if name in tables)


def _rows_of_tasks(model: Model, spec: Spec) -> tuple[str, Task, Examples]:
    """The same of an artifact of several tasks, on the last split that the data sets of all tasks have."""
    if not isinstance(model.answer, MultiTask):
        raise SpecError(
            f"`--data` must have no task's name for an artifact of one task, but got `{spec.data}`: give the data alone"
        )
    if not spec.tasks:
        known = listed(each.name for each in model.answer.parts)
        raise SpecError(
            f"`--data` must have the name of one of the artifact's tasks, NAME=DATA ({known}), but got `{spec.data}`"
        )
    check_tasks(spec)
    if spec.settings["quality"] == MEAN_SHARE:
        raise SpecError(
            f"`--quality` must be {MEAN_ACCURACY} where no teacher stands beside the artifact, but got {MEAN_SHARE}: "
            "leave it out"
        )
    tables = {name: read_tables(source) for name, source in spec.tasks.items()}
    split = _last(
        {
            name: each
            for name, each in next(iter(tables.values())).items()
            if all(name in one for one in tables.values())
        }
    )
    rows: list[Json] = []
    for name, own in tables.items():
        columns = columns_of_task(name, own[split], spec)
        check_rows(own[split], columns, Classification.cell_refusal)
        rows += named_rows(name, tuple(own[split].rows), columns)
    made, found = _read(MultiTaskClassification, rows, JOINED, split, model)
    return split, judged_by(made.without_teacher(), spec.settings["quality"]), found
