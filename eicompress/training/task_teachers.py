"""The teachers of several tasks as one: each is asked about the texts of its own tasks alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eicompress.answers import MultiTask
from eicompress.contracts import Examples, TeacherOutputs
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
        """Logits in half precision, of texts (n, outputs), or of texts and words (n, 1 + W, outputs). The states are
        those of the teacher that answers all tasks; of several teachers they are of no width, since no state of one
        corresponds to that of another."""
        asked, answer = self._asked(texts), self.answer
        if len(self.teachers) == 1:
            outputs = self.teachers[0].outputs(texts)
            wanted = np.repeat(asked, [each.answer.outputs for each in answer.parts], axis=1)
            wanted = np.expand_dims(wanted, tuple(range(1, outputs.logits.ndim - 1)))
            return replace(outputs, logits=outputs.logits * wanted)
        found = []
        for part, teacher, rows in zip(answer.parts, self.teachers, asked.T, strict=True):
            logits = np.zeros((len(texts), *(1,) * part.answer.per_word, part.answer.outputs), np.float16)
            places = np.flatnonzero(rows)
            if len(places):
                own = teacher.outputs([texts[row] for row in places.tolist()]).logits
                logits = np.zeros((len(texts), *own.shape[1:]), np.float16)
                logits[places] = own
            found.append(logits)
        return TeacherOutputs(answer.together(found), np.zeros((len(texts), 0), np.float16))

    def _asked(self, texts: Sequence[Text]) -> npt.NDArray[np.bool_]:
        """(n, tasks) whether the teacher of a task is asked about a text."""
        single = frozenset(at for at, each in enumerate(self.answer.parts) if not each.pairs)
        pairs = frozenset(range(len(self.answer.parts))) - single
        found = np.zeros((len(texts), len(self.answer.parts)), np.bool_)
        for row, text in enumerate(texts):
            found[row, list(self.tasks.get(text_key(text), single if isinstance(text, str) else pairs))] = True
        return found


def tasks_by_text(answer: MultiTask, splits: Iterable[Examples]) -> dict[bytes, frozenset[int]]:
    """The places of the tasks whose examples have a text, by its key."""
    found: dict[bytes, frozenset[int]] = {}
    for examples in splits:
        for text, task in zip(examples.texts, answer.tasks_of(examples.targets).tolist(), strict=True):
            key = text_key(text)
            found[key] = found.get(key, frozenset()) | {task}
    return found
