"""Aligns the tokens of two tokenizers on the same texts, so that their states can be compared.

A text that both cut into the same tokens has a slot for each of them. In any other text a slot is a word of the
second tokenizer: a pruned vocabulary cuts some words into more pieces. States are compared by the mean over a slot's
tokens; attention to a slot is the sum over its tokens, and attention from it their mean (arXiv 1906.04341).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from eicompress.encoder.tokens import Tokens
from eicompress.values import Text

_PADDING = -1


@dataclass(frozen=True)
class Slots:
    """Slots of the same batch of texts as two tokenizers cut it: (B, T) and (B, U) int64, -1 for padding."""

    first: Tensor
    second: Tensor
    count: int
    """Slots of the text that has most."""

    @property
    def mask(self) -> Tensor:
        """(B, count): 1 for slots that have tokens of both."""
        one, two = (self._members(each).any(dim=-1) for each in (self.first, self.second))
        return (one & two).long()

    def states(self, states: Tensor, slots: Tensor) -> Tensor:
        """The mean of states (B, T, width) over each slot's tokens: (B, count, width)."""
        members = self._members(slots).to(states.dtype)
        return members @ states / members.sum(dim=-1, keepdim=True).clamp_min(1.0)

    def maps(self, maps: Tensor, slots: Tensor) -> Tensor:
        """Maps (B, heads, T, T) as (B, heads, count, count): the mean over a slot's queries, the sum over its keys."""
        members = self._members(slots)[:, None].to(maps.dtype)
        return members @ maps @ members.transpose(-1, -2) / members.sum(dim=-1, keepdim=True).clamp_min(1.0)

    def _members(self, slots: Tensor) -> Tensor:
        """(B, count, T): whether a token is in a slot."""
        return slots[:, None] == torch.arange(self.count, device=slots.device)[None, :, None]


@dataclass(frozen=True)
class Alignment:
    """The slots of all texts, by the two tokenizers that made them."""

    first: Tokens
    second: Tokens

    def batch(self, rows: np.ndarray, device: str) -> Slots:
        first, second = (each.batch(rows, _PADDING, device).input_ids for each in (self.first, self.second))
        return Slots(first, second, int(max(first.max(), second.max())) + 1)


def align(first: Tokenizer, second: Tokenizer, texts: Sequence[Text]) -> Alignment:
    """The slots of the texts' tokens, as the two tokenizers cut and truncate them."""
    pairs = zip(first.encode_batch(list(texts)), second.encode_batch(list(texts)), strict=True)
    slots = [_slots(one, two) for one, two in pairs]
    return Alignment(_joined([each for each, _ in slots]), _joined([each for _, each in slots]))


def _slots(first: Encoding, second: Encoding) -> tuple[list[int], list[int]]:
    if first.tokens == second.tokens:
        same = list(range(len(first)))
        return same, same
    starts: dict[int, list[tuple[int, int]]] = {}
    specials: list[int] = []
    numbers: list[int] = []
    word: tuple[int | None, int | None] = (None, None)
    for sequence, number, (start, _) in zip(second.sequence_ids, second.word_ids, second.offsets, strict=True):
        begins = sequence is None or (sequence, number) != word
        word = (sequence, number)
        numbers.append(numbers[-1] + begins if numbers else 0)
        if sequence is None:
            specials.append(numbers[-1])
        elif begins:
            starts.setdefault(sequence, []).append((start, numbers[-1]))
    return _placed(first, starts, specials), numbers


def _placed(first: Encoding, starts: dict[int, list[tuple[int, int]]], specials: list[int]) -> list[int]:
    """Each token in the word in which it begins, and special tokens in those of the same number."""
    rest = iter(specials)
    placed = []
    for sequence, (start, _) in zip(first.sequence_ids, first.offsets, strict=True):
        words = starts.get(sequence, []) if sequence is not None else []
        if sequence is None:
            placed.append(next(rest, _PADDING))
        else:
            at = bisect_right(words, start, key=lambda word: word[0]) - 1
            placed.append(words[at][1] if at >= 0 else _PADDING)
    return placed


def _joined(slots: list[list[int]]) -> Tokens:
    lengths = [len(each) for each in slots]
    ids = np.fromiter(chain.from_iterable(slots), np.int64, sum(lengths))
    return Tokens(ids, np.zeros_like(ids), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
