"""How a candidate's tokenizer reads the training texts: they are split into words once, for all that split alike."""

import json
from collections.abc import Mapping

import numpy as np
from tokenizers import Tokenizer

from eicompress.contracts import Array, Context
from eicompress.encoder.vocabulary import SplitTexts, split, splitting
from eicompress.values import digest_of


def token_lengths(tokenizer: Tokenizer, context: Context) -> Array:
    """(n,) tokens of each training text, nothing cut off."""
    return _training_words(tokenizer, context).lengths(tokenizer)


def times_read(tokenizer: Tokenizer, context: Context) -> Array:
    """(V,) how often each id is read in the training texts, what is put around them included, nothing cut off."""
    texts = context.train.texts
    around = tokenizer.encode("", "" if isinstance(texts[0], tuple) else None).ids
    counts = _training_words(tokenizer, context).counts(tokenizer)
    return counts + len(texts) * np.bincount(around, minlength=len(counts))


def _training_words(tokenizer: Tokenizer, context: Context) -> SplitTexts:
    def compute() -> Mapping[str, Array]:
        found = split(tokenizer, context.train.texts)
        return {**vars(found), "words": np.frombuffer(json.dumps(found.words).encode(), np.uint8)}

    known = context.cache(f"split-{digest_of(splitting(tokenizer))}", compute)
    return SplitTexts(**{**known, "words": json.loads(known["words"].tobytes())})
