"""From texts to the tensors that an encoder reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from tokenizers import Tokenizer

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


@dataclass(frozen=True)
class Tokens:
    """Tokenized texts: `ids` and `types` concatenated, text i at [starts[i], starts[i + 1])."""

    ids: np.ndarray
    types: np.ndarray
    starts: np.ndarray

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

        return Batch(tensor(ids), tensor(mask), tensor(types), tensor(rows))


def tokenize(tokenizer: Tokenizer, texts: Sequence[Text]) -> Tokens:
    """Every text, truncated as the tokenizer says. Raises `ModelError` for a tokenizer that cannot read one."""
    try:
        encodings = tokenizer.encode_batch_fast(list(texts))
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise ModelError(f"the model's tokenizer must read every text, but cannot: {error}") from error
    lengths = [len(each.ids) for each in encodings]
    total = sum(lengths)
    ids = np.fromiter(chain.from_iterable(each.ids for each in encodings), np.int64, total)
    types = np.fromiter(chain.from_iterable(each.type_ids for each in encodings), np.int64, total)
    return Tokens(ids, types, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def in_order_of_length(lengths: np.ndarray, size: int = BATCH) -> list[np.ndarray]:
    """Row numbers of batches of near lengths that cover all rows once."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]
