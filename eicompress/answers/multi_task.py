"""The answers to several tasks by one model in one pass: a head a task, after MT-DNN (arXiv 1901.11504).

The heads are one matrix: logits (n, outputs) are those of all tasks side by side, and each task is asked for its own. A
text belongs to one task. Targets (n, 2 + the widest task's), all floats, have the place of a text's task, the quality
of this task's teacher, 1 where none is known, and the task's own target.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np

from eicompress.answers.calibration import Flags
from eicompress.answers.kind import Answer, Array, Factors, Floats, Mistakes, Prediction, Table, id2label
from eicompress.answers.label import Labels
from eicompress.answers.label_set import LabelSet
from eicompress.answers.number import Number
from eicompress.errors import ModelError, nearest
from eicompress.values import Text

TASKS = "tasks"
"""The entry of a config with the tasks, in the order of their outputs."""
TASK, TAUGHT, OWN = range(3)
"""The columns of targets; the task's own ones are those from `OWN` on."""
OneTask: TypeAlias = Labels | LabelSet | Number
"""What one of several tasks may answer: an output for the whole text, and a score."""


@dataclass(frozen=True)
class Part:
    """One of the tasks."""

    name: str
    answer: OneTask
    pairs: bool
    """Whether it reads pairs of texts."""
    weight: float = field(default=1.0, compare=False)
    """What its losses are multiplied by in a training; no part of what an artifact answers."""

    @property
    def output(self) -> str:
        """The name of its output in an ONNX file."""
        return f"{self.name}_logits"

    @property
    def columns(self) -> int | slice:
        """Where its targets stand among the own ones."""
        return slice(self.answer.outputs) if isinstance(self.answer, LabelSet) else 0

    @property
    def is_number(self) -> bool:
        """Whether its targets are numbers, and not those of labels."""
        return isinstance(self.answer, Number)

    def with_answer(self, answer: Answer) -> "Part":
        """The same with its answer as that was tuned."""
        return replace(self, answer=cast(OneTask, answer))

    def text(self, value: float) -> str:
        """A value of its quality, for people."""
        return f"{value:.1%}" if self.answer.quality_is_share else f"{value:.3f}"


@dataclass(frozen=True)
class OwnRows:
    """The texts of one task among those of all."""

    part: Part
    own: slice
    """The outputs of the task."""
    rows: Array
    """(m,) places of its texts."""
    targets: Array
    """(m, ...) in the form of the task's own kind of answer."""
    taught: float
    """The quality of its teacher."""


@dataclass(frozen=True)
class MultiTaskPrediction(Prediction):
    """The answers to one text, by task: those of the tasks that read single texts, or those that read pairs."""

    answers: Mapping[str, Prediction]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{name}={' '.join(each.columns)}" for name, each in self.answers.items())

    def to_json(self) -> dict[str, Any]:
        return {TASKS: {name: each.to_json() for name, each in self.answers.items()}}


@dataclass(frozen=True)
class MultiTask(Answer):
    """An answer for each of several tasks."""

    parts: tuple[Part, ...]

    kind: ClassVar[str] = "multi_task"
    pipeline: ClassVar[str] = "text-classification"
    simplest: ClassVar[str] = "simplest answer of each task"
    simplest_note: ClassVar[str] = "one answer for every text of a task: the majority class, the mean"
    linear: ClassVar[str] = "linear models of each task"
    head: ClassVar[str] = "head of several tasks"
    model: ClassVar[str] = "model of several tasks"
    limit: ClassVar[str] = "It answers each task for every text, also for texts of other tasks."
    browser: ClassVar[str] = "`AutoTokenizer`, and onnxruntime-web for the file, which has an output for each task"
    surest: ClassVar[bool] = False
    quality_is_share: ClassVar[bool] = True
    tuned_on_validation: ClassVar[bool] = True

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The outputs of each task."""
        ends = np.cumsum([each.answer.outputs for each in self.parts]).tolist()
        return tuple(slice(end - part.answer.outputs, end) for part, end in zip(self.parts, ends, strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{part.name}/{label}" for part in self.parts for label in part.answer.names)

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
            raise ModelError(f"a task must be one of the artifact's, but got `{name}`: {nearest(name, known)}")
        return found

    def tasks_of(self, targets: Array) -> Array:
        """(n,) the place of each text's task among the tasks."""
        return targets[:, TASK].astype(np.int64)

    def divided(self, targets: Array) -> Iterator[OwnRows]:
        """The texts of each task that has some."""
        tasks = self.tasks_of(targets)
        for at, (part, own) in enumerate(zip(self.parts, self.slices, strict=True)):
            rows = np.flatnonzero(tasks == at)
            if len(rows):
                cells = targets[rows, OWN:][:, part.columns]
                kept = cells.astype(np.float32 if part.is_number else np.int64)
                yield OwnRows(part, own, rows, kept, float(targets[rows[0], TAUGHT]))

    def to_json(self) -> dict[str, Any]:
        parts = [{"name": each.name, "answer": each.answer.to_json(), "pairs": each.pairs} for each in self.parts]
        return {"kind": self.kind, "parts": parts}

    def config(self) -> dict[str, Any]:
        """All names of outputs, and for each task their number and what else its own config would have."""
        tasks = []
        for part in self.parts:
            own = {name: value for name, value in part.answer.config().items() if name != "id2label"}
            pairs = {"pairs": True} if part.pairs else {}
            tasks.append({"name": part.name, "labels": part.answer.outputs, **own, **pairs})
        return {"id2label": id2label([label for part in self.parts for label in part.answer.names]), TASKS: tasks}

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

    def standard(self, logits: Floats) -> Floats:
        return self._each(lambda answer, own: answer.standard(own), logits)

    def decided(self, logits: Floats) -> Floats:
        return self._each(lambda answer, own: answer.decided(own), logits)

    def _each(self, change: Callable[[OneTask, Floats], Floats], logits: Floats) -> Floats:
        """Logits (n, outputs), those of each task changed by its own answer."""
        pairs = zip(self.parts, self.slices, strict=True)
        return np.concatenate([change(part.answer, logits[:, own]) for part, own in pairs], axis=1)

    def tuned(self, logits: Floats, targets: Array, outside: Floats | None) -> "MultiTask":
        found = {
            each.part.name: each.part.answer.tuned(logits[each.rows, each.own], each.targets, None)
            for each in self.divided(targets)
        }
        return replace(self, parts=tuple(each.with_answer(found.get(each.name, each.answer)) for each in self.parts))

    def like(self, artifact: Answer) -> "MultiTask":
        if not isinstance(artifact, MultiTask) or artifact.names != self.names:
            return self
        pairs = zip(self.parts, artifact.parts, strict=True)
        return replace(self, parts=tuple(own.with_answer(own.answer.like(other.answer)) for own, other in pairs))

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        if not isinstance(known, MultiTask):
            return None
        there = {part.name: (part.answer, own.start) for part, own in zip(known.parts, known.slices, strict=True)}
        found: list[int] = []
        for part in self.parts:
            answer, start = there.get(part.name, (None, 0))
            outputs = part.answer.outputs_of(answer)
            if outputs is None:
                return None
            found += [start + each for each in outputs]
        return tuple(found)

    def mismatch(self, who: str, known: Answer | None) -> str:
        return mismatch(self, who, known)

    def rescaling(self, known: Answer) -> tuple[Factors, Factors] | None:
        there = {part.name: part.answer for part in known.parts} if isinstance(known, MultiTask) else {}
        return self._factors([each.answer.rescaling(there.get(each.name, each.answer)) for each in self.parts])

    @property
    def scale(self) -> tuple[Factors, Factors] | None:
        return self._factors([each.answer.scale for each in self.parts])

    def _factors(self, found: Sequence[tuple[Factors, Factors] | None]) -> tuple[Factors, Factors] | None:
        """(outputs,) factors and shifts of all logits, from those of each task."""
        if not any(found):
            return None
        both = [
            np.tile(np.array(each or (1.0, 0.0))[:, None], part.answer.outputs)
            for each, part in zip(found, self.parts, strict=True)
        ]
        factors, shifts = np.concatenate(both, axis=1)
        return factors, shifts

    def rounding(self) -> float:
        return max(each.answer.rounding() for each in self.parts)

    @property
    def described(self) -> str:
        return "\n\n".join(
            f"## Task `{each.name}`\n\n{'Pairs of texts. ' if each.pairs else ''}Output `{each.output}`.\n\n#"
            + each.answer.described.replace("`logits`", f"`{each.output}`")
            for each in self.parts
        )

    def holds(self, targets: Array) -> bool:
        widest = max(each.columns.stop if isinstance(each.columns, slice) else 1 for each in self.parts)
        return targets.ndim == 2 and targets.shape[1] >= OWN + widest

    def strata(self, targets: Array) -> Array:
        """Tasks, and within each what this task has."""
        found = np.zeros(len(targets), np.int64)
        above = 0
        for each in self.divided(targets):
            values, own = np.unique(each.part.answer.strata(each.targets), return_inverse=True)
            found[each.rows] = above + own
            above += len(values)
        return found

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        found = np.zeros((len(texts), self.outputs), np.float32)
        for each in self.divided(targets):
            own = [known[row] for row in each.rows.tolist()]
            found[:, each.own] = each.part.answer.simplest_logits(own, each.targets, texts)
        return found

    def agrees(self, expected: Floats, got: Floats) -> Flags:
        pairs = zip(self.parts, self.slices, strict=True)
        return np.concatenate([part.answer.agrees(expected[:, own], got[:, own]) for part, own in pairs])

    def score(self, targets: Array, logits: Floats) -> float:
        """The mean over the tasks of the quality, as a share of that of the task's teacher."""
        shares = [
            each.part.answer.score(each.targets, logits[each.rows, each.own]) / each.taught
            for each in self.divided(targets)
        ]
        return float(np.mean(shares))

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        """The interval is that of a mean of independent differences, each with its own kind's interval; the qualities
        of the teachers count as known."""
        halves = [
            each.part.answer.difference(each.targets, *(one[each.rows, each.own] for one in (ours, theirs)))[1]
            / each.taught
            for each in self.divided(targets)
        ]
        half = float(np.sqrt(np.square(halves).sum())) / len(halves)
        return self.score(targets, ours) - self.score(targets, theirs), half

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        return mistakes(self, texts, targets, (baseline, artifact))


def mismatch(answer: MultiTask, who: str, known: Answer | None) -> str:
    """What `who`, a model that answers `known`, must answer and does not."""
    said = f"{who[:1].upper()}{who[1:]} must answer the data's tasks, {', '.join(each.name for each in answer.parts)}"
    if not isinstance(known, MultiTask):
        return f"{said}, but is a model of one task: give one for each task, as `NAME=FOLDER`"
    others = {each.name: each.answer for each in known.parts}
    missing = [each for each in answer.parts if each.answer.outputs_of(others.get(each.name)) is None]
    if not missing or missing[0].name not in others:
        return f"{said} and no others, but has {', '.join(others)}: train one with `eicompress teach`"
    return missing[0].answer.mismatch(f"task `{missing[0].name}` of {who}", others[missing[0].name])


def mistakes(answer: MultiTask, texts: Sequence[Text], targets: Array, logits: tuple[Floats, Floats]) -> Mistakes:
    """The mistakes in each task, from the logits (n, outputs) of baseline and artifact."""
    found, qualities = dict[str, Mistakes](), list[tuple[str, ...]]()
    for each in answer.divided(targets):
        both, part = [one[each.rows, each.own] for one in logits], each.part
        before, after = (part.answer.score(each.targets, one) for one in both)
        shown = (*map(part.text, (after, before, each.taught)), f"{after / each.taught:.1%}")
        qualities.append((part.name, part.answer.quality, str(len(each.rows)), *shown))
        own = [texts[row] for row in each.rows.tolist()]
        found[part.name] = part.answer.mistakes(own, each.targets, *both)
    heads = ("task", "quality", "texts", "artifact", "baseline", "teacher", "share of the teacher")
    tables = [Table("Quality of each task", heads, tuple(qualities), 5)]
    tables += [replace(one, title=f"{name}: {one.title}") for name, each in found.items() for one in each.tables]
    charts = [
        replace(one, name=f"{name}-{one.name}", title=f"{name}: {one.title}")
        for name, each in found.items()
        for one in each.charts
    ]
    apart, half = answer.difference(targets, logits[1], logits[0])
    signed = f"{100 * apart:+.1f}".replace("-", "\u2212")
    summary = f"Mean over the tasks, as a share of the teachers': {signed} ± {100 * half:.1f} points (95 % interval)."
    summaries = [summary, *(f"{name}: {each.summary}" for name, each in found.items())]
    return Mistakes(" ".join(summaries), half, False, tuple(tables), tuple(charts))
