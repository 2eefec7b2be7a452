"""More text than a task has, for a teacher to label."""

from collections.abc import Sequence

import numpy as np

from eicompress.contracts import Examples
from eicompress.values import Text, seed_of


def with_distortions(train: Examples, copies: int, most: int, seed: int) -> tuple[Examples, list[Text]]:
    """The examples, and their texts followed by `copies` distortions of each.

    Where that would be more than `most` texts, a random part of the examples is left out.
    """
    readable = max(1, most // (1 + copies))
    if len(train) > readable:
        rows = np.random.default_rng(seed_of(seed, "rows")).permutation(len(train))[:readable]
        train = train.take(np.sort(rows).tolist())
    texts = list(train.texts)
    generator = np.random.default_rng(seed_of(seed, "distortions"))
    for _ in range(copies):
        texts += distorted(train.texts, generator)
    return train, texts


def distorted(texts: Sequence[Text], generator: np.random.Generator) -> list[Text]:
    """One distortion of each text: words dropped, words replaced by others of the corpus, or halves spliced."""
    words = sorted({word for text in texts for side in _sides(text) for word in side.split()})
    others = generator.permutation(len(texts))
    return [_distort(text, texts[other], words, generator) for text, other in zip(texts, others, strict=True)]


def _sides(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _distort(text: Text, other: Text, words: Sequence[str], generator: np.random.Generator) -> Text:
    sides = list(_sides(text))
    side = int(generator.integers(len(sides)))
    own, foreign = sides[side].split(), _sides(other)[side].split()
    kind = generator.integers(3)
    if kind == 2:
        head = own[: int(np.ceil(len(own) / 2))]
        own = head + foreign[len(foreign) // 2 :]
    else:
        share = generator.uniform(0.1, 0.4)
        hit = generator.random(len(own)) < share
        if kind == 0:
            own = [word for word, drop in zip(own, hit, strict=True) if not drop] or own
        else:
            drawn = generator.integers(len(words), size=len(own))
            own = [words[at] if replace else word for word, replace, at in zip(own, hit, drawn, strict=True)]
    sides[side] = " ".join(own)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
