"""The simplest way to answer questions: words of the context with the most words of the question around them.

After the sliding window of MCTest (Richardson et al., EMNLP 2013): a word of the question counts by how few contexts
have it, and by how near it stands.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from eicompress.answers.kind import Floats
from eicompress.answers.span_targets import words
from eicompress.answers.words import padded
from eicompress.values import Text, readable

AROUND = 10
"""Words before and behind that are looked at."""


def nearest_to_questions(known: Sequence[Text], texts: Sequence[Text], usual: int) -> Floats:
    """Logits (n, 1 + W, 2) of n texts that choose `usual` words each; contexts that are known say which are rare."""
    contexts = {text[1] for text in known}
    seen = Counter(word for context in contexts for word in set(_spelled(context)))
    found = []
    for text in texts:
        own, spelled = set(_spelled(text[0])), _spelled(text[1])
        worth = np.array([np.log(1 + len(contexts) / (1 + seen[each])) if each in own else 0.0 for each in spelled])
        may = np.array([each not in own and any(map(str.isalnum, each)) for each in spelled], np.bool_)
        near = np.convolve(worth, 1 / (1 + np.abs(np.arange(-AROUND, AROUND + 1))))[AROUND : AROUND + len(spelled)]
        count = min(usual, len(spelled))
        whole = np.convolve(may, np.ones(count), "valid") == count
        at = int(np.argmax(np.where(whole, near[count // 2 :][: len(whole)], -1.0)))
        logits = np.zeros((1 + len(spelled), 2), np.float32)
        logits[1 + at, 0] = logits[at + count, 1] = 1.0
        found.append(logits)
    return padded(found)


def _spelled(text: str) -> list[str]:
    """The words of a text in lower case."""
    text = readable(text)
    return [text[start:end].lower() for start, end in words(text)]
