from dataclasses import replace

import numpy as np
import pytest

from eicompress.contracts import Examples
from eicompress.encoder.tokens import tokenize
from eicompress.encoder.vocabulary import prune
from eicompress.tasks.classification import Classification, PairClassification
from eicompress.training.token_counts import times_read, token_lengths
from tests.conftest import ContextMaker, tiny_candidate

SINGLE = ("play the music", "Will it rain, will it?", "")
PAIRS = (("play", "the music"), ("", "rain"))


@pytest.mark.parametrize("texts", [SINGLE, PAIRS])
def test_lengths_and_counts_are_those_of_the_texts_tokenized_whole(
    texts: tuple[str, ...] | tuple[tuple[str, str], ...], make_context: ContextMaker
) -> None:
    task = Classification if texts is SINGLE else PairClassification
    train = Examples(texts, np.zeros(len(texts), np.int64))
    context = replace(make_context(), task=task(("a", "b")), train=train)
    whole = tiny_candidate().tokenizer
    for tokenizer in (whole, prune(whole, range(40))[0]):
        tokens = tokenize(tokenizer, texts)
        assert token_lengths(tokenizer, context).tolist() == tokens.lengths.tolist()
        expected = np.bincount(tokens.ids, minlength=tokenizer.get_vocab_size())
        assert times_read(tokenizer, context).tolist() == expected.tolist()
