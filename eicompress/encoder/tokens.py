"""From texts to the tensors that an encoder reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer

from eicompress.answers.words import first_tokens, padded, words_of
from eicompress.errors import ModelError, is_panic
from eicompress.values import Text

BATCH = 64


@dataclass(frozen=True)
class Batch:
    """Tokenized examples: ids, mask and types are (B, T) int64; `rows` (B,) are indices into the texts given.

    In a training it is read in step `step` of `steps`, from 0.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor
    rows: torch.Tensor
    step: int = 0
    steps: int = 1
    words: torch.Tensor | None = None
    """(B, W) int64: the first token of each word, -1 for none; None for a model that answers whole texts."""

    def answers(self, values: torch.Tensor) -> torch.Tensor:
        """What a model says of these texts, (B, outputs), or of their tokens (B, T, outputs) -> of their words (B, W,
        outputs), with zeros for one that was not read."""
        if self.words is None:
            return values
        places = self.words.clamp_min(0).unsqueeze(-1).expand(-1, -1, values.shape[2])
        return values.gather(1, places) * (self.words >= 0).unsqueeze(-1)

    def logits(self, model: torch.nn.Module) -> torch.Tensor:
        """(B, outputs), or (B, W, outputs) where each word is answered."""
        return self.answers(model(self.input_ids, self.attention_mask, self.token_type_ids))


@dataclass(frozen=True)
class Tokens:
    """Tokenized texts: `ids` and `types` concatenated, text i at [starts[i], starts[i + 1])."""

    ids: np.ndarray
    types: np.ndarray
    starts: np.ndarray
    words: np.ndarray | None = None
    """(n, W) the first token of each word, -1 for none; None where no words were asked for."""

    def of_answers(self, outputs: int) -> tuple[int, ...]:
        """The shape of all texts' logits: (n, outputs), or (n, W, outputs)."""
        return (len(self.starts) - 1, *(() if self.words is None else self.words.shape[1:]), outputs)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def batch(self, rows: np.ndarray, padding_id: int, device: str) -> Batch:
        """The rows' tokens, padded to the longest of them."""
        lengths = self.lengths[rows]
        places = np.arange(int(lengths.max()))
        mask = places < lengths[:, None]
        index = np.where(mask, self.starts[rows][:, None] + places, 0)
        ids = np.where(mask, self.ids[index], padding_id)
        types = np.where(mask, self.types[index], 0)

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array.astype(np.int64)).to(device)

        words = None if self.words is None else tensor(_without_padding(self.words[rows]))
        return Batch(tensor(ids), tensor(mask), tensor(types), tensor(rows), words=words)


def tokenize(tokenizer: Tokenizer, texts: Sequence[Text], *, words: bool = False) -> Tokens:
    """Every text, truncated as the tokenizer says; with `words`, where the first token of each word is.

    Raises `ModelError` for a tokenizer that cannot read one.
    """
    try:
        # The fast one does not say which characters a token has.
        encodings = (tokenizer.encode_batch if words else tokenizer.encode_batch_fast)(list(texts))
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise ModelError(f"the model's tokenizer must read every text, but cannot: {error}") from error
    lengths = [len(each.ids) for each in encodings]
    total = sum(lengths)
    ids = np.fromiter(chain.from_iterable(each.ids for each in encodings), np.int64, total)
    types = np.fromiter(chain.from_iterable(each.type_ids for each in encodings), np.int64, total)
    first = _first_tokens(encodings, texts) if words else None
    return Tokens(ids, types, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), first)


def _first_tokens(encodings: Sequence[Encoding], texts: Sequence[Text]) -> np.ndarray:
    """(n, W), W at least one."""
    pairs = zip(encodings, texts, strict=True)
    found = [np.array([*first_tokens(each.offsets, words_of(str(text))), -1]) for each, text in pairs]
    return _without_padding(padded([each + 1 for each in found]) - 1)


def _without_padding(words: np.ndarray) -> np.ndarray:
    """(n, W) -> as many columns as have a token, and one at least."""
    used = np.flatnonzero((words >= 0).any(axis=0))
    return words[:, : used[-1] + 1] if len(used) else words[:, :1]


def in_order_of_length(lengths: np.ndarray, size: int = BATCH) -> list[np.ndarray]:
    """Row numbers of batches of near lengths that cover all rows once."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]
