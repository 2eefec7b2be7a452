"""Token counts of the training texts; texts are split into words once for all tokenizers that split them alike."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from eicompress.contracts import Array, Candidate, Context
from eicompress.encoder.vocabulary import SplitTexts, split, splitting, with_max_length
from eicompress.values import digest_of

POSITIONS_MULTIPLE = 8
"""Positions are kept in multiples of this."""


def token_lengths(tokenizer: Tokenizer, context: Context) -> Array:
    """(n,) tokens of each training text, nothing cut off."""
    return _training_words(tokenizer, context).lengths(tokenizer)


def times_read(tokenizer: Tokenizer, context: Context) -> Array:
    """(V,) how often each id is read in the training texts, what is put around them included, nothing cut off."""
    texts = context.train.texts
    around = tokenizer.encode("", "" if context.task.pairs else None).ids
    counts = _training_words(tokenizer, context).counts(tokenizer)
    return counts + len(texts) * np.bincount(around, minlength=len(counts))


def with_needed_positions(subject: Candidate, coverage: float, context: Context) -> tuple[Candidate, dict[str, Any]]:
    """The candidate with as many positions as this share of the training texts needs, longer texts being cut there.

    Also the facts of it: `positions` and `share_of_training_texts_cut`. The subject's encoder is edited in place.
    """
    model = subject.encoder
    most = model.config.positions
    lengths = np.sort(np.minimum(token_lengths(subject.tokenizer, context), most))
    needed = int(lengths[min(len(lengths) - 1, math.ceil(coverage * len(lengths)) - 1)])
    positions = min(most, max(1, math.ceil(needed / POSITIONS_MULTIPLE)) * POSITIONS_MULTIPLE)
    model.keep_positions(positions)
    cut = float((lengths > positions).mean())
    facts: dict[str, Any] = {"positions": positions, "share_of_training_texts_cut": cut}
    return replace(subject, tokenizer=with_max_length(subject.tokenizer, positions)), facts


def _training_words(tokenizer: Tokenizer, context: Context) -> SplitTexts:
    def compute() -> Mapping[str, Array]:
        found = split(tokenizer, context.train.texts)
        return {**vars(found), "words": np.frombuffer(json.dumps(found.words).encode(), np.uint8)}

    known = context.cache(f"split-{digest_of(splitting(tokenizer))}", compute)
    return SplitTexts(**{**known, "words": json.loads(known["words"].tobytes())})
