"""An artifact's own task on other data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eicompress.answers import MultiTask
from eicompress.contracts import Examples, Task
from eicompress.data.datasets import Table, check_rows, read_tables
from eicompress.data.outside import read_outside, texts_of
from eicompress.errors import DataError, SpecError, listed
from eicompress.measures import Conditions, Subject
from eicompress.plugins import Registry
from eicompress.runtime import Model
from eicompress.spec import Spec
from eicompress.tasks import judged_by, task_answering
from eicompress.tasks.multi_task import MEAN_QUALITY, MEAN_SHARE, SeveralTasks
from eicompress.values import Artifact


@dataclass(frozen=True)
class Rows:
    """What an artifact is measured on."""

    split: str
    """The last that the data has."""
    task: Task
    """Under the artifact's own answer."""
    examples: Examples
    tasks: tuple[str, ...] = ()
    """Of an artifact of several tasks those that have data, in the order of the task's outputs."""


def rows_for(model: Model, spec: Spec, registry: Registry) -> Rows:
    """The rows to measure an artifact on. Of several tasks, those that have data: one alone is measured as that of an
    artifact of this task. An artifact of one task takes data with a task's name too, so that it can be compared with
    one of several. Raises `SpecError`, `DataError` and `ModelError`.
    """
    tasks = spec.tasks
    if isinstance(model.answer, MultiTask):
        if not tasks:
            known = listed(each.name for each in model.answer.parts)
            raise SpecError(
                f"`--data` must have the name of one of the artifact's tasks, NAME=DATA ({known}), but got "
                f"`{spec.data}`"
            )
        if len(tasks) > 1:
            return _of_several(model, spec, registry)
        (name,) = tasks
        return replace(rows_for(model.of_task(name), spec.of_task(name), registry), tasks=(name,))
    if len(tasks) > 1:
        raise SpecError(f"`--data` must be of one task for an artifact of one task, but got `{spec.data}`: leave one")
    own = spec.of_task(*tasks) if tasks else spec
    tables = read_tables(own.data)
    split = _last(tables)
    task, examples = _read(model, own, registry, tables[split], split)
    if why := task.unmeasurable(examples):
        raise DataError(f"`{tables[split].origin}` {why}")
    return Rows(split, judged_by(task, spec.settings["quality"]), examples)


def subject_of(artifact: Artifact, rows: Rows, conditions: Conditions) -> Subject:
    """The artifact as it is measured on these rows."""
    return Subject(artifact, rows.task, rows.examples, rows.split, conditions, tasks=rows.tasks)


def _of_several(model: Model, spec: Spec, registry: Registry) -> Rows:
    """The same of several tasks together, on the last split that the data sets of all of them have."""
    if spec.settings["quality"] == MEAN_SHARE:
        raise SpecError(
            f"`--quality` must be {MEAN_QUALITY} where no teacher stands beside the artifact, but got {MEAN_SHARE}: "
            "leave it out"
        )
    tables = {name: read_tables(source) for name, source in spec.tasks.items()}
    split = _last(*tables.values())
    read = {}
    for name, each in tables.items():
        try:
            task, examples = _read(model.of_task(name), spec.of_task(name), registry, each[split], split)
        except DataError as error:
            raise DataError(f"task `{name}`: {error}") from error
        read[name] = task, {split: examples}
    joined, found = SeveralTasks.joined(read)
    judged = judged_by(joined.without_teacher(), spec.settings["quality"])
    return Rows(split, judged, found[split], tuple(name for name, _ in joined.tasks))


def _read(model: Model, spec: Spec, registry: Registry, table: Table, split: str) -> tuple[Task, Examples]:
    """The task that an artifact answers, and the rows of a split as its examples."""
    kind, rows = registry.task(spec.task or task_answering(model.answer, pairs=model.pairs).name), table.rows
    there = {name: value for name, value in next(iter(rows), {}).items() if name != "text_pair" or model.answer.unit}
    columns = kind.columns_in(there, {**({"text_pair": "text_pair"} if model.pairs else {}), **spec.columns})
    check_rows(table, columns, kind.cell_refusal)
    known = model.answer.readable_rows(rows, columns, table.origin)
    read, examples = kind.read({"train": known, "measured": rows}, columns)
    task = read.sized(model.answer.outputs)
    if task.answer.names != model.answer.names:
        raise DataError(f"the artifact must number its labels as `{kind.name}` does, but does not")
    outside = read_outside(spec.data, columns, kind.cell_refusal) if task.answer.may_reject else {}
    texts = texts_of(outside[split], columns) if split in outside else ()
    return task, replace(examples["measured"], outside=texts)


def _last(*tables: Mapping[str, Table]) -> str:
    """The last split that all have."""
    return next(name for name in ("test", "validation", "train") if all(name in each for each in tables))
