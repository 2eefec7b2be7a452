"""Tokenizer surgery: which tokens stay, and a tokenizer.json that still reads every text.

A fast tokenizer cuts a text into words (normalizer and pre-tokenizer) and a word into tokens (its model).
Only the model changes here, so all that matters of a text is which words it has, and how often. WordPiece
takes the longest token that fits, from left to right; when tokens are gone, a word falls back on shorter
ones, down to single characters, and is unknown only if a character is missing. So the characters stay, each
in both of its forms: `c` at the start of a word and `##c` inside. As before, a word longer than the
tokenizer's own limit (100 characters) is unknown whatever it is made of.

No function changes a tokenizer that it is handed.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from eicompress.errors import Inapplicable

Ids: TypeAlias = npt.NDArray[np.int64]
Counts: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = Mapping[str, int]
"""How often each normalized word occurs."""
Scripts: TypeAlias = Literal["corpus", "all"]
"""Whose characters stay: those of the corpus alone, or all that the vocabulary has."""

ASCII = "".join(map(chr, range(33, 127)))
"""The printable characters that are kept whatever the corpus holds."""


def count_words(tokenizer: Tokenizer, texts: Iterable[str]) -> Words:
    """The words of the texts, as the model gets them; added tokens, which it never gets, are left out."""
    words: Counter[str] = Counter()
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    longest_first = sorted(added, key=len, reverse=True)
    boundary = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
    for text in texts:
        for part in boundary.split(text):
            words.update(_words_of(tokenizer, part))
    return dict(sorted(words.items()))


def token_counts(tokenizer: Tokenizer, words: Words) -> Counts:
    """(V,) how often each id occurs in these words; special and added tokens are not counted."""
    model = Tokenizer(tokenizer.model)
    encoded = model.encode_batch_fast(list(words), add_special_tokens=False)
    lengths = [len(each.ids) for each in encoded]
    ids = np.fromiter((number for each in encoded for number in each.ids), np.int64, sum(lengths))
    counts = np.zeros(max(tokenizer.get_vocab().values()) + 1, np.int64)
    np.add.at(counts, ids, np.repeat(np.fromiter(words.values(), np.int64, len(words)), lengths))
    return counts


@dataclass(frozen=True)
class Choice:
    """Which tokens stay, and why so many."""

    ids: Ids
    """(n,) in their old order."""
    needed: int
    """Specials and characters, which stay even where fewer tokens are asked for."""
    bound: Literal["num_tokens", "needed", "seen"]
    """What set the size: the number asked for, the needed tokens (more), or those that occur (fewer)."""


def choose(tokenizer: Tokenizer, counts: Counts, words: Words, num_tokens: int, scripts: Scripts) -> Choice:
    """The tokens that are needed, then the most frequent ones, `num_tokens` in all.

    Needed are the special tokens, the characters of ASCII and of the words (of the whole vocabulary if
    `scripts` is "all"), and the tokens of words that the vocabulary cannot spell: no word that could be read
    becomes unknown. Tokens with a count of zero bring nothing and are left out, even if fewer than
    `num_tokens` are then kept.

    Raises `Inapplicable` for a tokenizer that is no WordPiece.
    """
    state = _state(tokenizer)
    needed = np.array(sorted(_special_ids(state) | _spelling(tokenizer, state, words, scripts)), np.int64)
    seen = np.setdiff1d(np.flatnonzero(counts), needed)
    room = max(0, num_tokens - len(needed))
    frequent = seen[np.argsort(-counts[seen], kind="stable")][:room]
    bound: Literal["num_tokens", "needed", "seen"] = "num_tokens" if len(seen) >= room else "seen"
    if len(needed) > num_tokens:
        bound = "needed"
    return Choice(np.union1d(needed, frequent), len(needed), bound)


def prune(tokenizer: Tokenizer, keep_ids: Iterable[int]) -> tuple[Tokenizer, Ids]:
    """A tokenizer with these tokens and the special ones, and their old ids, whose places are the new ids.

    Raises `Inapplicable` for a tokenizer that is no WordPiece.
    """
    state = _state(tokenizer)
    kept = np.array(sorted(_special_ids(state) | {int(number) for number in keep_ids}), np.int64)
    new_ids = {int(old): new for new, old in enumerate(kept)}
    state["model"] = _pruned_word_piece(state["model"], new_ids)
    for token in state["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    if state.get("post_processor"):
        _renumber_processor(state["post_processor"], new_ids)
    if state.get("padding"):
        state["padding"]["pad_id"] = new_ids[state["padding"]["pad_id"]]
    pruned = Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
    expected = {token: new_ids[old] for token, old in tokenizer.get_vocab().items() if old in new_ids}
    if pruned.get_vocab() != expected:
        raise Inapplicable(
            "the ids of added tokens must come after the model's own, but some lie in gaps between them; "
            "leave `vocabulary_pruning` out of the recipe"
        )
    return pruned, kept


def with_max_length(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """A copy that cuts what it reads to `max_length` tokens, special ones included."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.enable_truncation(max_length)
    return copy


def minified_json(tokenizer: Tokenizer) -> str:
    """The smallest tokenizer.json that reads the same, in `tokenizers` and in transformers.js.

    White space, escapes and empty sections are left out, and so is padding: a device reads one text at a
    time, and whoever reads several pads them himself. One reader or the other insists on all that is left.
    """
    state = json.loads(tokenizer.to_str())
    del state["padding"]
    if state["truncation"] is None:
        del state["truncation"]
    return json.dumps(state, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Comparison:
    """How a pruned tokenizer reads words, beside the one it was made from; special tokens do not count."""

    coverage: float
    """Share of the old tokens' occurrences whose token was kept."""
    unknown_before: float
    """Share of the old tokens' occurrences that are unknown."""
    unknown_after: float
    """Share of the new tokens' occurrences that are unknown."""
    growth: float
    """How many more tokens a text has: 0.02 is 2 % more."""


def compare(before: Tokenizer, after: Tokenizer, words: Words, counts: Counts | None = None) -> Comparison:
    """How the words are read. `counts` are the old tokenizer's `token_counts` of them, if known."""
    old = token_counts(before, words) if counts is None else counts
    new = token_counts(after, words)
    vocabulary = after.get_vocab()
    kept = [number for token, number in before.get_vocab().items() if token in vocabulary]
    total_old, total_new = int(old.sum()) or 1, int(new.sum()) or 1
    return Comparison(
        coverage=float(old[kept].sum() / total_old) if words else 1.0,
        unknown_before=float(old[_unknown_id(before)] / total_old),
        unknown_after=float(new[_unknown_id(after)] / total_new),
        growth=total_new / total_old - 1,
    )


def _words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text] if text else []
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text) if word]


def _state(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer as plain data, if it is of a kind that can be pruned."""
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    model = state["model"]
    if model["type"] != "WordPiece":
        raise Inapplicable(
            f"the tokenizer must be a WordPiece to lose tokens, but it is a `{model['type']}`; "
            "leave `vocabulary_pruning` out of the recipe"
        )
    if model["unk_token"] not in model["vocab"]:
        raise Inapplicable(
            f"the unknown token must be in the vocabulary, but `{model['unk_token']}` is not; "
            "add it, or leave `vocabulary_pruning` out of the recipe"
        )
    return state


def _unknown_id(tokenizer: Tokenizer) -> int:
    number = tokenizer.token_to_id(tokenizer.model.unk_token)
    assert number is not None
    return number


def _special_ids(state: Mapping[str, Any]) -> set[int]:
    """The ids that the tokenizer itself names: added tokens, unknown, padding, what is put around a text."""
    model = state["model"]
    ids = {token["id"] for token in state["added_tokens"]} | {model["vocab"][model["unk_token"]]}
    if state.get("padding"):
        ids.add(state["padding"]["pad_id"])
    if state.get("post_processor"):
        ids.update(_processor_ids(state["post_processor"]))
    return ids


def _processor_ids(processor: Mapping[str, Any]) -> Iterator[int]:
    if processor["type"] == "TemplateProcessing":
        for special in processor["special_tokens"].values():
            yield from special["ids"]
    elif processor["type"] in ("BertProcessing", "RobertaProcessing"):
        yield from (processor["sep"][1], processor["cls"][1])
    elif processor["type"] == "Sequence":
        for each in processor["processors"]:
            yield from _processor_ids(each)


def _renumber_processor(processor: dict[str, Any], new_ids: Mapping[int, int]) -> None:
    if processor["type"] == "TemplateProcessing":
        for special in processor["special_tokens"].values():
            special["ids"] = [new_ids[old] for old in special["ids"]]
    elif processor["type"] in ("BertProcessing", "RobertaProcessing"):
        for side in ("sep", "cls"):
            processor[side][1] = new_ids[processor[side][1]]
    elif processor["type"] == "Sequence":
        for each in processor["processors"]:
            _renumber_processor(each, new_ids)


def _pruned_word_piece(model: Mapping[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    vocabulary = {token: new_ids[old] for token, old in model["vocab"].items() if old in new_ids}
    return {**model, "vocab": vocabulary}


def _spelling(tokenizer: Tokenizer, state: Mapping[str, Any], words: Words, scripts: Scripts) -> set[int]:
    """The ids without which a character of the words, or of ASCII, or of all scripts could become unknown."""
    vocabulary, prefix = state["model"]["vocab"], state["model"]["continuing_subword_prefix"]
    characters = set(ASCII).union(*words)
    if scripts == "all":
        bare = (token.removeprefix(prefix) for token in vocabulary)
        characters.update(token for token in bare if len(token) == 1)
    forms = {form for each in characters for form in _forms_in_use(tokenizer, each, prefix)}
    unspelled = []
    for word in words:
        spelled = _forms(word, prefix)
        forms |= spelled
        if not spelled <= vocabulary.keys():
            unspelled.append(word)
    return {vocabulary[form] for form in forms if form in vocabulary} | _pieces(tokenizer, unspelled)


def _forms(word: str, prefix: str) -> set[str]:
    """The one-character tokens that spell a word."""
    return {word[0], *(prefix + character for character in word[1:])}


def _forms_in_use(tokenizer: Tokenizer, character: str, prefix: str) -> set[str]:
    """The forms in which a character reaches the model: `##,` never does if punctuation is cut off words."""
    forms: set[str] = set()
    for probe in (character, character * 2, f"q{character}q", f"1{character}1"):
        for word in _words_of(tokenizer, probe):
            forms |= _forms(word, prefix)
    return forms & {character, prefix + character}


def _pieces(tokenizer: Tokenizer, words: list[str]) -> set[int]:
    """The tokens that words are cut into now; with all of them kept, they are cut the same way again."""
    encoded = Tokenizer(tokenizer.model).encode_batch_fast(words, add_special_tokens=False)
    return {number for each in encoded for number in each.ids}
