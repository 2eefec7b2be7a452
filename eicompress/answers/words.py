"""The words of a text, and which token of a tokenizer answers for each of them.

A word is a run of characters without spaces; punctuation, symbols and ideographs are words of one character, as in
BERT's tokenizer. No vocabulary changes that, so models with different ones answer the same words. The first token of a
word answers for it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from unicodedata import category

import numpy as np
import numpy.typing as npt

Span: TypeAlias = tuple[int, int]
"""First character, and the one behind the last."""
Reads: TypeAlias = Literal["texts", "words", "both"]
"""What a model answers."""
IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F))


def reads_of(outputs: int, word_outputs: int) -> Reads:
    """What is answered by these outputs, of which the last `word_outputs` answer each word."""
    if not word_outputs:
        return "texts"
    return "words" if word_outputs == outputs else "both"


def words_of(text: str) -> list[Span]:
    """The words of a text, from its beginning to its end."""
    found: list[Span] = []
    begun: int | None = None
    for at, character in enumerate(text):
        space, alone = _class_of(character)
        if begun is not None and (space or alone):
            found.append((begun, at))
            begun = None
        if alone:
            found.append((at, at + 1))
        elif begun is None and not space:
            begun = at
    return found if begun is None else [*found, (begun, len(text))]


def first_tokens(offsets: Sequence[Span], words: Sequence[Span]) -> list[int]:
    """For each word the number of the first token with a character of it; -1 where there is none, as behind the place
    where the text is cut.

    `offsets` are the characters of each token, empty for special ones.
    """
    real = [(start, end, number) for number, (start, end) in enumerate(offsets) if end > start]
    found, at = [], 0
    for start, end in words:
        while at < len(real) and real[at][1] <= start:
            at += 1
        found.append(real[at][2] if at < len(real) and real[at][0] < end else -1)
    return found


def padded(rows: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Arrays (words, ...) of several texts -> (n, the most words, ...), with zeros behind the last word of each."""
    widest = max((len(row) for row in rows), default=0)
    made = np.zeros((len(rows), widest, *rows[0].shape[1:]), rows[0].dtype)
    for place, row in enumerate(rows):
        made[place, : len(row)] = row
    return made


def fitted(values: npt.NDArray[Any], words: int) -> npt.NDArray[Any]:
    """(n, W, ...) -> (n, words, ...): cut, or with zeros behind."""
    made = np.zeros((len(values), words, *values.shape[2:]), values.dtype)
    made[:, : values.shape[1]] = values[:, :words]
    return made


@lru_cache(maxsize=4096)
def _class_of(character: str) -> tuple[bool, bool]:
    """Whether a character is a space, and whether it is a word of its own."""
    number = ord(character)
    ideograph = number >= IDEOGRAPHS[0][0] and any(low <= number <= high for low, high in IDEOGRAPHS)
    return character.isspace(), ideograph or category(character)[0] in "PS"
