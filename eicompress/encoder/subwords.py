"""The three ways in which a tokenizer reads a word in tokens, and what is left of each when tokens go.

- WordPiece takes the longest token that fits, from left to right (arXiv 1609.08144).
- Byte-level BPE starts from bytes and merges neighbours in a learned order (arXiv 1508.07909, GPT-2).
- Unigram takes the tokens of the greatest sum of scores (arXiv 1804.10959).

Each reads a text whose tokens were all kept as it did before, and any other in shorter tokens. `tokens` are those of
the model itself; tokens that were added around it are the business of `vocabulary`.
"""

import math
from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from typing import Any, Protocol

from eicompress.errors import Inapplicable

_OUT = "leave `vocabulary_pruning` out of the recipe"


class Subwords(Protocol):
    """A tokenizer's model, as plain data."""

    ids: Mapping[str, int]
    """Of each token."""
    unknown: str | None
    """The token for what cannot be read; None where there is nothing of the kind."""

    @property
    def fixed(self) -> Set[str]:
        """Tokens without which the model would read kept tokens differently, or could not read every text."""

    @property
    def characters(self) -> Set[str]:
        """The characters of text that have a token of their own."""

    @property
    def bytes(self) -> Set[str]:
        """The tokens of single bytes, where words are spelled in them and not in characters."""

    def bare(self, token: str) -> str:
        """The token as it stands in a word."""

    def spelling(self, token: str) -> Set[str]:
        """The shortest tokens that the text of a token falls into."""

    def letters(self, word: str) -> Set[str]:
        """The shortest tokens that spell a word."""

    def parts(self, token: str) -> Sequence[str]:
        """The tokens that must stay as long as this one does."""

    def pieces(self, token: str, kept: Set[str]) -> Sequence[str]:
        """What the text of a token is read as without it, where `kept` has the letters of it."""

    def pruned(self, new_ids: Mapping[int, int]) -> dict[str, Any]:
        """The model as plain data, with the tokens whose old ids are named, under their new ids."""


class WordPiece:
    def __init__(self, model: Mapping[str, Any]) -> None:
        self.model = model
        self.ids: Mapping[str, int] = model["vocab"]
        self.unknown: str | None = model["unk_token"]
        self.prefix: str = model["continuing_subword_prefix"]
        self.bytes: Set[str] = frozenset()
        if self.unknown not in self.ids:
            raise Inapplicable(
                f"the unknown token must be in the vocabulary, but `{self.unknown}` is not; add it, or {_OUT}"
            )
        self.fixed: Set[str] = frozenset([self.unknown])

    @cached_property
    def characters(self) -> Set[str]:
        bare = (token.removeprefix(self.prefix) for token in self.ids)
        return {token for token in bare if len(token) == 1}

    def bare(self, token: str) -> str:
        return token.removeprefix(self.prefix)

    def spelling(self, token: str) -> Set[str]:
        bare = self.bare(token)
        return {self.prefix + character for character in bare} if bare != token else self.letters(token)

    def letters(self, word: str) -> Set[str]:
        return {word[0], *(self.prefix + character for character in word[1:])}

    def parts(self, token: str) -> Sequence[str]:
        return ()

    def pieces(self, token: str, kept: Set[str]) -> Sequence[str]:
        text = token.removeprefix(self.prefix)
        lead = token[: len(token) - len(text)]
        found: list[str] = []
        start = 0
        while start < len(text):
            ends = range(len(text) if found else len(text) - 1, start, -1)
            end = next(end for end in ends if lead + text[start:end] in kept)
            found.append(lead + text[start:end])
            start, lead = end, self.prefix
        return found

    def pruned(self, new_ids: Mapping[int, int]) -> dict[str, Any]:
        return {**self.model, "vocab": _renumbered(self.ids, new_ids)}


class ByteLevelBPE:
    """A token's parts stay with it, and with them every merge that leads to it: what is kept is merged as before."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        self.model = model
        self.ids: Mapping[str, int] = model["vocab"]
        named = (model["unk_token"], "<unk>", "[UNK]")
        self.unknown: str | None = next((each for each in named if each in self.ids), None)
        self.characters: Set[str] = frozenset()
        self.merges: dict[str, list[tuple[str, str]]] = {}
        for left, right in model["merges"]:
            self.merges.setdefault(left + right, []).append((left, right))

    @cached_property
    def bytes(self) -> Set[str]:
        return {token for token in self.ids if len(token) == 1}

    @property
    def fixed(self) -> Set[str]:
        """A byte without a token would be left out of a text silently, so there must be an unknown token or all."""
        return self.bytes if self.unknown is None else frozenset([self.unknown])

    def bare(self, token: str) -> str:
        return token

    def spelling(self, token: str) -> Set[str]:
        return self.letters(token)

    def letters(self, word: str) -> Set[str]:
        return set(word)

    def parts(self, token: str) -> Sequence[str]:
        return [part for merge in self.merges.get(token, ()) for part in merge]

    def pieces(self, token: str, kept: Set[str]) -> Sequence[str]:
        return self.merges[token][0]

    def pruned(self, new_ids: Mapping[int, int]) -> dict[str, Any]:
        vocabulary = _renumbered(self.ids, new_ids)
        merges = [each for each in self.model["merges"] if {*each, "".join(each)} <= vocabulary.keys()]
        lost = {"unk_token": self.unknown, "fuse_unk": True} if self.model["unk_token"] is None else {}
        return {**self.model, **lost, "vocab": vocabulary, "merges": merges}


class Unigram:
    """The token of the lowest score stays: what is unknown scores a fixed distance below it, and must never score
    above a token that was dropped."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        self.model = model
        self.scores: Mapping[str, float] = dict(model["vocab"])
        self.ids: Mapping[str, int] = {token: number for number, (token, _) in enumerate(model["vocab"])}
        self.bytes: Set[str] = frozenset()
        if model["unk_id"] is None:
            raise Inapplicable(f"a Unigram tokenizer must have an unknown token, but this one has none; {_OUT}")
        unknown: str = model["vocab"][model["unk_id"]][0]
        self.unknown: str | None = unknown
        lowest = min(self.scores, key=lambda token: self.scores[token])
        fallback = [f"<0x{byte:02X}>" for byte in range(256)] if model.get("byte_fallback") else []
        self.fixed: Set[str] = {unknown, lowest, *(token for token in fallback if token in self.ids)}

    @cached_property
    def characters(self) -> Set[str]:
        return {token for token in self.ids if len(token) == 1}

    def bare(self, token: str) -> str:
        return token

    def spelling(self, token: str) -> Set[str]:
        return self.letters(token)

    def letters(self, word: str) -> Set[str]:
        return set(word)

    def parts(self, token: str) -> Sequence[str]:
        return ()

    def pieces(self, token: str, kept: Set[str]) -> Sequence[str]:
        size = len(token)
        best = [(0.0, 0)] + [(-math.inf, 0)] * size  # at each end: the sum of scores, and where the last piece starts
        for end in range(1, size + 1):
            for start in range(end):
                piece = token[start:end]
                if piece in kept and end - start < size and best[start][0] + self.scores[piece] > best[end][0]:
                    best[end] = (best[start][0] + self.scores[piece], start)
        found: list[str] = []
        while size:
            found.append(token[best[size][1] : size])
            size = best[size][1]
        return found[::-1]

    def pruned(self, new_ids: Mapping[int, int]) -> dict[str, Any]:
        vocabulary = [each for number, each in enumerate(self.model["vocab"]) if number in new_ids]
        return {**self.model, "vocab": vocabulary, "unk_id": new_ids[self.model["unk_id"]]}


def read_subwords(state: Mapping[str, Any]) -> Subwords:
    """The model of a tokenizer that is given as plain data. Raises `Inapplicable` for one of another kind."""
    model = state["model"]
    kind = model["type"]
    if kind == "WordPiece":
        return WordPiece(model)
    if kind == "Unigram":
        return Unigram(model)
    if kind != "BPE":
        raise Inapplicable(
            f"the tokenizer must be a WordPiece, byte-level BPE or Unigram to lose tokens, but is a `{kind}`; {_OUT}"
        )
    if not (_has_bytes(state["pre_tokenizer"]) or _has_bytes(state["normalizer"])):
        raise Inapplicable(f"a BPE tokenizer must be byte-level to lose tokens, but this one spells characters; {_OUT}")
    if model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        raise Inapplicable(f"a byte-level BPE must mark no places in a word to lose tokens, but this one does; {_OUT}")
    return ByteLevelBPE(model)


def _has_bytes(step: Mapping[str, Any] | None) -> bool:
    """Whether a pre-tokenizer or normalizer writes bytes as characters."""
    if step is None:
        return False
    inner = step.get("pretokenizers") or step.get("normalizers") or ()
    return step["type"] == "ByteLevel" or any(map(_has_bytes, inner))


def _renumbered(ids: Mapping[str, int], new_ids: Mapping[int, int]) -> dict[str, int]:
    return {token: new_ids[old] for token, old in ids.items() if old in new_ids}
