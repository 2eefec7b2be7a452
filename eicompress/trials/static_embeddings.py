"""A linear model of the mean of the teacher's token embeddings, as an artifact in 8 bits: softmax or ridge regression,
or least squares to the teacher's vectors.

It is what is left of a transformer without its layers. The tokens are those that occur in the training texts. The
embeddings are standardized and turned to their principal components, of which as many are kept as the size budget has
room for (after model2vec, whose components are those of the tokens and not of the texts).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, processors

from eicompress.contracts import Examples, Task
from eicompress.encoder.token_ranking import rank
from eicompress.encoder.tokens import tokenize
from eicompress.encoder.vocabulary import count_words, prune, token_counts
from eicompress.export.folder import files_of
from eicompress.export.static_embeddings import StaticEmbeddings, emit_static_embeddings
from eicompress.training.regression import Matrix, divided, least_squares, trained, tuned
from eicompress.trials.rounding import most_with_room, quantized
from eicompress.values import Text, counted

STRENGTHS = (0.01, 0.1, 1.0)
"""Of the regression; one is chosen on held-out training rows."""
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Of least squares; one is chosen by generalized cross-validation."""

NARROWEST = 1e-6
"""The least deviation that a dimension is divided by."""
PAIR = 4
"""Features of a pair of texts for each dimension."""

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StaticClassifier:
    """A trained model: the files of its artifact, and what there is to know of it."""

    files: Mapping[str, bytes]
    tokens: int
    size: int
    """Dimensions of an embedding."""
    texts: int
    """Training rows that it learned from."""

    @property
    def note(self) -> str:
        """One line that describes it."""
        return (
            f"the mean of the teacher's embeddings of {counted(self.tokens, 'token')} in "
            f"{counted(self.size, 'dimension')} of 8 bits, learned from {self.texts:,} texts"
        )


def fit_static(
    task: Task,
    train: Examples,
    tokenizer: Tokenizer,
    table: Floats,
    seed: int,
    size_mb: float | None,
    vectors: Floats | None = None,
) -> StaticClassifier | None:
    """The linear model of the mean of `table`'s rows (V, size) in at most `size_mb` megabytes; None where not even one
    dimension has room. `vectors` (n, outputs) are what is learned of the training texts in place of their targets.

    Raises `Inapplicable` for a tokenizer of a kind that cannot be pruned.
    """
    tokenizer, kept = _pruned(tokenizer, train.texts)
    counts = _counts(tokenizer, train.texts, len(kept), pairs=task.pairs)
    codes, scales = quantized(_principal_components(counts, table[kept]).T, 8)

    def files(dimensions: int, weights: Floats, bias: Floats) -> Mapping[str, bytes]:
        columns = np.ascontiguousarray(codes[:dimensions].T)
        model = StaticEmbeddings(columns, scales[:dimensions], *quantized(weights, 8), bias)
        graph = emit_static_embeddings(model, pairs=task.pairs, unit=task.answer.unit)
        # The class of tokenizer that knows types would put BERT's tokens around a text.
        return files_of(graph, tokenizer, task.answer, pairs=task.pairs, types=False)

    def size(dimensions: int) -> int:
        features, outputs = dimensions * (PAIR if task.pairs else 1), task.answer.outputs
        # A size depends on no weight.
        nothing = files(dimensions, np.zeros((features, outputs), np.float32), np.zeros(outputs, np.float32))
        return sum(map(len, nothing.values()))

    dimensions = most_with_room(len(codes), size, size_mb)
    if not dimensions:
        return None
    rows = codes[:dimensions].T * scales[:dimensions].astype(np.float32)
    features = _features(counts @ rows, pairs=task.pairs)
    if vectors is None:
        chosen = tuned(task, features, train.targets, divided(train.targets, seed), STRENGTHS)
        model = trained(task.answer, features, train.targets, chosen.strength)
        weights, bias = model.weights, model.bias
    else:
        weight, offset, _ = least_squares(features, vectors, PENALTIES)
        weights, bias = weight.T.astype(np.float32), offset.astype(np.float32)
    return StaticClassifier(files(dimensions, weights, bias), len(kept), dimensions, len(train))


def _pruned(tokenizer: Tokenizer, texts: Sequence[Text]) -> tuple[Tokenizer, Integers]:
    """A tokenizer of the tokens that occur, which puts nothing around a text, and their old ids."""
    words = count_words(tokenizer, (part for text in texts for part in ((text,) if isinstance(text, str) else text)))
    ranking = rank(tokenizer, token_counts(tokenizer, words), words, "corpus")
    pruned, kept = prune(tokenizer, [*ranking.needed, *ranking.others])
    # Without it, `encode_batch_fast` would give both texts the same type.
    pruned.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    return pruned, kept


def _counts(tokenizer: Tokenizer, texts: Sequence[Text], size: int, *, pairs: bool) -> Matrix:
    """(texts, size) sparse: each token's share of a text. Each text of a pair has a row: (2 x texts, size)."""
    from scipy.sparse import csr_array

    tokens = tokenize(tokenizer, texts)
    owners = np.repeat(np.arange(len(texts)), tokens.lengths)
    sides = 1
    if pairs:
        owners, sides = 2 * owners + tokens.types, 2
    lengths = np.bincount(owners, minlength=sides * len(texts))
    shares = (1 / lengths[owners]).astype(np.float32)
    return csr_array((shares, (owners, tokens.ids)), shape=(sides * len(texts), size))


def _principal_components(counts: Matrix, table: Floats) -> Floats:
    """(tokens, size) the table, standardized by the means of the texts, in their principal components' directions."""
    means = counts @ table
    mean, spread = means.mean(axis=0), np.maximum(means.std(axis=0), NARROWEST)
    standard = (means - mean) / spread
    # Ascending by their variance.
    directions = np.linalg.eigh(standard.T @ standard)[1][:, ::-1]
    found: Floats = ((table - mean) / spread) @ directions
    return found


def _features(means: Floats, *, pairs: bool) -> Floats:
    """(texts, features): the mean of a text's embeddings; of a pair both, their distance and their product."""
    if not pairs:
        return means
    first, second = means[::2], means[1::2]
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)
