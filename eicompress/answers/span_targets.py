"""Targets of questions: where the answers stand in the context, and the context itself, as rows of whole numbers.

A row is the number of references R that a row of this split has room for; for each of them the slots of its first and
last word and its first character and the one behind the last; and the code of each character of the context. -1 stands
where nothing does. A slot is the number of a word of the context from 1; 0 stands for no answer.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eicompress.answers.words import Span, words_of

NONE = -1
FIELDS = 4
"""Of a reference."""


def targets_of(contexts: Sequence[str], answers: Sequence[Sequence[Span]]) -> npt.NDArray[np.int32]:
    """(n, columns) of contexts, each with the characters of its answers, of which there may be none."""
    room = max(1, max(map(len, answers)))
    begin = 1 + FIELDS * room
    made = np.full((len(contexts), begin + max(map(len, contexts))), NONE, np.int32)
    made[:, 0] = room
    for row, context, spans in zip(made, contexts, answers, strict=True):
        row[begin : begin + len(context)] = [ord(each) for each in context]
        row[1:3] = 0
        for at, (start, end) in enumerate(spans):
            inside = [slot for slot, (first, last) in enumerate(words(context), 1) if first < end and start < last]
            row[1 + FIELDS * at : 1 + FIELDS * (at + 1)] = inside[0], inside[-1], start, end
    return made


def context_of(row: npt.NDArray[np.integer]) -> str:
    """The context of a row of targets."""
    codes = row[1 + FIELDS * int(row[0]) :]
    return codes[codes >= 0].astype("<u4").tobytes().decode("utf-32-le")


def references_of(row: npt.NDArray[np.integer], context: str) -> list[str]:
    """The answers of a row of targets, none where the context has none."""
    spans = row[1 : 1 + FIELDS * int(row[0])].reshape(-1, FIELDS)[:, 2:].tolist()
    return [context[start:end] for start, end in spans if start >= 0]


@lru_cache(maxsize=4096)
def words(context: str) -> tuple[Span, ...]:
    """The words of a context; many questions share one."""
    return tuple(words_of(context))
