"""Which tokens stay: every token of a vocabulary in order of worth, with the parts that it needs."""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from eicompress.encoder.subwords import Subwords, read_subwords
from eicompress.encoder.vocabulary import Ids, Importance, Scripts, Words, special_ids, state_of, with_parts, words_of

UNSEEN = 1e-3
"""What the first of the tokens that do not occur is worth, as a share of the least of those that do."""
ASCII = "".join(map(chr, range(33, 127)))
"""The printable characters that are kept whatever the corpus holds."""


@dataclass(frozen=True)
class Ranking:
    """Which tokens stay at any size."""

    needed: Ids
    """Specials and characters, which stay even where fewer tokens are asked for; ascending."""
    others: Ids
    """The other tokens that are worth something, the one that is missed most first."""

    def keep(self, num_tokens: int) -> "Choice":
        """The needed tokens, then as many of the others as there is room for.

        Tokens of no worth are left out, even if fewer than `num_tokens` are then kept.
        """
        room = max(0, num_tokens - len(self.needed))
        bound: Literal["num_tokens", "needed", "all"] = "num_tokens" if len(self.others) >= room else "all"
        if len(self.needed) > num_tokens:
            bound = "needed"
        return Choice(np.union1d(self.needed, self.others[:room]), len(self.needed), bound)


@dataclass(frozen=True)
class Choice:
    """The tokens that stay, and what set their number."""

    ids: Ids
    """(n,) in their old order."""
    needed: int
    """How many had to."""
    bound: Literal["num_tokens", "needed", "all"]
    """What set the size: the number asked for, the needed tokens (more), or all that are worth something (fewer)."""


def rank(
    tokenizer: Tokenizer,
    importance: Importance,
    words: Words,
    scripts: Scripts,
    *,
    weigh_pieces: bool = True,
    unseen: bool = False,
) -> Ranking:
    """The order in which tokens are worth keeping.

    Needed are the special tokens, the characters of ASCII and of the words (of the whole vocabulary if `scripts` is
    "all"), and the tokens of words that the vocabulary cannot spell: no word that could be read becomes unknown. Of
    the others the one goes first whose importance times the tokens that texts get longer by is least. What it is read
    as without it takes over its importance, and so on until none is left. Without `weigh_pieces` the least important
    one goes first. Tokens that do not occur are of no worth; with `unseen` those that can be spelled are worth a
    little, the less the later they stand in the vocabulary, where the more frequent ones of a language come first.

    Raises `Inapplicable` for a tokenizer of a kind that cannot be pruned.
    """
    state = state_of(tokenizer)
    subwords = read_subwords(state)
    needed = subwords.fixed | _spelling(tokenizer, subwords, words, scripts)
    needed_ids = special_ids(state) | {subwords.ids[token] for token in needed}
    needed |= {token for token, number in subwords.ids.items() if number in needed_ids}
    worth = {token: float(importance[number]) for token, number in subwords.ids.items() if importance[number] > 0}
    if unseen:
        worth = _worth_of_unseen(tokenizer, subwords, worth.keys() | needed, min(worth.values(), default=1.0)) | worth
    gone = _least_missed(subwords, worth, needed, weigh_pieces)
    others = [subwords.ids[token] for token in reversed(gone)]
    return Ranking(np.array(sorted(needed_ids), np.int64), np.array(others, np.int64))


def _spelling(tokenizer: Tokenizer, subwords: Subwords, words: Words, scripts: Scripts) -> set[str]:
    """The tokens without which a character of the words, or of ASCII, or of all scripts could become unknown."""
    characters = set(ASCII + " ")
    if not subwords.bytes:
        characters.update(*words)
    if scripts == "all":
        characters |= subwords.characters
    needed = {letter for each in characters for letter in _letters_in_use(tokenizer, subwords, each)}
    if scripts == "all":
        needed |= subwords.bytes
    unspelled = []
    for word in words:
        letters = subwords.letters(word)
        needed |= letters
        if not letters <= subwords.ids.keys():
            unspelled.append(word)
    pieces = with_parts(subwords, _tokens_of(tokenizer, unspelled))
    return {token for token in needed if token in subwords.ids} | pieces


def _worth_of_unseen(tokenizer: Tokenizer, subwords: Subwords, known: Set[str], least: float) -> dict[str, float]:
    """Tokens beside the known ones that texts of the same characters may have, by Zipf's law far below the least."""
    others = [token for token in sorted(subwords.ids, key=subwords.ids.__getitem__) if token not in known]
    spelled = (token for token in others if subwords.spelling(token) <= known)
    spoken = (token for token in spelled if _occurs(tokenizer, token, subwords))
    return {token: UNSEEN * least / rank for rank, token in enumerate(spoken, start=1)}


def _occurs(tokenizer: Tokenizer, token: str, subwords: Subwords) -> bool:
    """Whether some text has the token: `[unused1]` reaches the model in pieces."""
    bare = subwords.bare(token)
    text = tokenizer.decode([subwords.ids[token]], skip_special_tokens=False) if bare == token else bare
    words = words_of(tokenizer, text)
    return len(words) == 1 and words[0].endswith(bare)


def _letters_in_use(tokenizer: Tokenizer, subwords: Subwords, character: str) -> set[str]:
    """The forms in which a character reaches the model: `##,` never does if punctuation is cut off words."""
    probes = (character, character * 2, f"q{character}q", f"1{character}1")
    return {letter for probe in probes for word in words_of(tokenizer, probe) for letter in subwords.letters(word)}


def _tokens_of(tokenizer: Tokenizer, words: list[str]) -> set[str]:
    """The tokens that words are cut into now; with all of them kept, they are cut the same way again."""
    encoded = Tokenizer(tokenizer.model).encode_batch(words, add_special_tokens=False)
    return {token for each in encoded for token in each.tokens}


def _least_missed(subwords: Subwords, worth: Mapping[str, float], needed: Set[str], weigh_pieces: bool) -> list[str]:
    """The tokens of some worth that are not needed, in the order in which they go, and their parts with them."""
    kept = with_parts(subwords, worth.keys() | needed)
    weights = dict.fromkeys(kept, 0.0) | dict(worth)
    holders = Counter(part for token in kept for part in subwords.parts(token))
    gone: list[str] = []

    def loss(token: str) -> tuple[float, int]:
        """What texts lose with a token; among equals, the one of the highest id goes first."""
        longer = len(subwords.pieces(token, kept)) - 1 if weigh_pieces else 1
        return weights[token] * longer, -subwords.ids[token]

    heap = [(loss(token), token) for token in kept - needed if not holders[token]]
    heapify(heap)
    while heap:
        token = heappop(heap)[1]
        now = loss(token)
        if heap and now > heap[0][0]:  # its cost has risen since, as other tokens were dropped
            heappush(heap, (now, token))
            continue
        kept.remove(token)
        gone.append(token)
        if weigh_pieces:
            for piece in subwords.pieces(token, kept):
                weights[piece] += weights[token]
        for part in subwords.parts(token):
            holders[part] -= 1
            if not holders[part] and part not in needed:
                heappush(heap, (loss(part), part))
    return gone
