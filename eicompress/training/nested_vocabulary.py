"""Vocabularies within a vocabulary: its first tokens in the order of their worth, and texts that are read with these
alone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from tokenizers import Tokenizer

from eicompress.contracts import Array, Context
from eicompress.encoder.token_ranking import Ranking, rank
from eicompress.encoder.tokens import Batch, Tokens, tokenize
from eicompress.encoder.vocabulary import Ids, count_words, prune, token_counts
from eicompress.values import Text, digest_of


def first_tokens(tokenizer: Tokenizer, share: float, context: Context) -> tuple[Tokenizer, Ids]:
    """A tokenizer with this share of the tokens, those that the training texts miss most, and their old ids, whose
    places are the new ids; more of them where the characters alone need more.

    Raises `Inapplicable` for a tokenizer of a kind that cannot be pruned.
    """
    wanted = round(share * tokenizer.get_vocab_size())
    return prune(tokenizer, _ranking(tokenizer, context).keep(wanted).ids)


def _ranking(tokenizer: Tokenizer, context: Context) -> Ranking:
    """The order of the tokens, computed once for all shares."""

    def compute() -> Mapping[str, Array]:
        texts = (part for text in context.train.texts for part in ((text,) if isinstance(text, str) else text))
        words = count_words(tokenizer, texts)
        return asdict(rank(tokenizer, token_counts(tokenizer, words), words, "corpus", unseen=True))

    # The tokenizer as plain data: the library writes the same one in several ways.
    key = digest_of(json.loads(tokenizer.to_str()))
    return Ranking(**context.cache(f"nested-vocabulary-{key}", compute))


@dataclass(frozen=True)
class Reading:
    """Texts as they are read with a part of the tokens, by the ids that these have in the whole vocabulary."""

    tokens: Tokens
    padding_id: int

    def batch(self, of: Batch) -> Batch:
        """The same texts as a batch of the whole vocabulary."""
        read = self.tokens.batch(of.rows.cpu().numpy(), self.padding_id, str(of.input_ids.device))
        return replace(read, step=of.step, steps=of.steps)


def readings(
    tokenizer: Tokenizer, shares: Iterable[float], texts: Sequence[Text], padding_id: int, context: Context
) -> dict[float, Reading]:
    """The texts, read with each of these shares of the tokens; the whole vocabulary is left out."""
    found = {}
    for share in shares:
        if share < 1.0:
            smaller, kept = first_tokens(tokenizer, share, context)
            tokens = tokenize(smaller, texts, reads=context.task.answer.reads)
            found[share] = Reading(replace(tokens, ids=kept[tokens.ids]), padding_id)
    return found
