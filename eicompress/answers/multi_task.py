"""One label for each of several tasks, by one model in one pass: a head a task, after MT-DNN (arXiv 1901.11504).

The heads are one matrix: logits (n, outputs) are those of all tasks side by side. A text belongs to one task. Its
target is the number of its label among all outputs; where its task's teacher answers it wrong, the number of outputs
is added, so that a quality can be compared with the teacher's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from eicompress.answers.calibration import Flags, calibration, calibration_chart
from eicompress.answers.kind import Answer, Array, Floats, Mistakes, Prediction, Table, id2label
from eicompress.answers.label import LabelPrediction, Labels
from eicompress.answers.label_mistakes import confidence_of
from eicompress.errors import DataError, ModelError, nearest
from eicompress.values import Json, Text

TASKS = "tasks"
"""The entry of a config with the tasks, in the order of their outputs."""


@dataclass(frozen=True)
class Part:
    """One of the tasks."""

    name: str
    answer: Labels
    pairs: bool
    """Whether it reads pairs of texts."""

    @property
    def output(self) -> str:
        """The name of its output in an ONNX file."""
        return f"{self.name}_logits"


@dataclass(frozen=True)
class MultiTaskPrediction(Prediction):
    """The answers to one text, by task: those of the tasks that read single texts, or those that read pairs."""

    answers: Mapping[str, LabelPrediction]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{name}={each.label} {each.confidence:.3f}" for name, each in self.answers.items())

    def to_json(self) -> dict[str, Any]:
        return {TASKS: {name: each.to_json() for name, each in self.answers.items()}}


@dataclass(frozen=True)
class MultiTask(Answer):
    """One of a task's labels for a text, for each of several tasks."""

    parts: tuple[Part, ...]

    kind: ClassVar[str] = "multi_task"
    pipeline: ClassVar[str] = "text-classification"
    simplest: ClassVar[str] = "majority class of each task"
    simplest_note: ClassVar[str] = "one answer for every text of a task"
    linear: ClassVar[str] = "softmax regression"
    head: ClassVar[str] = "classifier of several tasks"
    model: ClassVar[str] = "classifier of several tasks"
    limit: ClassVar[str] = "For each task it answers one of its labels to every text, also to texts of other tasks."
    browser: ClassVar[str] = "`AutoTokenizer`, and onnxruntime-web for the file, which has an output for each task"
    surest: ClassVar[bool] = False
    quality_is_share: ClassVar[bool] = True
    tuned_on_validation: ClassVar[bool] = True

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first output of each task, and the number of all outputs."""
        return tuple(np.cumsum([0, *(each.answer.outputs for each in self.parts)]).tolist())

    @property
    def slices(self) -> tuple[slice, ...]:
        """The outputs of each task."""
        return tuple(slice(*ends) for ends in zip(self.starts, self.starts[1:], strict=False))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{part.name}/{label}" for part in self.parts for label in part.answer.labels)

    @property
    def graph_outputs(self) -> Mapping[str, int | None]:
        return {each.output: each.answer.outputs for each in self.parts}

    @property
    def mixed(self) -> bool:
        return len({each.pairs for each in self.parts}) > 1

    def part(self, name: str) -> Part:
        """The task of this name. Raises `ModelError`."""
        found = next((each for each in self.parts if each.name == name), None)
        if found is None:
            known = [each.name for each in self.parts]
            raise ModelError(f"`--task` must be a task of the artifact, but got `{name}`: {nearest(name, known)}")
        return found

    def tasks_of(self, targets: Array) -> Array:
        """(n,) the place of each text's task among the tasks."""
        found: Array = np.searchsorted(self.starts, targets % self.outputs, side="right") - 1
        return found

    def labels_of(self, targets: Array) -> Array:
        """(n,) the number of each text's label among those of its task."""
        found: Array = targets % self.outputs - np.array(self.starts)[self.tasks_of(targets)]
        return found

    def right(self, targets: Array, logits: Floats) -> Flags:
        """(n,) whether the answer of a text's own task is right."""
        found, tasks, labels = np.zeros(len(targets), np.bool_), self.tasks_of(targets), self.labels_of(targets)
        for at, own in enumerate(self.slices):
            rows = tasks == at
            found[rows] = logits[rows, own].argmax(axis=1) == labels[rows]
        return found

    def weights(self, targets: Array) -> Floats:
        """(n,) by which right answers are weighted, so that their mean is the mean over the tasks of the share of right
        answers divided by its teacher's share. A teacher with no right answer counts as one with one."""
        tasks, taught = self.tasks_of(targets), targets < self.outputs
        counts = np.bincount(tasks[taught], minlength=len(self.parts)).clip(min=1)
        found: Floats = len(targets) / (len(np.unique(tasks)) * counts[tasks])
        return found

    def to_json(self) -> dict[str, Any]:
        parts = [{"name": each.name, "answer": each.answer.to_json(), "pairs": each.pairs} for each in self.parts]
        return {"kind": self.kind, "parts": parts}

    def config(self) -> dict[str, Any]:
        labels = [label for part in self.parts for label in part.answer.labels]
        tasks = [
            {"name": part.name, "labels": part.answer.outputs, "reject_below": part.answer.reject_below}
            | ({"pairs": True} if part.pairs else {})
            for part in self.parts
        ]
        return {"id2label": id2label(labels), TASKS: tasks}

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[MultiTaskPrediction]:
        by_part = [part.answer.decode(logits[:, own], texts) for part, own in zip(self.parts, self.slices, strict=True)]
        return [
            MultiTaskPrediction(
                {
                    part.name: found[row]
                    for part, found in zip(self.parts, by_part, strict=True)
                    if part.pairs is not isinstance(text, str)
                }
            )
            for row, text in enumerate(texts)
        ]

    def tuned(self, logits: Floats, targets: Array, outside: Floats | None) -> "MultiTask":
        tasks, labels = self.tasks_of(targets), self.labels_of(targets)
        parts = []
        for at, (part, own) in enumerate(zip(self.parts, self.slices, strict=True)):
            rows = tasks == at
            tuned = part.answer.tuned(logits[rows, own], labels[rows], None) if rows.any() else part.answer
            parts.append(replace(part, answer=tuned))
        return replace(self, parts=tuple(parts))

    def like(self, artifact: Answer) -> "MultiTask":
        if not isinstance(artifact, MultiTask) or artifact.names != self.names:
            return self
        pairs = zip(self.parts, artifact.parts, strict=True)
        return replace(self, parts=tuple(replace(own, answer=own.answer.like(other.answer)) for own, other in pairs))

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        if not isinstance(known, MultiTask):
            return None
        there = {part.name: (part.answer, start) for part, start in zip(known.parts, known.starts, strict=False)}
        found: list[int] = []
        for part in self.parts:
            answer, start = there.get(part.name, (None, 0))
            outputs = part.answer.outputs_of(answer)
            if outputs is None:
                return None
            found += [start + each for each in outputs]
        return tuple(found)

    def mismatch(self, who: str, known: Answer | None) -> str:
        said = f"{who[:1].upper()}{who[1:]} must answer the data's tasks, {', '.join(each.name for each in self.parts)}"
        if not isinstance(known, MultiTask):
            return f"{said}, but is a model of one task: give one for each task, as `NAME=FOLDER`"
        others = {each.name: each.answer for each in known.parts}
        missing = [each for each in self.parts if each.answer.outputs_of(others.get(each.name)) is None]
        if not missing or missing[0].name not in others:
            return f"{said} and no others, but has {', '.join(others)}: train one with `eicompress teach`"
        return missing[0].answer.mismatch(f"task `{missing[0].name}` of {who}", others[missing[0].name])

    @property
    def described(self) -> str:
        lines = [
            f"- `{each.name}`{', of pairs of texts' if each.pairs else ''}, output `{each.output}`: "
            + ", ".join(f"`{label}`" for label in each.answer.labels)
            for each in self.parts
        ]
        return "## Tasks\n\n" + "\n".join(lines)

    def holds(self, targets: Array) -> bool:
        return targets.ndim == 1 and bool(np.issubdtype(targets.dtype, np.integer))

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        counts = np.bincount(targets % self.outputs, minlength=self.outputs).astype(np.float32)
        return np.tile(counts, (len(texts), 1))

    def agrees(self, expected: Floats, got: Floats) -> Flags:
        pairs = zip(self.parts, self.slices, strict=True)
        return np.concatenate([part.answer.agrees(expected[:, own], got[:, own]) for part, own in pairs])

    def readable_rows(self, rows: Sequence[Json], columns: Mapping[str, str], origin: str) -> Sequence[Json]:
        return readable_rows(self, rows, columns)

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        apart = (self.right(targets, ours).astype(np.float64) - self.right(targets, theirs)) * self.weights(targets)
        return float(apart.mean()), 1.96 * float(apart.std() / np.sqrt(len(apart)))

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        return mistakes(self, texts, targets, (baseline, artifact))


def readable_rows(answer: MultiTask, rows: Sequence[Json], columns: Mapping[str, str]) -> Sequence[Json]:
    """A row for each label of each task; the rows that are to be measured must have no others. Raises `DataError`."""
    task, label = columns["task"], columns["label"]
    parts = {each.name: each for each in answer.parts}
    at = dict.fromkeys(parts, 0)
    for row in rows:
        name, own = str(row[task]), parts.get(str(row[task]))
        if own is None:
            raise DataError(f"every task must be one of the artifact's, but got `{name}`: {nearest(name, parts)}")
        at[name] += 1
        if str(row[label]) not in own.answer.labels:
            raise DataError(
                f"every label of task `{name}` must be one of the artifact's, but its row {at[name]} has "
                f"`{row[label]}`: {nearest(str(row[label]), own.answer.labels)}"
            )
    text, pair = columns["text"], columns.get("text_pair", "text_pair")
    return [
        {task: part.name, text: "a", label: each, **({pair: "a"} if part.pairs else {})}
        for part in answer.parts
        for each in part.answer.labels
    ]


def mistakes(answer: MultiTask, texts: Sequence[Text], targets: Array, logits: tuple[Floats, Floats]) -> Mistakes:
    """The mistakes in each task, from the logits (n, outputs) of baseline and artifact."""
    tasks, labels = answer.tasks_of(targets), answer.labels_of(targets)
    sure = [np.zeros(len(targets)) for _ in logits]
    summaries, tables, accuracies = list[str](), list[Table](), list[tuple[str, ...]]()
    for at, (part, own) in enumerate(zip(answer.parts, answer.slices, strict=True)):
        rows = np.flatnonzero(tasks == at)
        if not len(rows):
            continue
        both = [each[rows][:, own] for each in logits]
        for confidence, each in zip(sure, both, strict=True):
            confidence[rows] = confidence_of(each)
        before, after = (answer.right(targets[rows], each[rows]).mean() for each in logits)
        teacher = (targets[rows] < answer.outputs).mean()
        shown = (f"{each:.1%}" for each in (after, before, teacher, after / max(teacher, 1 / len(rows))))
        accuracies.append((part.name, str(len(rows)), *shown))
        found = part.answer.mistakes([texts[row] for row in rows.tolist()], labels[rows], *both)
        summaries.append(f"{part.name}: {found.summary}")
        tables += [replace(each, title=f"{part.name}: {each.title}") for each in found.tables]
    heads = ("task", "texts", "artifact", "baseline", "teacher", "share of the teacher")
    tables.insert(0, Table("Right answers by task", heads, tuple(accuracies), 5))
    sure_before, sure_after = (
        calibration(confidence, answer.right(targets, each)) for confidence, each in zip(sure, logits, strict=True)
    )
    apart, half = answer.difference(targets, logits[1], logits[0])
    signed = f"{100 * apart:+.1f}".replace("-", "\u2212")
    summary = f"Mean over the tasks, as a share of the teachers': {signed} ± {100 * half:.1f} points (95 % interval)."
    return Mistakes(
        " ".join([summary, *summaries]), half, False, tuple(tables), calibration_chart(sure_before, sure_after)
    )
