"""Additional texts made from a task's own, for the teacher to label."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from eicompress.contracts import Examples
from eicompress.values import Text, seed_of

ANGLES_AT_ONCE = 1 << 24
"""Between words, of which 64 MB are kept at a time."""
WORD = re.compile(r"(\w+(?:'\w+)*)")


def with_distortions(
    train: Examples, more: Sequence[Text], copies: int, most: int, seed: int
) -> tuple[Examples, list[Text]]:
    """The examples, and their texts followed by `copies` distortions of each and by `more`.

    Where that would be more than `most` texts, a random part of the examples and of `more` is left out.
    """
    share = most / (len(train) * (1 + copies) + len(more))
    if share < 1:
        train = train.take(_drawn(len(train), share, seed, "rows"))
        more = [more[row] for row in _drawn(len(more), share, seed, "more")]
    texts = list(train.texts)
    generator = np.random.default_rng(seed_of(seed, "distortions"))
    for _ in range(copies):
        texts += distorted(train.texts, generator)
    return train, [*texts, *more]


def _drawn(count: int, share: float, seed: int, what: str) -> list[int]:
    rows = np.random.default_rng(seed_of(seed, what)).permutation(count)[: max(1, int(share * count))]
    found: list[int] = np.sort(rows).tolist()
    return found


def distorted(texts: Sequence[Text], generator: np.random.Generator) -> list[Text]:
    """One distortion of each text: words dropped, words replaced by others of the corpus, or halves spliced."""
    words = sorted({word for text in texts for side in _sides(text) for word in side.split()})
    others = generator.permutation(len(texts))
    return [_distort(text, texts[other], words, generator) for text, other in zip(texts, others, strict=True)]


def renamed(
    texts: Sequence[Text], nearest: Mapping[str, Sequence[str]], share: float, generator: np.random.Generator
) -> list[Text]:
    """One copy of each text with about a `share` of its words, at least one, replaced by one of its `nearest`.

    Words that have no nearest ones stay (TinyBERT's augmentation, arXiv 1909.10351, algorithm 1).
    """
    return [_rename(text, nearest, share, generator) for text in texts]


def nearest_words(
    tokenizer: Tokenizer, table: torch.Tensor, words: Sequence[str], candidates: Sequence[str], count: int
) -> dict[str, list[str]]:
    """For each word the `count` candidates, but itself, whose vectors have the smallest angle to its own.

    A word's vector is the mean of its tokens' in the table (vocabulary, width). Spelled as the tokenizer reads them.
    """
    words, candidates = sorted({*words}), sorted({*candidates})
    ours, theirs = (F.normalize(_vectors(tokenizer, table, each)) for each in (words, candidates))
    found = {}
    at_once = max(1, ANGLES_AT_ONCE // max(1, len(candidates)))
    for start in range(0, len(words), at_once):
        angles = ours[start : start + at_once] @ theirs.T
        order = angles.topk(min(count + 1, len(candidates)), dim=1).indices.tolist()
        for word, near in zip(words[start : start + at_once], order, strict=True):
            found[word] = [candidates[at] for at in near if candidates[at] != word][:count]
    return found


def words_of(texts: Sequence[Text]) -> list[str]:
    """The words of the texts, in lower case."""
    return sorted({word.lower() for text in texts for side in _sides(text) for word in WORD.findall(side)})


def _vectors(tokenizer: Tokenizer, table: torch.Tensor, words: Sequence[str]) -> torch.Tensor:
    """(words, width)"""
    ids = [each.ids for each in tokenizer.encode_batch_fast(list(words), add_special_tokens=False)]
    of = torch.tensor([row for row, each in enumerate(ids) for _ in each])
    tokens = torch.tensor([token for each in ids for token in each])
    sums = torch.zeros(len(words), table.shape[1]).index_add_(0, of, table[tokens])
    return sums / torch.tensor([max(1, len(each)) for each in ids])[:, None]


def _rename(text: Text, nearest: Mapping[str, Sequence[str]], share: float, generator: np.random.Generator) -> Text:
    sides = list(_sides(text))
    side = int(generator.integers(len(sides)))
    parts = WORD.split(sides[side])
    known = [at for at in range(1, len(parts), 2) if nearest.get(parts[at].lower())]
    if known:
        hit = [at for at in known if generator.random() < share] or [known[int(generator.integers(len(known)))]]
        for at in hit:
            near = nearest[parts[at].lower()]
            parts[at] = near[int(generator.integers(len(near)))]
    sides[side] = "".join(parts)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _sides(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _distort(text: Text, other: Text, words: Sequence[str], generator: np.random.Generator) -> Text:
    sides = list(_sides(text))
    side = int(generator.integers(len(sides)))
    others = _sides(other)
    own, foreign = sides[side].split(), others[min(side, len(others) - 1)].split()
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
