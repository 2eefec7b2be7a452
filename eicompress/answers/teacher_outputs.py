"""What a teacher says of texts, without what only fills up shorter texts."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from eicompress.answers.kind import Array


@dataclass(frozen=True)
class TeacherOutputs:
    """A teacher's outputs for n texts: those that answer a text are kept once a text, those that answer words once a
    word. The arrays may be memory-mapped and in half precision."""

    of_texts: Array
    """(n, outputs that answer the text)"""
    of_words: Array
    """(words, outputs that answer words): the words of all texts, one text after the other; of a question with its
    context no answer comes before them."""
    counts: Array
    """(n,) how many of these rows each text has: up to its last word that was read."""
    states: Array
    """(n, width): the state that the teacher's head reads; of several teachers, side by side. Of no width where each
    word is answered: these are the last layer's states, which `layer_distillation` compares."""

    @classmethod
    def of(cls, logits: Array, states: Array, word_outputs: int = 0) -> "TeacherOutputs":
        """From logits (n, outputs), (n, W, outputs) or (n, 1 + W, outputs), of which the last `word_outputs` answer
        words, as in `Answer.word_outputs`."""
        outputs = logits.shape[-1] - word_outputs
        if not word_outputs:
            return cls(logits, np.zeros((0, 0), logits.dtype), np.zeros(len(logits), np.int32), states)
        of_words = logits[:, (outputs > 0) :, outputs:]
        numbers = 1 + np.arange(of_words.shape[1])
        counts = (of_words.any(axis=-1) * numbers).max(axis=1, initial=0).astype(np.int32)
        inside = numbers <= counts[:, None]
        of_texts = logits[:, :1, :outputs].reshape(len(logits), outputs)
        return cls(of_texts, of_words[inside], counts, states)

    @property
    def logits(self) -> Array:
        """(n, outputs); where words are answered (n, W, outputs), or (n, 1 + W, outputs) where texts are too, with
        zeros for words that were not read."""
        outputs, more = self.of_texts.shape[1], self.of_words.shape[1]
        if not more:
            return self.of_texts
        first, widest = int(outputs > 0), max(1, int(self.counts.max(initial=0)))
        made = np.zeros((len(self.counts), first + widest, outputs + more), self.of_words.dtype)
        made[:, :first, :outputs] = self.of_texts[:, None][:, :first]
        places = first + places_within(self.counts)
        made[np.repeat(np.arange(len(self.counts)), self.counts), places, outputs:] = self.of_words
        return made

    def take(self, rows: Array) -> "TeacherOutputs":
        """Those of the texts (m,) of these numbers."""
        counts = self.counts[rows]
        words = np.repeat(self.starts[rows], counts) + places_within(counts)
        return TeacherOutputs(self.of_texts[rows], self.of_words[words], counts, self.states[rows])

    @cached_property
    def starts(self) -> Array:
        """(n,) the first row of each text's words."""
        found: Array = np.cumsum(self.counts) - self.counts
        return found


def places_within(counts: Array) -> Array:
    """(n,) -> for each of n texts 0, 1 and so on, as many as it has words."""
    found: Array = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return found


def joined(parts: Sequence[TeacherOutputs]) -> TeacherOutputs:
    """The outputs of several lots of texts, one lot after the other."""
    names = [each.name for each in fields(TeacherOutputs)]
    return TeacherOutputs(**{name: np.concatenate([getattr(each, name) for each in parts]) for name in names})
