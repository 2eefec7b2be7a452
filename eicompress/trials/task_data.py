"""Data as a task's examples: one data set, or one for each of several tasks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from eicompress.contracts import Examples, Task
from eicompress.data.datasets import Dataset, Table, dataset_from_tables, read_tables
from eicompress.data.outside import read_outside, texts_of
from eicompress.errors import DataError, SpecError
from eicompress.plugins import Registry
from eicompress.spec import Spec
from eicompress.tasks import judged_by, task_of
from eicompress.tasks.classification import Classification
from eicompress.tasks.multi_task import MultiTaskClassification
from eicompress.values import INPUTS, Json, digest_of

JOINED = {role: role for role in (*MultiTaskClassification.columns, *MultiTaskClassification.may_have)}
"""The columns of rows of several tasks, by role."""


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
        return _read_tasks(spec)
    tables, task = read_tables(spec.data), spec.settings["task"]
    kind, note = (registry.task(task), "") if task else task_of(tables["train"].rows, spec.columns)
    named = kind.columns_in(tables["train"].rows[0], spec.columns)
    dataset = dataset_from_tables(tables, named, spec.data, spec.seed, kind.cell_refusal, spec.rows)
    defined, examples = kind.read(dataset.splits, named)
    judged = judged_by(defined, spec.settings["quality"])
    outside = read_outside(spec.data, named, kind.cell_refusal) if judged.answer.may_reject else {}
    others = {split: texts_of(table, named) for split, table in outside.items()}
    examples = {**examples, **{split: replace(examples[split], outside=texts) for split, texts in others.items()}}
    chosen = [*([] if judged.quality == defined.quality else [judged.quality]), *([others] if others else [])]
    notes = (*([note] if note else []), *dataset.notes, *_of_outside(outside))
    return TaskData(judged, examples, digest_of([dataset.digest, kind.name, *chosen]), notes)


def _of_outside(outside: Mapping[str, Table]) -> list[str]:
    """What a user should know of the texts that belong to no label."""
    if not outside:
        return []
    counts = " and ".join(f"{len(table.rows):,} in `{table.origin}`" for table in outside.values())
    how = "chosen on those of validation" if "validation" in outside else "measured on them, but chosen without them"
    return [f"Texts that belong to no label: {counts}. The threshold of `predict --reject` is {how}."]


def _read_tasks(spec: Spec) -> TaskData:
    """The data sets of several tasks as one, whose rows have the task's name."""
    check_tasks(spec)
    if len(spec.tasks) < 2:
        raise SpecError(f"several tasks must be two or more, but got `--data {spec.data}` alone: leave its name out")
    rows: dict[str, list[Json]] = {"train": [], "validation": [], "test": []}
    digests, notes = {}, []
    for name, source in spec.tasks.items():
        tables = read_tables(source)
        columns = columns_of_task(name, tables["train"], spec)
        dataset = _of_task(name, tables, columns, source, spec)
        for split, found in dataset.splits.items():
            rows[split] += named_rows(name, found, columns)
        digests[name] = dataset.digest
        notes += [f"{name}: {note}" for note in dataset.notes]
    task, examples = MultiTaskClassification.read({name: in_turns(each) for name, each in rows.items()}, JOINED)
    judged = judged_by(task, spec.settings["quality"])
    digest = digest_of([sorted(digests.items()), task.name, judged.quality])
    return TaskData(judged, examples, digest, tuple(notes))


def _of_task(name: str, tables: Mapping[str, Table], columns: Mapping[str, str], source: str, spec: Spec) -> Dataset:
    """The checked splits of one task's data set."""
    refusal = Classification.cell_refusal
    try:
        return dataset_from_tables(tables, columns, source, spec.seed, refusal, spec.rows)
    except DataError as error:
        raise DataError(f"task `{name}`: {error}") from error


def check_tasks(spec: Spec) -> None:
    """Raise `SpecError` for a setting that cannot be meant where there are several tasks."""
    if spec.settings["task"] not in ("", MultiTaskClassification.name):
        raise SpecError(
            f"`--task` must be left out where each `--data` has the name of a task, but got `{spec.settings['task']}`"
        )


def columns_of_task(name: str, table: Table, spec: Spec) -> dict[str, str]:
    """Where each role is read in the data set of one task. Raises `DataError` for one that is no classification."""
    kind, _ = task_of(table.rows, spec.columns)
    if not issubclass(kind, Classification):
        raise DataError(
            f"each of several tasks must be a classification of texts or of pairs of texts, but `{name}` is of the "
            f"task `{kind.name}`: give rows with `text` and one `label`, or search for it on its own"
        )
    pairs = {role: column for role, column in spec.columns.items() if role != "text_pair" or column in table.rows[0]}
    return kind.columns_in(table.rows[0], pairs)


def named_rows(name: str, rows: tuple[Json, ...], columns: Mapping[str, str]) -> Iterator[Json]:
    """Rows of one task in the columns of `JOINED`."""
    for row in rows:
        yield {"task": name, **{role: row[column] for role, column in columns.items() if role in (*INPUTS, "label")}}


def in_turns(rows: list[Json]) -> list[Json]:
    """The rows in an order in which the first ones have each task's share, as the whole has."""
    places: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        places.setdefault(row["task"], []).append(at)
    order = {at: (turn + 0.5) / len(own) for own in places.values() for turn, at in enumerate(own)}
    return [rows[at] for at in sorted(order, key=order.__getitem__)]
