"""A question with a context that may be longer than a model reads: windows of the context, each behind the question.

Neighbouring windows overlap. Each word of the context is answered by the window that shows most around it (Devlin et
al., arXiv 1810.04805): from the logits of its first token there comes where an answer begins, from those of its last
token where one ends.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from eicompress.answers.kind import Floats
from eicompress.answers.words import Span
from eicompress.errors import ModelError, is_panic
from eicompress.values import readable

WHOLE = 1 << 32
"""A window that has all tokens of a word is better than one that shows more around it, but not all of it."""
OVERLAP = 4
"""Neighbouring windows have this part of a window's tokens in common, a quarter."""


class WindowReader:
    """Cuts questions with contexts into windows of at most as many tokens as a tokenizer is to give.

    A question has half of a window at most; what is longer is cut.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int | None) -> None:
        """The tokenizer is copied; `limit` is in tokens, None for no limit."""
        text = tokenizer.to_str()
        self._whole, self._cutting = Tokenizer.from_str(text), Tokenizer.from_str(text)
        for each in (self._whole, self._cutting):
            each.no_padding()
            each.no_truncation()
        self._limit = limit
        if limit is not None:
            around = len(self._whole.encode("", "").ids)
            self._longest = max(1, limit // 2 - around)
            self._cutting.enable_truncation(
                limit, stride=min(limit // OVERLAP, limit - limit // 2 - 1), strategy="only_second"
            )

    def read(self, texts: Sequence[tuple[str, str]]) -> list[list[Encoding]]:
        """For each question and its context the windows, in their order. Raises `ModelError`."""
        pairs = [(readable(question), readable(context)) for question, context in texts]
        try:
            if self._limit is not None:
                pairs = self._with_short_questions(pairs)
            found = self._cutting.encode_batch(pairs)
        except BaseException as error:  # the library raises nothing narrower
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise ModelError(f"the model's tokenizer must read every text, but cannot: {error}") from error
        return [[each, *each.overflowing] for each in found]

    def _with_short_questions(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        encoded = self._whole.encode_batch([question for question, _ in pairs], add_special_tokens=False)
        return [
            (question[: each.offsets[self._longest][0]] if len(each.ids) > self._longest else question, context)
            for (question, context), each in zip(pairs, encoded, strict=True)
        ]


def limit_of(tokenizer: Tokenizer) -> int | None:
    """Tokens after which a tokenizer cuts texts; None where it never does."""
    return int(tokenizer.truncation["max_length"]) if tokenizer.truncation else None


def places_of(words: Sequence[Span], windows: Sequence[Encoding]) -> npt.NDArray[np.int64]:
    """(W, 3): for each word of the context its window, and its first and last token there; -1 for a word without one.

    `words` are spans of the context's characters.
    """
    spans = np.array(words, np.int64).reshape(-1, 2)
    found, best = np.full((len(spans), 3), -1, np.int64), np.full(len(spans), -1, np.int64)
    for number, window in enumerate(windows):
        of_context = np.array([each == 1 for each in window.sequence_ids], np.bool_)
        offsets = np.array(window.offsets, np.int64).reshape(-1, 2)
        tokens = np.flatnonzero(of_context & (offsets[:, 1] > offsets[:, 0]))
        if not len(tokens):
            continue
        starts, ends = offsets[tokens].T
        first = np.searchsorted(ends, spans[:, 0], "right").clip(max=len(tokens) - 1)
        last = (np.searchsorted(starts, spans[:, 1], "left") - 1).clip(min=0)
        read = (starts[first] < spans[:, 1]) & (ends[last] > spans[:, 0]) & (first <= last)
        whole = (starts[first] <= spans[:, 0]) & (ends[last] >= spans[:, 1])
        worth = np.where(read, WHOLE * whole + np.minimum(first, len(tokens) - 1 - last), -1)
        better = worth > best
        found[better] = np.stack([np.full(len(spans), number), tokens[first], tokens[last]], axis=1)[better]
        best = np.maximum(best, worth)
    return found


def of_windows(logits: Sequence[Floats], places: npt.NDArray[np.int64], nothing: Sequence[int]) -> Floats:
    """Logits (tokens, 2) of each window -> (1 + W, 2): those of no answer, and of each word.

    `places` are as `places_of` gives them; `nothing` has, for each window, the token that stands for no answer, whose
    lowest logits of all windows are taken. Words without a token have zeros.
    """
    found = np.zeros((1 + len(places), 2), logits[0].dtype)
    found[0] = np.min([each[at] for each, at in zip(logits, nothing, strict=True)], axis=0)
    for number, each in enumerate(logits):
        here = np.flatnonzero(places[:, 0] == number)
        for side in (0, 1):
            found[1 + here, side] = each[places[here, 1 + side], side]
    return found
