"""From texts to the tensors that an encoder reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer

from eicompress.answers.windows import WindowReader, limit_of, places_of
from eicompress.answers.words import Reads, first_tokens, padded, words_of
from eicompress.errors import DataError, ModelError, is_panic
from eicompress.values import Text, readable

BATCH = 64
BUCKET_BATCHES = 64
"""Batches are cut from shuffled blocks of this many batches, sorted by length, so that little is padding."""


@dataclass(frozen=True)
class Batch:
    """Tokenized examples: ids, mask and types are (R, T) int64; `rows` (B,) are indices into the texts given. R is B,
    except where long contexts are read in windows.

    In a training it is read in step `step` of `steps`, from 0.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor
    rows: torch.Tensor
    step: int = 0
    steps: int = 1
    words: torch.Tensor | None = None
    """(B, W) int64: the first token of each word, by its number in (R, T), -1 for none; (B, 1 + W) the text and these,
    by their numbers in (R, 1 + T); (B, W, 2) the first and the last one of each word of a context; None for a model
    that answers whole texts."""
    of_windows: torch.Tensor | None = None
    """(R,) which of the B texts a window is of; None where each text is read at once."""

    def answers(self, values: torch.Tensor) -> torch.Tensor:
        """What a model says of these texts, (B, outputs), or of their tokens (R, T, outputs) -> of their words (B, W,
        outputs), with zeros for one that was not read; of both (R, 1 + T, outputs) -> (B, 1 + W, outputs); of
        questions, of no answer and of words, (B, 1 + W, 2)."""
        if self.words is None:
            return values
        if self.of_windows is None:
            return _picked(values, self.words)
        sides = [_picked(values[..., side : side + 1], self.words[..., side]) for side in (0, 1)]
        nothing = values.new_full((len(self.rows), 2), torch.inf)
        texts = self.of_windows.unsqueeze(1).expand(-1, 2)
        nothing = nothing.scatter_reduce(0, texts, values[:, 0], "amin")
        return torch.cat([nothing.unsqueeze(1), torch.cat(sides, dim=2)], dim=1)

    def features(self, states: torch.Tensor) -> torch.Tensor:
        """What a head reads of these texts, (B, width), or of their tokens (R, T, width) -> of their words (B, W,
        width); of both (R, 1 + T, width) -> (B, 1 + W, width); of a context's words the first and the last token's side
        by side, (B, W, 2 * width)."""
        if self.words is None:
            return states
        if self.of_windows is None:
            return _picked(states, self.words)
        return torch.cat([_picked(states, self.words[..., side]) for side in (0, 1)], dim=2)

    def logits(self, model: torch.nn.Module) -> torch.Tensor:
        """(B, outputs); (B, W, outputs) where each word is answered, (B, 1 + W, outputs) where the text is too, or
        (B, 1 + W, 2) of questions."""
        return self.answers(model(self.input_ids, self.attention_mask, self.token_type_ids))


def _picked(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """values (R, T, width) and numbers of tokens (B, W), -1 for none -> (B, W, width), with zeros for none."""
    found: torch.Tensor = values.flatten(0, 1)[places.clamp_min(0)] * (places >= 0).unsqueeze(-1)
    return found


@dataclass(frozen=True)
class Tokens:
    """Tokenized texts: `ids` and `types` concatenated, text i, or window i, at [starts[i], starts[i + 1])."""

    ids: np.ndarray
    types: np.ndarray
    starts: np.ndarray
    words: np.ndarray | None = None
    """(n, W) the first token of each word, -1 for none; (n, 1 + W) the text, 0, and these, counted from 1; (n, W, 2)
    first and last, counted on from window to window, of contexts; None where no words were asked for."""
    windows: np.ndarray | None = None
    """Windows of text i are those from windows[i] to the one before windows[i + 1]; None where texts are whole."""
    reads: Reads = "texts"
    """What is answered."""

    def of_answers(self, outputs: int) -> tuple[int, ...]:
        """The shape of all texts' logits: (n, outputs), (n, W, outputs), (n, 1 + W, outputs) of texts and their words,
        or (n, 1 + W, 2) of questions."""
        if self.windows is not None and self.words is not None:
            return (len(self.words), 1 + self.words.shape[1], outputs)
        return (len(self.starts) - 1, *(() if self.words is None else self.words.shape[1:]), outputs)

    def of_features(self, width: int) -> tuple[int, ...]:
        """The shape of what heads read of all texts: as `of_answers`, or (n, W, 2 * width) of contexts."""
        if self.windows is not None and self.words is not None:
            return (*self.words.shape[:2], 2 * width)
        return self.of_answers(width)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) tokens of each text, or of its longest window."""
        lengths = np.diff(self.starts)
        return lengths if self.windows is None else np.maximum.reduceat(lengths, self.windows[:-1])

    def in_order(self, size: int = BATCH) -> list[np.ndarray]:
        """Row numbers of batches of near lengths that cover all texts once, of at most `size` texts, or texts with at
        most as many windows, one text at least: a context of many windows takes as much memory as many texts."""
        if self.windows is None:
            return in_order_of_length(self.lengths, size)
        counts, cut, held = np.diff(self.windows), list[list[int]](), size
        for row in np.argsort(self.lengths, kind="stable").tolist():
            if held + counts[row] > size:
                cut.append([])
                held = 0
            cut[-1].append(row)
            held += counts[row]
        return [np.array(rows) for rows in cut]

    def batch(self, rows: np.ndarray, padding_id: int, device: str) -> Batch:
        """The rows' tokens, padded to the longest of them. Raises `DataError` where no text has one, which a tokenizer
        without special tokens makes of empty texts."""
        read, of_windows = rows, None
        if self.windows is not None:
            counts = np.diff(self.windows)[rows]
            of_windows = np.repeat(np.arange(len(rows)), counts)
            read = np.concatenate([np.arange(self.windows[row], self.windows[row + 1]) for row in rows])
        lengths = np.diff(self.starts)[read]
        if not lengths.any():
            raise DataError("a text must have a token that the model reads, but an empty one has none: leave it out")
        places = np.arange(int(lengths.max()))
        mask = places < lengths[:, None]
        index = np.where(mask, self.starts[read][:, None] + places, 0)
        ids = np.where(mask, self.ids[index], padding_id)
        types = np.where(mask, self.types[index], 0)

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array.astype(np.int64)).to(device)

        slots = len(places) + (self.reads == "both")
        words = None if self.words is None else tensor(self._numbers(rows, read, slots))
        owners = None if of_windows is None else tensor(of_windows)
        return Batch(tensor(ids), tensor(mask), tensor(types), tensor(rows), words=words, of_windows=owners)

    def _numbers(self, rows: np.ndarray, read: np.ndarray, width: int) -> np.ndarray:
        """The words' tokens by their numbers in (R, width)."""
        assert self.words is not None
        words = _without_padding(self.words[rows])
        if self.windows is None:
            return np.where(words >= 0, np.arange(len(rows))[:, None] * width + words, -1)
        token = self.starts[self.windows[rows]][:, None, None] + words
        window = np.searchsorted(self.starts, token, "right") - 1
        place = np.full(len(self.starts), 0)
        place[read] = np.arange(len(read))
        return np.where(words >= 0, place[window] * width + token - self.starts[window], -1)


def tokenize(tokenizer: Tokenizer, texts: Sequence[Text], *, reads: Reads = "texts") -> Tokens:
    """Every text, truncated as the tokenizer says; for a model that answers words, where the first token of each word
    is, and of pairs, which are then questions with their contexts, windows of all of the context. Where texts are
    answered too, pairs have no words.

    Raises `ModelError` for a tokenizer that cannot read one.
    """
    if reads == "words" and texts and not isinstance(texts[0], str):
        return _in_windows(tokenizer, [(text[0], text[1]) for text in texts])
    try:
        # The fast one does not say which characters a token has.
        encodings = (tokenizer.encode_batch_fast if reads == "texts" else tokenizer.encode_batch)(list(texts))
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise ModelError(f"the model's tokenizer must read every text, but cannot: {error}") from error
    lengths = [len(each.ids) for each in encodings]
    total = sum(lengths)
    ids = np.fromiter(chain.from_iterable(each.ids for each in encodings), np.int64, total)
    types = np.fromiter(chain.from_iterable(each.type_ids for each in encodings), np.int64, total)
    first = None if reads == "texts" else _first_tokens(encodings, texts, with_text=reads == "both")
    return Tokens(ids, types, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), first, reads=reads)


def _in_windows(tokenizer: Tokenizer, texts: Sequence[tuple[str, str]]) -> Tokens:
    read = WindowReader(tokenizer, limit_of(tokenizer)).read(texts)
    windows = [each for of_text in read for each in of_text]
    starts = np.cumsum([0, *(len(each.ids) for each in windows)])
    first = np.cumsum([0, *map(len, read)])
    found = []
    for at, ((_, context), of_text) in enumerate(zip(texts, read, strict=True)):
        places = places_of(words_of(readable(context)), of_text)
        behind = starts[first[at] : first[at + 1]] - starts[first[at]]
        tokens = places[:, 1:] + behind[places[:, :1]]
        found.append(np.where(places[:, 1:] >= 0, tokens, -1))
    ids = np.fromiter(chain.from_iterable(each.ids for each in windows), np.int64, starts[-1])
    types = np.fromiter(chain.from_iterable(each.type_ids for each in windows), np.int64, starts[-1])
    return Tokens(ids, types, starts.astype(np.int64), padded([each + 1 for each in found]) - 1, first, "words")


def _first_tokens(encodings: Sequence[Encoding], texts: Sequence[Text], *, with_text: bool) -> np.ndarray:
    """(n, W), W at least one; or (n, 1 + W) with the text first."""
    found = []
    for each, text in zip(encodings, texts, strict=True):
        of_words = first_tokens(each.offsets, words_of(text)) if isinstance(text, str) else []
        found.append(np.array([0, *(at + 1 if at >= 0 else -1 for at in of_words)] if with_text else [*of_words, -1]))
    return _without_padding(padded([each + 1 for each in found]) - 1)


def _without_padding(words: np.ndarray) -> np.ndarray:
    """(n, W), or (n, W, 2) -> as many columns as have a token, and one at least."""
    used = np.flatnonzero((words >= 0).reshape(*words.shape[:2], -1).any(axis=(0, 2)))
    return words[:, : used[-1] + 1] if len(used) else words[:, :1]


def in_order_of_length(lengths: np.ndarray, size: int = BATCH) -> list[np.ndarray]:
    """Row numbers of batches of near lengths that cover all rows once."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def batches_at_random(lengths: np.ndarray, size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Row numbers of one epoch's batches, of near lengths each, in random order."""
    order = generator.permutation(len(lengths))
    block = size * BUCKET_BATCHES
    cut = []
    for start in range(0, len(order), block):
        rows = order[start : start + block]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        cut += [rows[at : at + size] for at in range(0, len(rows), size)]
    return [cut[number] for number in generator.permutation(len(cut))]
