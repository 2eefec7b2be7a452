"""The teachers of several tasks as one: each is asked about the texts of its own tasks alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eicompress.answers import MultiTask, TeacherOutputs
from eicompress.answers.calibration import Flags
from eicompress.answers.teacher_outputs import places_within
from eicompress.contracts import Examples
from eicompress.training.teacher import Ensemble, StoredTeacher, text_key
from eicompress.values import Progress, Text, digest_of


@dataclass(frozen=True)
class TaskTeachers:
    """Logits of the tasks that a text belongs to, and zeros for the others, as `losses.where_answered` reads them.

    A text that no task's data has, such as a distorted one, belongs to all tasks that read such a text.
    """

    answer: MultiTask
    teachers: tuple[StoredTeacher | Ensemble, ...]
    """One for each task, in their order; or one that answers all of them."""
    tasks: Mapping[bytes, frozenset[int]]
    """The places of the tasks whose data has a text, by its key."""

    @property
    def digest(self) -> str:
        return digest_of([each.digest for each in self.teachers])

    @property
    def aligned(self) -> bool:
        return len(self.teachers) == 1 and self.teachers[0].aligned

    def watched(self, progress: Callable[[Progress], None]) -> "TaskTeachers":
        """The same teachers with another receiver of their progress."""
        return replace(self, teachers=tuple(each.watched(progress) for each in self.teachers))

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        """In half precision; a text that is of no task of words has none. The states are those of the teacher that
        answers all tasks; of several teachers they are of no width, since no state of one corresponds to that of
        another."""
        asked = self._asked(texts)
        if len(self.teachers) == 1:
            wanted = np.repeat(asked, [each.answer.outputs for each in self.answer.parts], axis=1)
            return _where(wanted, self.teachers[0].outputs(texts))
        found = [
            teacher.outputs([texts[row] for row in rows]) if rows else None
            for teacher, rows in zip(self.teachers, (np.flatnonzero(each).tolist() for each in asked.T), strict=True)
        ]
        return self._together(asked, found)

    def _together(self, asked: Flags, found: Sequence[TeacherOutputs | None]) -> TeacherOutputs:
        """The outputs for n texts, from those of each task's teacher for the texts that it was asked about."""
        answer = self.answer
        outputs = answer.outputs - answer.word_outputs
        of_texts, counts = np.zeros((len(asked), outputs), np.float16), np.zeros(len(asked), np.int32)
        own = [
            (place.own, rows, each)
            for place, rows, each in zip(answer.places, asked.T, found, strict=True)
            if each is not None
        ]
        for _, rows, each in own:
            counts[rows] = np.maximum(counts[rows], each.counts)
        made = TeacherOutputs(
            of_texts,
            np.zeros((counts.sum(), answer.word_outputs), np.float16),
            counts,
            np.zeros((len(asked), 0), np.float16),
        )
        for columns, rows, each in own:
            if columns.stop <= outputs:
                of_texts[rows, columns] = each.of_texts
            else:
                words = np.repeat(made.starts[rows], each.counts) + places_within(each.counts)
                made.of_words[words, columns.start - outputs : columns.stop - outputs] = each.of_words
        return made

    def _asked(self, texts: Sequence[Text]) -> Flags:
        """(n, tasks) whether the teacher of a task is asked about a text."""
        single = frozenset(at for at, each in enumerate(self.answer.parts) if not each.pairs)
        pairs = frozenset(range(len(self.answer.parts))) - single
        found = np.zeros((len(texts), len(self.answer.parts)), np.bool_)
        for row, text in enumerate(texts):
            found[row, list(self.tasks.get(text_key(text), single if isinstance(text, str) else pairs))] = True
        return found


def _where(wanted: Flags, outputs: TeacherOutputs) -> TeacherOutputs:
    """The outputs with zeros but where they are wanted (n, outputs); no words of a text of which none are."""
    of_texts, of_words = np.split(wanted, [outputs.of_texts.shape[1]], axis=1)
    words = np.repeat(of_words, outputs.counts, axis=0)
    return TeacherOutputs(
        outputs.of_texts * of_texts,
        (outputs.of_words * words)[words.any(axis=1)],
        outputs.counts * of_words.any(axis=1),
        outputs.states,
    )


def tasks_by_text(answer: MultiTask, splits: Iterable[Examples]) -> dict[bytes, frozenset[int]]:
    """The places of the tasks whose examples have a text, by its key."""
    found: dict[bytes, frozenset[int]] = {}
    for examples in splits:
        for text, task in zip(examples.texts, answer.tasks_of(examples.targets).tolist(), strict=True):
            key = text_key(text)
            found[key] = found.get(key, frozenset()) | {task}
    return found
