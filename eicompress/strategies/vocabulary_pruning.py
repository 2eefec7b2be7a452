"""`vocabulary_pruning`: keep the tokens that the training text uses, drop the rest of the word embedding."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from tokenizers import Tokenizer

from eicompress.contracts import Array, Candidate, Context, ModelStrategy
from eicompress.encoder.model import Encoder
from eicompress.encoder.vocabulary import Ranking, compare, count_words, minified_json, prune, rank, token_counts
from eicompress.errors import Inapplicable
from eicompress.values import Text, digest_of


@dataclass(frozen=True)
class VocabularyPruning(ModelStrategy):
    """Keep special tokens, characters and the tokens that the training text misses most; number them anew.

    For WordPiece, byte-level BPE and Unigram tokenizers. What a token is missed by is how often it occurs times the
    tokens that each occurrence would become more: of the tokens that are left, the one that is missed least goes, and
    what it is read as without it is used more often from then on. A text whose tokens were all kept gets the same
    logits, bit for bit; any other is read in more, shorter tokens. Facts: `tokens_before` and `tokens_after`; `needed`
    and `bound` as in `Choice`; the fields of `Comparison` on the training text; `tokenizer_bytes_before` and
    `tokenizer_bytes_after`.
    """

    num_tokens: Annotated[int, IntDistribution(100, 300_000, log=True)] = 5_000
    """How many tokens stay; more if the characters alone need more, fewer if fewer occur."""
    scripts: Annotated[Literal["corpus", "all"], CategoricalDistribution(("corpus", "all"))] = "corpus"
    """Whose characters stay, beside ASCII: those of the training text, or all that the vocabulary has."""

    name: ClassVar[str] = "vocabulary_pruning"
    paper: ClassVar[str] = "Load what you need, arXiv 2010.05609"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model, before = subject.model, subject.tokenizer
        if not isinstance(model, Encoder):
            raise Inapplicable(
                f"`{self.name}` must act on an `Encoder`, but got a `{type(model).__name__}`; "
                "put it earlier in the recipe"
            )
        tokens = digest_of(before.to_str())
        known = context.cache(f"words-{tokens}", lambda: _read(before, context.train.texts))
        words, counts = json.loads(known["words"].tobytes()), np.asarray(known["counts"])
        ranking = Ranking(
            **context.cache(
                f"ranking-{tokens}-{self.scripts}",
                lambda: asdict(rank(before, counts, words, self.scripts)),
            )
        )
        choice = ranking.keep(self.num_tokens)
        after, kept = prune(before, [*choice.ids, model.config.padding_id])
        model.keep_tokens(torch.from_numpy(kept))
        facts = {
            "tokens_before": before.get_vocab_size(),
            "tokens_after": len(kept),
            "needed": choice.needed,
            "bound": choice.bound,
            **asdict(compare(before, after, words, counts)),
            "tokenizer_bytes_before": int(known["file_bytes"][0]),
            "tokenizer_bytes_after": _file_bytes(after),
        }
        return replace(subject, tokenizer=after, facts={**subject.facts, self.name: facts})


def _read(tokenizer: Tokenizer, texts: Sequence[Text]) -> Mapping[str, Array]:
    """What many trials need of the training text: its words, as JSON, and how often each token occurs."""
    words = count_words(tokenizer, _sides(texts))
    return {
        "words": np.frombuffer(json.dumps(words).encode(), np.uint8),
        "counts": token_counts(tokenizer, words),
        "file_bytes": np.array([_file_bytes(tokenizer)]),
    }


def _sides(texts: Sequence[Text]) -> Iterator[str]:
    for text in texts:
        yield from (text,) if isinstance(text, str) else text


def _file_bytes(tokenizer: Tokenizer) -> int:
    return len(minified_json(tokenizer).encode())
