"""`vocabulary_pruning`: keep the tokens that a text uses, drop the rest of the word embedding."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from tokenizers import Tokenizer

from eicompress.contracts import Array, Candidate, Context, ModelStrategy
from eicompress.encoder.token_ranking import Ranking, rank
from eicompress.encoder.vocabulary import Words, compare_tokenizers, count_words, minified_json, prune, token_counts
from eicompress.errors import Inapplicable
from eicompress.training.token_importance import token_importance
from eicompress.values import digest_of


@dataclass(frozen=True)
class VocabularyPruning(ModelStrategy):
    """Keep special tokens, characters and the tokens that texts miss most; number them anew.

    For WordPiece, byte-level BPE and Unigram tokenizers. What a token is missed by is the importance of its
    occurrences times the tokens that each of them would become more: of those that are left, the one that is missed
    least goes, and what it is read as without it is worth more from then on. A text whose tokens were all kept gets
    the same logits, bit for bit; any other is read in more, shorter tokens. Facts: `tokens_before` and
    `tokens_after`; `needed` and `bound` as in `Choice`; outside previews also the fields of `TokenizerComparison` on
    the training text, `tokenizer_bytes_before` and `tokenizer_bytes_after`.
    """

    num_tokens: Annotated[int, IntDistribution(100, 300_000, log=True)] = 5_000
    """How many tokens stay; more if the characters alone need more, fewer if fewer occur."""
    scripts: Annotated[Literal["corpus", "all"], CategoricalDistribution(("corpus", "all"))] = "corpus"
    """Whose characters stay, beside ASCII: those of the text that is read, or all that the vocabulary has."""
    importance: Annotated[
        Literal["frequency", "attention", "gradient"], CategoricalDistribution(("frequency", "attention", "gradient"))
    ] = "frequency"
    """What an occurrence counts: one, the attention that the baseline's tokens of its kind receive, or the loss that
    their word vectors move. The latter two are measured on 512 training texts and multiplied by how often a token is in
    all of them, where EI-BERT adds the attention up over all texts."""
    weigh_pieces: Annotated[bool, CategoricalDistribution((True, False))] = True
    """Whether a token is worth more the more pieces it would fall into, which keeps texts short; otherwise the most
    important tokens stay as they are (EI-BERT), which keeps more words whole."""
    unseen: Annotated[bool, CategoricalDistribution((True, False))] = True
    """Whether what room is left goes to tokens that the text does not use, in the order of the vocabulary: other texts
    may use them."""
    corpus: Annotated[
        Literal["task", "unlabelled", "both"], CategoricalDistribution(("task", "unlabelled", "both"))
    ] = "task"
    """Which text is read: the training text, the unlabelled text that was named, or both."""

    name: ClassVar[str] = "vocabulary_pruning"
    paper: ClassVar[str] = "Load what you need, arXiv 2010.05609; scores by attention after EI-BERT, arXiv 2507.04636"
    example: ClassVar[Mapping[str, Any]] = {"num_tokens": 100}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model, before = subject.encoder, subject.tokenizer
        choice = self._ranking(before, context).keep(self.num_tokens)
        after, kept = prune(before, [*choice.ids, model.config.padding_id])
        model.keep_tokens(torch.from_numpy(kept))
        facts = {
            "tokens_before": before.get_vocab_size(),
            "tokens_after": len(kept),
            "needed": choice.needed,
            "bound": choice.bound,
        }
        if not context.preview:
            facts |= asdict(compare_tokenizers(before, after, *_read(before, "task", context)))
            facts["tokenizer_bytes_before"] = _known_file_bytes(before, context)
            facts["tokenizer_bytes_after"] = _file_bytes(after)
        return replace(subject, tokenizer=after, facts={**subject.facts, self.name: facts})

    def _ranking(self, tokenizer: Tokenizer, context: Context) -> Ranking:
        """The order of the tokens, computed once for all sizes."""

        def compute() -> Mapping[str, Array]:
            words, counts = _read(tokenizer, self.corpus, context)
            importance = counts * self._importance(tokenizer, context)
            return asdict(
                rank(tokenizer, importance, words, self.scripts, weigh_pieces=self.weigh_pieces, unseen=self.unseen)
            )

        order = [self.scripts, self.importance, self.weigh_pieces, self.unseen, self.corpus, tokenizer.to_str()]
        return Ranking(**context.cache(f"ranking-{digest_of(order)}", compute))

    def _importance(self, tokenizer: Tokenizer, context: Context) -> Array:
        """(V,) of one occurrence of each token. Tokens are known by their text: some of the baseline's may be gone."""
        vocabulary = tokenizer.get_vocab()
        found = np.ones(max(vocabulary.values()) + 1)
        if self.importance == "frequency":
            return found
        by = self.importance
        known = context.cache(f"token_importance-{by}", lambda: {"means": token_importance(context, by)})["means"]
        theirs = context.baseline.tokenizer.get_vocab()
        for token, number in vocabulary.items():
            found[number] = known[theirs[token]] if token in theirs else known.mean()
        return found


def _read(tokenizer: Tokenizer, corpus: str, context: Context) -> tuple[Words, Array]:
    """The words of a corpus, and how often each token occurs in it; many trials need them."""

    def compute() -> Mapping[str, Array]:
        words = count_words(tokenizer, _texts(corpus, context))
        return {
            "words": np.frombuffer(json.dumps(words).encode(), np.uint8),
            "counts": token_counts(tokenizer, words),
        }

    known = context.cache(f"words-{corpus}-{digest_of(tokenizer.to_str())}", compute)
    return json.loads(known["words"].tobytes()), np.asarray(known["counts"])


def _known_file_bytes(tokenizer: Tokenizer, context: Context) -> int:
    """Remembered, for every trial begins with the same tokenizer."""

    def compute() -> Mapping[str, Array]:
        return {"bytes": np.array(_file_bytes(tokenizer))}

    return int(context.cache(f"bytes-{digest_of(tokenizer.to_str())}", compute)["bytes"])


def _file_bytes(tokenizer: Tokenizer) -> int:
    return len(minified_json(tokenizer).encode())


def _texts(corpus: str, context: Context) -> Iterator[str]:
    if corpus != "unlabelled":
        for text in context.train.texts:
            yield from (text,) if isinstance(text, str) else text
    if corpus != "task":
        texts = iter(context.unlabelled)
        first = next(texts, None)
        if first is None:
            raise Inapplicable(
                "`vocabulary_pruning.corpus` must be `task` where no unlabelled text was named: name some with "
                "`--unlabelled`"
            )
        yield from chain((first,), texts)
