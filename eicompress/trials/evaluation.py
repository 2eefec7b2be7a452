"""Data for measuring a finished artifact: rows under the artifact's own answer."""

from dataclasses import replace

from eicompress.contracts import Examples, Task
from eicompress.data.datasets import check_rows, read_tables
from eicompress.data.outside import read_outside, texts_of
from eicompress.errors import DataError
from eicompress.plugins import Registry
from eicompress.runtime import Model
from eicompress.spec import Spec
from eicompress.tasks import judged_by, task_answering


def rows_for(model: Model, spec: Spec, registry: Registry) -> tuple[str, Task, Examples]:
    """The split to measure an artifact on, the last that the data has; the task under the artifact's own answer; and
    the examples. Raises `SpecError` and `DataError`.
    """
    task = registry.task(spec.settings["task"] or task_answering(model.answer, pairs=model.pairs).name)
    tables = read_tables(spec.data)
    split = next(name for name in ("test", "validation", "train") if name in tables)
    rows = tables[split].rows
    there = {name: value for name, value in next(iter(rows), {}).items() if name != "text_pair" or model.answer.unit}
    columns = task.columns_in(there, {**({"text_pair": "text_pair"} if model.pairs else {}), **spec.columns})
    check_rows(tables[split], columns, task.cell_refusal)
    known = model.answer.readable_rows(rows, columns, tables[split].origin)
    read, examples = task.read({"train": known, "measured": rows}, columns)
    made = read.sized(model.answer.outputs)
    if made.answer.names != model.answer.names:
        raise DataError(f"the artifact must number its labels as `{task.name}` does, but does not")
    outside = read_outside(spec.data, columns, task.cell_refusal) if made.answer.may_reject else {}
    found = replace(examples["measured"], outside=texts_of(outside[split], columns) if split in outside else ())
    if why := made.unmeasurable(found):
        raise DataError(f"`{tables[split].origin}` {why}")
    return split, judged_by(made, spec.settings["quality"]), found
