"""The answers to several tasks by one model in one pass: a head a task, after MT-DNN (arXiv 1901.11504).

The heads are one matrix: logits (n, outputs) are those of all tasks side by side, and each task is asked for its own;
tasks that answer words come last, and logits are then (n, 1 + W, outputs). A text belongs to one task. Targets (n, 2 +
the widest task's), all floats, have the place of a text's task, the quality of this task's teacher, 1 where none is
known, and the task's own target.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from eicompress.answers.calibration import Flags
from eicompress.answers.graph_output import GraphOutput
from eicompress.answers.kind import Answer, Array, Factors, Floats, Mistakes, Prediction, Table, id2label
from eicompress.answers.task_part import OneTask, OwnRows, Part, Place
from eicompress.errors import ModelError, nearest
from eicompress.values import Text

TASKS = "tasks"
"""The entry of a config with the tasks, in the order of their outputs."""
TASK, TAUGHT, OWN = range(3)
"""The columns of targets; the task's own ones are those from `OWN` on."""


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
    """Those that answer words last."""

    kind: ClassVar[str] = "multi_task"
    pipeline: ClassVar[str] = "text-classification"
    simplest: ClassVar[str] = "simplest answer of each task"
    simplest_note: ClassVar[str] = "one answer for every text of a task, or the most frequent tag of each word"
    linear: ClassVar[str] = "linear models of each task"
    head: ClassVar[str] = "head of several tasks"
    model: ClassVar[str] = "model of several tasks"
    limit: ClassVar[str] = "It answers each task for every text, also for texts of other tasks."
    browser: ClassVar[str] = "`AutoTokenizer`, and onnxruntime-web for the file, which has an output for each task"
    surest: ClassVar[bool] = False
    quality_is_share: ClassVar[bool] = True
    tuned_on_validation: ClassVar[bool] = True

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Where the logits of each task stand."""
        ends = np.cumsum([each.answer.outputs for each in self.parts]).tolist()
        words = slice(1 if self.reads == "both" else 0, None)
        return tuple(
            Place(slice(end - part.answer.outputs, end), words if part.answer.per_word else 0)
            for part, end in zip(self.parts, ends, strict=True)
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{part.name}/{label}" for part in self.parts for label in part.answer.names)

    @property
    def outputs(self) -> int:
        return sum(each.answer.outputs for each in self.parts)

    @property
    def word_outputs(self) -> int:
        return sum(each.answer.word_outputs for each in self.parts)

    @property
    def graph_outputs(self) -> Mapping[str, GraphOutput]:
        return {each.output: GraphOutput(each.answer.outputs, each.answer.per_word) for each in self.parts}

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
        for at, (part, place) in enumerate(zip(self.parts, self.places, strict=True)):
            rows = np.flatnonzero(tasks == at)
            if len(rows):
                cells = targets[rows, OWN:][:, part.columns]
                kept = cells.astype(np.float32 if part.is_number else np.int64)
                yield OwnRows(part, place, rows, kept, float(targets[rows[0], TAUGHT]))

    def to_json(self) -> dict[str, Any]:
        parts = [{"name": each.name, "answer": each.answer.to_json(), "pairs": each.pairs} for each in self.parts]
        return {"kind": self.kind, "parts": parts}

    def config(self) -> dict[str, Any]:
        return config_of(self)

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[MultiTaskPrediction]:
        by_part = [part.answer.decode(at.of(logits), texts) for part, at in zip(self.parts, self.places, strict=True)]
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
        pairs = zip(self.parts, self.places, strict=True)
        return self.together([change(part.answer, place.of(logits)) for part, place in pairs])

    def together(self, of_tasks: Sequence[Floats]) -> Floats:
        """The logits of n texts by each task, as one alone has them -> those of all tasks."""
        if not self.per_word:
            return np.concatenate(of_tasks, axis=1)
        widest = max(each.shape[1] for part, each in zip(self.parts, of_tasks, strict=True) if part.answer.per_word)
        made = np.zeros((len(of_tasks[0]), (self.reads == "both") + widest, self.outputs), of_tasks[0].dtype)
        for place, each in zip(self.places, of_tasks, strict=True):
            own = place.of(made)
            own[:, : each.shape[1]] = each
        return made

    def tuned(self, logits: Floats, targets: Array, outside: Floats | None) -> "MultiTask":
        found = {
            each.part.name: each.part.answer.tuned(each.of(logits), each.targets, None)
            for each in self.divided(targets)
        }
        return replace(self, parts=tuple(each.with_answer(found.get(each.name, each.answer)) for each in self.parts))

    def like(self, artifact: Answer) -> "MultiTask":
        if not isinstance(artifact, MultiTask) or artifact.names != self.names:
            return self
        pairs = zip(self.parts, artifact.parts, strict=True)
        return replace(self, parts=tuple(own.with_answer(own.answer.like(other.answer)) for own, other in pairs))

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        return outputs_of(self, known)

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
        widest = max((each.columns.stop or 1) if isinstance(each.columns, slice) else 1 for each in self.parts)
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
        return simplest_logits(self, (known, targets), texts)

    def agrees(self, expected: Floats, got: Floats) -> Flags:
        pairs = zip(self.parts, self.places, strict=True)
        return np.concatenate([part.answer.agrees(place.of(expected), place.of(got)) for part, place in pairs])

    def score(self, targets: Array, logits: Floats) -> float:
        """The mean over the tasks of the quality, as a share of that of the task's teacher."""
        shares = [each.part.answer.score(each.targets, each.of(logits)) / each.taught for each in self.divided(targets)]
        return float(np.mean(shares))

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        """The interval is that of a mean of independent differences, each with its own kind's interval; the qualities
        of the teachers count as known."""
        halves = [
            each.part.answer.difference(each.targets, each.of(ours), each.of(theirs))[1] / each.taught
            for each in self.divided(targets)
        ]
        half = float(np.sqrt(np.square(halves).sum())) / len(halves)
        return self.score(targets, ours) - self.score(targets, theirs), half

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        return mistakes(self, texts, targets, (baseline, artifact))


def config_of(answer: MultiTask) -> dict[str, Any]:
    """All names of outputs, and for each task their number and what else its own config would have."""
    tasks = []
    for part in answer.parts:
        own = {name: value for name, value in part.answer.config().items() if name != "id2label"}
        pairs = {"pairs": True} if part.pairs else {}
        words = {"architectures": [f"BertFor{part.answer.architecture}"]} if part.answer.per_word else {}
        tasks.append({"name": part.name, "labels": part.answer.outputs, **own, **pairs, **words})
    return {"id2label": id2label([label for part in answer.parts for label in part.answer.names]), TASKS: tasks}


def simplest_logits(answer: MultiTask, known: tuple[Sequence[Text], Array], texts: Sequence[Text]) -> Floats:
    """The simplest answers of each task to the texts that it reads, from texts and targets that are known."""
    rows = {each.part.name: each for each in answer.divided(known[1])}
    found: list[Floats] = []
    for part in answer.parts:
        mine = [at for at, text in enumerate(texts) if part.pairs is not isinstance(text, str)]
        logits = np.zeros((len(texts), *(1,) * part.answer.per_word, part.answer.outputs), np.float32)
        if part.name in rows and mine:
            own = [known[0][row] for row in rows[part.name].rows.tolist()]
            answers = part.answer.simplest_logits(own, rows[part.name].targets, [texts[at] for at in mine])
            logits = np.zeros((len(texts), *answers.shape[1:]), np.float32)
            logits[mine] = answers
        found.append(logits)
    return answer.together(found)


def outputs_of(answer: MultiTask, known: Answer | None) -> tuple[int, ...] | None:
    """Which outputs of a model that answers `known` are those of the tasks, each found by its name."""
    if not isinstance(known, MultiTask):
        return None
    there = {each.name: (each.answer, at.own.start) for each, at in zip(known.parts, known.places, strict=True)}
    found: list[int] = []
    for part in answer.parts:
        own, start = there.get(part.name, (None, 0))
        outputs = part.answer.outputs_of(own)
        if outputs is None:
            return None
        found += [start + each for each in outputs]
    return tuple(found)


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
        both, part = [each.of(one) for one in logits], each.part
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
