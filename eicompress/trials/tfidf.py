"""Tf-idf with softmax or ridge regression as an artifact: what counting words reaches in a budget.

Features are words and pairs of neighbouring words, those of a second text apart from those of the first. The tokenizer
that goes into the artifact also cuts the training texts, so a feature of one is a feature of the other. Of the features
the most useful ones are kept, as many as the size budget has room for, and the regression is trained again on them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from eicompress.contracts import Examples, Task
from eicompress.encoder.tokens import tokenize
from eicompress.export.folder import files_of
from eicompress.export.ngrams import Bits, Ngrams, emit_ngrams
from eicompress.training.regression import Matrix, Regression, divided, trained, tuned
from eicompress.trials.rounding import most_with_room, quantized
from eicompress.values import Text, counted

WORD = r"[\p{L}\p{M}\p{N}_]+"
LONGEST = 256
"""Words that are read of a text, or of both texts of a pair."""
WEIGHTS = 3_000_000
"""Features times outputs at most; the rarest features go first."""
RARE = 2
"""Features in fewer training rows than this are left out, where others remain."""
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
BITS: tuple[Bits, ...] = (4, 8)
"""Fewest first: more are taken only where they are better on held-out rows, by more than chance."""
SPECIALS = ("[PAD]", "[UNK]")

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TfIdf:
    """A trained model: the files of its artifact, and what there is to know of it."""

    files: Mapping[str, bytes]
    words: int
    pairs: int
    bits: Bits
    strength: float
    texts: int
    """Training rows that it learned from."""

    @property
    def note(self) -> str:
        """One line that describes it."""
        features = f"{counted(self.words, 'word')} and {counted(self.pairs, 'pair')} of neighbouring words"
        return f"{features} in {self.bits} bits, learned from {self.texts:,} texts"


def fit_tfidf(task: Task, train: Examples, seed: int, size_mb: float | None) -> TfIdf | None:
    """The best linear model of at most `size_mb` megabytes; None where no feature has room, or none is there.

    Regularisation and bits are chosen on held-out training rows, drawn with the seed.
    """
    table = _Table.of(train.texts, WEIGHTS // task.answer.outputs, pairs=task.pairs)
    if not len(table.features):
        return None
    rows, everything = divided(train.targets, seed), np.arange(len(table.features))
    vectors = table.vectors(everything)
    whole = tuned(task, vectors, train.targets, rows, STRENGTHS)
    order = _most_useful_first(vectors, whole)
    choices = [(bits, kept) for bits in BITS if len(kept := _with_room(table, order, task, bits, size_mb))]
    if not choices:
        return None

    def quality(choice: tuple[Bits, Numbers]) -> float:
        bits, kept = choice
        vectors = table.vectors(kept)
        model = trained(task.answer, vectors[rows.learned], train.targets[rows.learned], whole.strength)
        integers, scales = quantized(model.weights, bits)
        rounded = replace(model, weights=integers.astype(np.float32) * scales[:, None].astype(np.float32))
        return task.best_score(rounded.logits(vectors[rows.held_out]), train.targets[rows.held_out])

    qualities = [quality(choice) for choice in choices]
    bits, kept = choices[_first_as_good_as_the_best(qualities, len(rows.held_out))]
    model = trained(task.answer, table.vectors(kept), train.targets, whole.strength)
    ngrams, words = _ngrams(table, kept, model, bits)
    files = _files(table, ngrams, words, task)
    return TfIdf(files, len(ngrams.words), len(ngrams.pairs), bits, whole.strength, len(train))


def word_tokenizer(words: Sequence[str], *, pairs: bool) -> Tokenizer:
    """A tokenizer of whole words in lower case, numbered in this order after padding and the unknown one."""
    numbers = {word: number for number, word in enumerate((*SPECIALS, *words))}
    # Without pieces of words, WordPiece is a list of words, and one that transformers.js knows too.
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=SPECIALS[1]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    if pairs:
        # Without it, `encode_batch_fast` would give both texts the same type.
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


@dataclass(frozen=True)
class _Table:
    """How often which feature occurs in the training texts."""

    words: tuple[str, ...]
    """All of them, the most frequent first; a word's id is its place after the special tokens."""
    counts: Matrix
    """(texts, features) sparse."""
    features: Numbers
    """(features,) a code each: of a word its key, of a pair `(first + 1) * keys + second`. The key of a word is its
    id, in a second text plus the number of all ids."""
    idf: npt.NDArray[np.float16]
    in_pairs: bool
    """Whether each is a pair of texts."""

    @classmethod
    def of(cls, texts: Sequence[Text], most: int, *, pairs: bool) -> "_Table":
        """The features that occur in two texts at least, if any does; the most frequent ones, if there are more."""
        from scipy.sparse import csr_array

        words = _words_of(texts)
        tokens = tokenize(word_tokenizer(words, pairs=pairs), texts)
        ids = len(words) + len(SPECIALS)
        keys = tokens.ids + ids * tokens.types
        owners = np.repeat(np.arange(len(texts)), tokens.lengths)
        beside = (owners[1:] == owners[:-1]) & (tokens.types[1:] == tokens.types[:-1])
        neighbours = (keys[:-1][beside] + 1) * 2 * ids + keys[1:][beside]
        features, places = np.unique(np.concatenate([keys, neighbours]), return_inverse=True)
        owners = np.concatenate([owners, owners[:-1][beside]])
        ones = np.ones(len(places), np.float32)
        counts = csr_array((ones, (owners, places)), shape=(len(texts), len(features)))
        counts.sum_duplicates()
        frequency = np.bincount(counts.indices, minlength=len(features))
        kept = np.flatnonzero(frequency >= RARE) if (frequency >= RARE).any() else np.arange(len(features))
        kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[:most]])
        idf = (np.log((1 + len(texts)) / (1 + frequency[kept])) + 1).astype(np.float16)
        return cls(words, counts[:, kept], features[kept], idf, pairs)

    @property
    def ids(self) -> int:
        return len(self.words) + len(SPECIALS)

    def vectors(self, kept: Numbers) -> Matrix:
        """(texts, kept) sparse: logarithms of counts times inverse document frequencies, each row of length one."""
        found = self.counts[:, kept].tocsr()
        found.data = (1 + np.log(found.data)) * self.idf[kept].astype(np.float32)[found.indices]
        lengths = np.sqrt(found.multiply(found).sum(axis=1))
        found.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(found.indptr)).astype(np.float32)
        return found


def _words_of(texts: Sequence[Text]) -> tuple[str, ...]:
    """The words of the texts, the most frequent first."""
    cut, words = word_tokenizer((), pairs=False), Counter[str]()
    for text in texts:
        for part in (text,) if isinstance(text, str) else text:
            words.update(word for word, _ in cut.pre_tokenizer.pre_tokenize_str(cut.normalizer.normalize_str(part)))
    return tuple(sorted(words, key=lambda word: (-words[word], word)))


def _most_useful_first(vectors: Matrix, model: Regression) -> Numbers:
    """Features by the sum of the squares of what they add to the logits of all texts, over all outputs."""
    # What is added to all labels alike changes no answer; a number has one output alone.
    alike = model.weights.mean(axis=1, keepdims=True) if model.weights.shape[1] > 1 else 0.0
    apart = model.weights - alike
    use = np.asarray(vectors.multiply(vectors).sum(axis=0)).ravel() * np.square(apart).sum(axis=1)
    found: Numbers = np.argsort(-use, kind="stable")
    return found


def _first_as_good_as_the_best(qualities: Sequence[float], texts: int) -> int:
    """The index of the first quality within one standard error of the best, measured on `texts` texts."""
    best = max(qualities)
    error = np.sqrt(best * (1 - best) / texts)
    return next(place for place, quality in enumerate(qualities) if quality >= best - error)


def _with_room(table: _Table, order: Numbers, task: Task, bits: Bits, size_mb: float | None) -> Numbers:
    """As many of the first features as have room, words before pairs."""

    def first(count: int) -> Numbers:
        kept = order[:count]
        return kept[np.argsort(table.features[kept])]

    outputs = task.answer.outputs

    def size(count: int) -> int:
        # A size depends on no weight.
        weights, bias = np.zeros((count, outputs), np.float32), np.zeros(outputs, np.float32)
        return sum(
            map(len, _files(table, *_ngrams(table, first(count), Regression(weights, bias, 0.0), bits), task).values())
        )

    return first(most_with_room(len(order), size, size_mb))


def _ngrams(table: _Table, kept: Numbers, model: Regression, bits: Bits) -> tuple[Ngrams, tuple[str, ...]]:
    """The features, words before pairs, with their weights; and the words that they are made of."""
    codes, keys = table.features[kept], 2 * table.ids
    words, pairs = codes[codes < keys], codes[codes >= keys]
    apart = np.stack([pairs // keys - 1, pairs % keys], axis=1)
    used = np.unique(np.concatenate([words, apart.flatten()]) % table.ids)
    numbers = np.zeros(table.ids, np.int64)
    numbers[used] = len(SPECIALS) + np.arange(len(used))
    ids = len(used) + len(SPECIALS)

    def renumbered(old: Numbers) -> Numbers:
        found: Numbers = numbers[old % table.ids] + ids * (old // table.ids)
        return found

    integers, scales = quantized(model.weights, bits)
    ngrams = Ngrams(renumbered(words), renumbered(apart), ids, table.idf[kept], integers, scales, model.bias, bits)
    return ngrams, tuple(table.words[number - len(SPECIALS)] for number in used)


def _files(table: _Table, ngrams: Ngrams, words: Sequence[str], task: Task) -> Mapping[str, bytes]:
    graph = emit_ngrams(ngrams, pairs=table.in_pairs)
    # The class of tokenizer that knows types would put BERT's tokens around a text.
    tokenizer = word_tokenizer(words, pairs=table.in_pairs)
    return files_of(graph, tokenizer, task.answer, pairs=table.in_pairs, types=False)
