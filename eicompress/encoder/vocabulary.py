"""Tokenizer surgery: which tokens stay, and a tokenizer.json that still reads every text.

A fast tokenizer cuts a text into words (normalizer and pre-tokenizer) and a word into tokens (its model, see
`subwords`). Only the model changes here, so all that matters of a text is which words it has, and how often. When
tokens are gone, a word falls back on shorter ones, down to single characters or bytes, and is unknown only where one
of these is missing. So they stay, in every form in which they reach the model: `c` at the start of a word and `##c`
inside. As before, a word longer than a WordPiece's own limit (100 characters) is unknown whatever its characters.

No function changes a tokenizer that it is handed.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from eicompress.encoder.subwords import Subwords, read_subwords
from eicompress.errors import Inapplicable
from eicompress.values import Json, Text

Ids: TypeAlias = npt.NDArray[np.int64]
Counts: TypeAlias = npt.NDArray[np.int64]
Importance: TypeAlias = npt.NDArray[Any]
"""(V,) what the occurrences of each token are worth together; their number, to begin with."""
Words: TypeAlias = Mapping[str, int]
"""How often each normalized word occurs."""
Scripts: TypeAlias = Literal["corpus", "all"]
"""Whose characters stay: those of the corpus alone, or all that the vocabulary has."""


def count_words(tokenizer: Tokenizer, texts: Iterable[str]) -> Words:
    """The words of the texts, as the model gets them; added tokens, which it never gets, are left out."""
    words: Counter[str] = Counter()
    boundary = _added_tokens(tokenizer)
    for text in texts:
        for part in boundary.split(text):
            words.update(words_of(tokenizer, part))
    return dict(sorted(words.items()))


def whole_words(tokenizer: Tokenizer) -> list[str]:
    """The words of letters alone that have one token each, as a text has them."""
    ids = sorted(tokenizer.get_vocab().values())
    words = [tokenizer.decode([each], skip_special_tokens=False).strip() for each in ids]
    found: dict[str, None] = {}
    # A byte-level BPE has one token for a word at the start of a text and another for one behind a space.
    for before in ("", " "):
        encoded = tokenizer.encode_batch_fast([before + word for word in words], add_special_tokens=False)
        read = zip(words, ids, encoded, strict=True)
        found |= {word: None for word, own, each in read if word.isalpha() and each.ids == [own]}
    return list(found)


@dataclass(frozen=True)
class SplitTexts:
    """Texts as the words that a tokenizer's model gets, which stay the same whatever tokens it has."""

    words: list[str]
    """The different ones."""
    numbers: Ids
    """(n,) the place among `words` of each word of all texts."""
    texts: Ids
    """(n,) whose word it is."""
    others: Ids
    """(texts,) how many tokens a text has beside those of its words: added ones, and what is put around it."""

    def lengths(self, tokenizer: Tokenizer) -> Ids:
        """(texts,) tokens of each text, nothing cut off, under a tokenizer that cuts texts into the same words."""
        encoded = Tokenizer(tokenizer.model).encode_batch_fast(self.words, add_special_tokens=False)
        pieces = np.array([len(each.ids) for each in encoded], np.int64)
        return self.others + np.bincount(self.texts, pieces[self.numbers], len(self.others)).astype(np.int64)

    def counts(self, tokenizer: Tokenizer) -> Counts:
        """(V,) how often each id occurs in the words of all texts, under a tokenizer that cuts them the same way."""
        occurrences = np.bincount(self.numbers, minlength=len(self.words))
        return token_counts(tokenizer, dict(zip(self.words, occurrences.tolist(), strict=True)))


def splitting(tokenizer: Tokenizer) -> Json:
    """What decides how `split` splits: the same for two tokenizers that differ in their tokens alone."""
    state = state_of(tokenizer)
    return {
        "normalizer": state["normalizer"],
        "pre_tokenizer": state["pre_tokenizer"],
        "added": _added_tokens(tokenizer).pattern,
        "around": [tokenizer.num_special_tokens_to_add(pair) for pair in (False, True)],
    }


def split(tokenizer: Tokenizer, texts: Iterable[Text]) -> SplitTexts:
    """The texts as words; a pair is one text."""
    words: dict[str, int] = {}
    numbers: list[int] = []
    owners: list[int] = []
    others: list[int] = []
    boundary = _added_tokens(tokenizer)
    for row, text in enumerate(texts):
        others.append(tokenizer.num_special_tokens_to_add(isinstance(text, tuple)))
        for each in text if isinstance(text, tuple) else (text,):
            parts = boundary.split(each)
            others[row] += len(parts) - 1
            found = [words.setdefault(word, len(words)) for part in parts for word in words_of(tokenizer, part)]
            numbers += found
            owners += [row] * len(found)
    return SplitTexts(list(words), *(np.array(each, np.int64) for each in (numbers, owners, others)))


def token_counts(tokenizer: Tokenizer, words: Words) -> Counts:
    """(V,) how often each id occurs in these words; special and added tokens are not counted."""
    model = Tokenizer(tokenizer.model)
    encoded = model.encode_batch_fast(list(words), add_special_tokens=False)
    lengths = [len(each.ids) for each in encoded]
    ids = np.fromiter((number for each in encoded for number in each.ids), np.int64, sum(lengths))
    counts = np.zeros(max(tokenizer.get_vocab().values()) + 1, np.int64)
    np.add.at(counts, ids, np.repeat(np.fromiter(words.values(), np.int64, len(words)), lengths))
    return counts


def prune(tokenizer: Tokenizer, keep_ids: Iterable[int]) -> tuple[Tokenizer, Ids]:
    """A tokenizer with these tokens, those that it cannot do without, and their old ids, whose places are the new ids.

    Raises `Inapplicable` for a tokenizer of a kind that cannot be pruned.
    """
    state = state_of(tokenizer)
    subwords = read_subwords(state)
    wanted = special_ids(state) | {int(number) for number in keep_ids}
    tokens = with_parts(subwords, {token for token, number in subwords.ids.items() if number in wanted})
    kept = np.array(sorted(wanted | {subwords.ids[token] for token in tokens | subwords.fixed}), np.int64)
    new_ids = {int(old): new for new, old in enumerate(kept)}
    state["model"] = subwords.pruned(new_ids)
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
    time, and callers that encode several pad them themselves. One reader or the other insists on all that is left.
    """
    state = json.loads(tokenizer.to_str())
    del state["padding"]
    if state["truncation"] is None:
        del state["truncation"]
    merges = state["model"].get("merges")
    if merges and not any(" " in part for merge in merges for part in merge):
        state["model"]["merges"] = [" ".join(merge) for merge in merges]  # three bytes less than a list of two
    return json.dumps(state, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class TokenizerComparison:
    """How a pruned tokenizer reads words, beside the one it was made from; special tokens do not count."""

    coverage: float
    """Share of the old tokens' occurrences whose token was kept."""
    unknown_before: float
    """Share of the old tokens' occurrences that are unknown."""
    unknown_after: float
    """Share of the new tokens' occurrences that are unknown."""
    growth: float
    """How many more tokens a text has: 0.02 is 2 % more."""


def compare_tokenizers(
    before: Tokenizer, after: Tokenizer, words: Words, counts: Counts | None = None
) -> TokenizerComparison:
    """How the words are read. `counts` are the old tokenizer's `token_counts` of them, if known."""
    old = token_counts(before, words) if counts is None else counts
    new = token_counts(after, words)
    vocabulary = after.get_vocab()
    kept = [number for token, number in before.get_vocab().items() if token in vocabulary]
    total_old, total_new = int(old.sum()) or 1, int(new.sum()) or 1
    return TokenizerComparison(
        coverage=float(old[kept].sum() / total_old) if words else 1.0,
        unknown_before=_unknown(before, old) / total_old,
        unknown_after=_unknown(after, new) / total_new,
        growth=total_new / total_old - 1,
    )


def _added_tokens(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Finds the added tokens in a text."""
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or "(?!)")


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text] if text else []
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text) if word]


def state_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer as plain data."""
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    return state


def _unknown(tokenizer: Tokenizer, counts: Counts) -> int:
    """How many of the counted tokens are the unknown one."""
    subwords = read_subwords(state_of(tokenizer))
    return 0 if subwords.unknown is None else int(counts[subwords.ids[subwords.unknown]])


def special_ids(state: Mapping[str, Any]) -> set[int]:
    """The ids that the tokenizer itself names: added tokens, padding, what is put around a text."""
    ids = {token["id"] for token in state["added_tokens"]}
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


def with_parts(subwords: Subwords, tokens: Set[str]) -> set[str]:
    """The tokens and what must stay as long as they do."""
    found: set[str] = set()
    ahead = list(tokens)
    while ahead:
        token = ahead.pop()
        if token not in found:
            found.add(token)
            ahead += subwords.parts(token)
    return found
