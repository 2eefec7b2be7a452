"""Data as a task's examples: one data set, or one for each of several tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eicompress.contracts import Examples, Task
from eicompress.data.datasets import Table, dataset_from_tables, read_tables
from eicompress.data.outside import read_outside, texts_of
from eicompress.errors import DataError, SpecError
from eicompress.plugins import Registry
from eicompress.spec import Spec
from eicompress.tasks import judged_by
from eicompress.tasks.choice import task_of
from eicompress.tasks.multi_task import SeveralTasks
from eicompress.values import digest_of


@dataclass(frozen=True)
class TaskData:
    """A data set as a task reads it."""

    task: Task
    examples: Mapping[str, Examples]
    digest: str
    notes: tuple[str, ...]


def read_data(registry: Registry, spec: Spec) -> TaskData:
    """The splits of a spec's data; without the name of a task, columns and labels decide.

    Raises `SpecError` and `DataError`.
    """
    if spec.tasks:
        return _read_tasks(registry, spec)
    read, named = _read_alone(registry, spec)
    judged = judged_by(read.task, spec.settings["quality"])
    outside = read_outside(spec.data, named, read.task.cell_refusal) if judged.answer.may_reject else {}
    others = {split: texts_of(table, named) for split, table in outside.items()}
    examples = {**read.examples, **{name: replace(read.examples[name], outside=each) for name, each in others.items()}}
    chosen = [*([] if judged.quality == read.task.quality else [judged.quality]), *([others] if others else [])]
    return TaskData(
        judged, examples, digest_of([read.digest, read.task.name, *chosen]), (*read.notes, *_of_outside(outside))
    )


def _read_alone(registry: Registry, spec: Spec) -> tuple[TaskData, Mapping[str, str]]:
    """One data set, without texts that belong to no label; and where each role is read."""
    tables = read_tables(spec.data)
    kind, note = (registry.task(spec.task), "") if spec.task else task_of(tables["train"].rows, spec.columns)
    named = kind.columns_in(tables["train"].rows[0], spec.columns)
    dataset = dataset_from_tables(tables, named, spec.data, spec.seed, kind.cell_refusal, spec.rows)
    if len(tables) < len(dataset.splits):
        # Whatever is refused is refused of the file, however it is cut, and its rows have their own numbers.
        kind.read({"train": tables["train"].rows}, named)
    task, examples = kind.read(dataset.splits, named)
    notes = (*([note] if note else []), *dataset.notes)
    return TaskData(task, examples, dataset.digest, notes), named


def _of_outside(outside: Mapping[str, Table]) -> list[str]:
    """What a user should know of the texts that belong to no label."""
    if not outside:
        return []
    counts = " and ".join(f"{len(table.rows):,} in `{table.origin}`" for table in outside.values())
    how = "chosen on those of validation" if "validation" in outside else "measured on them, but chosen without them"
    return [f"Texts that belong to no label: {counts}. The threshold of `predict --reject` is {how}."]


def _read_tasks(registry: Registry, spec: Spec) -> TaskData:
    """The data sets of several tasks as one, each read as it is alone."""
    if len(spec.tasks) < 2:
        raise SpecError(f"several tasks must be two or more, but got `--data {spec.data}` alone: leave its name out")
    read = {}
    for name in spec.tasks:
        try:
            read[name], _ = _read_alone(registry, spec.of_task(name))
        except DataError as error:
            raise DataError(f"task `{name}`: {error}") from error
    task, examples = SeveralTasks.joined({name: (each.task, each.examples) for name, each in read.items()})
    judged = judged_by(task, spec.settings["quality"])
    kinds = sorted((name, each.task.name, each.digest) for name, each in read.items())
    digest = digest_of([kinds, task.name, judged.quality])
    notes = tuple(f"{name}: {note}" for name, each in read.items() for note in each.notes)
    return TaskData(judged, examples, digest, notes)
