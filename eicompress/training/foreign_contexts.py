"""Questions with their contexts as a model of `transformers` reads them: in windows, each an input of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding

from eicompress.answers.windows import of_windows, places_of
from eicompress.answers.words import padded, words_of
from eicompress.contracts import Array
from eicompress.values import Text, readable


def inputs_of(windows: Sequence[Sequence[Encoding]], names: set[str]) -> list[dict[str, Any]]:
    """What a model whose `forward` has arguments of these names is given for all windows, one after the other."""
    return [
        {
            name: values
            for name, values in (
                ("input_ids", each.ids),
                ("attention_mask", each.attention_mask),
                ("token_type_ids", each.type_ids),
            )
            if name in names
        }
        for of_text in windows
        for each in of_text
    ]


def answers_of_words(
    texts: Sequence[Text], windows: Sequence[Sequence[Encoding]], logits: Sequence[Array], nothing: int | None
) -> Array:
    """(n, 1 + W, 2) of n questions, from the logits (tokens, 2) of all windows; the token `nothing` stands for no
    answer, the first one of a window that lacks it."""
    found, left = [], iter(logits)
    for text, of_text in zip(texts, windows, strict=True):
        places = places_of(words_of(readable(text[1])), of_text)
        first = [each.ids.index(nothing) if nothing in each.ids else 0 for each in of_text]
        found.append(of_windows([next(left) for _ in of_text], places, first).astype(np.float16))
    made: Array = padded(found)
    return made
