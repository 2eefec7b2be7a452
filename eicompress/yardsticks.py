"""What simple methods reach on the same data, so that a reader sees whether a transformer earns its bytes.

Trained on the training rows, measured on the validation rows: the majority class, and softmax regression on tf-idf of
words and pairs of neighbouring words, and on the mean of the teacher's token embeddings, which is what is left of a
transformer without its layers (model2vec's kind of model). Seconds, not minutes: rows, words and features are bounded.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from eicompress.contracts import Array, Examples, Task
from eicompress.values import MEGABYTE, Json, Text, seed_of

ROWS = 20_000
"""Training rows that the regression reads, drawn with the seed where there are more."""
WORDS = 100
"""Words that are read of each text, the first ones."""
WEIGHTS = 3_000_000
"""Features times labels at most; the rarest features go first."""
RARE = 2
"""Features in fewer training rows than this are left out, where others remain."""
STRENGTH = 10.0
"""The inverse of the ridge penalty on the weights, over all rows: scikit-learn's `C`."""
STEPS = 60


@dataclass(frozen=True)
class Static:
    """A table of token embeddings (tokens, size), and the tokenizer that numbers its rows."""

    tokenizer: Tokenizer
    table: torch.Tensor

    def vectors(self, texts: Sequence[Text]) -> torch.Tensor:
        """Mean embeddings (n, size); of a pair both, their distance and their product, (n, 4 x size)."""
        if all(isinstance(text, str) for text in texts):
            return self._means(texts)
        first, second = (self._means([text[side] for text in texts]) for side in (0, 1))
        return torch.cat([first, second, (first - second).abs(), first * second], dim=1)

    def read(self, texts: Sequence[Text]) -> set[str]:
        """The tokens that occur in the texts."""
        return {token for each in self.tokenizer.encode_batch(list(texts)) for token in each.tokens}

    def _means(self, texts: Sequence[Text]) -> torch.Tensor:
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        zero = torch.zeros(self.table.shape[1])
        return torch.stack([self.table[each.ids].mean(dim=0) if each.ids else zero for each in encodings])


def yardsticks(task: Task, train: Examples, validation: Examples, static: Static, seed: int) -> dict[str, Json]:
    """Quality, and where it applies size and a note, by the method's name; empty unless a text has one label."""
    labels = len(task.labels)
    if train.targets.ndim != 1 or not np.issubdtype(train.targets.dtype, np.integer):
        return {}
    majority = np.tile(np.bincount(train.targets, minlength=labels).astype(np.float32), (len(validation), 1))
    found: dict[str, Json] = {"majority class": {"quality": task.score(majority, validation.targets)}}
    if len(train) > ROWS:
        train = train.take(np.random.default_rng(seed_of(seed, "yardsticks")).permutation(len(train))[:ROWS].tolist())
    words = _Words.of(train.texts, WEIGHTS // labels)
    if words.weights:
        logits = _regression(words.vectors(train.texts), train.targets, labels, words.vectors(validation.texts))
        weights = len(words.weights) * (labels + 1) + sum(len(each.encode()) for each in words.weights)
        found["tf-idf with logistic regression"] = {
            "quality": task.score(logits, validation.targets),
            "size_mb": weights / MEGABYTE,
            "note": f"{len(words.weights):,} words and pairs of words, {len(train):,} texts; at one byte a weight",
        }
    return found | {"static embeddings with logistic regression": _static(task, train, validation, static)}


def _static(task: Task, train: Examples, validation: Examples, static: Static) -> Json:
    vectors, measured = static.vectors(train.texts), static.vectors(validation.texts)
    mean, spread = vectors.mean(dim=0), vectors.std(dim=0).clamp(min=1e-6)
    logits = _regression((vectors - mean) / spread, train.targets, len(task.labels), (measured - mean) / spread)
    tokens = static.read(train.texts)
    weights = len(tokens) * static.table.shape[1] + len(task.labels) * (vectors.shape[1] + 1)
    return {
        "quality": task.score(logits, validation.targets),
        "size_mb": (weights + sum(len(each.encode()) for each in tokens)) / MEGABYTE,
        "note": f"the mean of the teacher's embeddings of {len(tokens):,} tokens; at one byte a weight",
    }


@dataclass(frozen=True)
class _Words:
    """Which features count, and their inverse document frequencies."""

    weights: dict[str, float]

    @classmethod
    def of(cls, texts: Sequence[Text], most: int) -> "_Words":
        counts = Counter(feature for text in texts for feature in set(_features(text)))
        frequent = {feature: count for feature, count in counts.items() if count >= RARE} or counts
        kept = sorted(frequent, key=lambda feature: (-counts[feature], feature))[:most]
        return cls({each: float(np.log((1 + len(texts)) / (1 + counts[each]))) + 1 for each in kept})

    def vectors(self, texts: Sequence[Text]) -> torch.Tensor:
        """Rows of length one, sparse (n, features): logarithms of counts, times the inverse frequencies."""
        numbers = {feature: number for number, feature in enumerate(self.weights)}
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for row, text in enumerate(texts):
            counts = Counter(feature for feature in _features(text) if feature in numbers)
            vector = np.array([(1 + np.log(count)) * self.weights[each] for each, count in counts.items()])
            rows += [row] * len(counts)
            columns += [numbers[feature] for feature in counts]
            values += (vector / np.linalg.norm(vector)).tolist()
        size = (len(texts), len(numbers))
        at = torch.tensor([rows, columns], dtype=torch.int64)
        # Said either way, torch does not warn that it leaves the indices unchecked.
        return torch.sparse_coo_tensor(at, torch.tensor(values), size, check_invariants=True).coalesce()


def _features(text: Text) -> Iterable[str]:
    """Words and pairs of neighbours, in lower case; those of a second text are marked as such."""
    for side, part in enumerate((text,) if isinstance(text, str) else text):
        words = [f"{'+' * side}{word}" for word in re.findall(r"\w+", part.lower())[:WORDS]]
        yield from words
        yield from (f"{first} {second}" for first, second in pairwise(words))


def _regression(train: torch.Tensor, targets: Array, labels: int, measured: torch.Tensor) -> Array:
    """Softmax regression with a ridge penalty, by L-BFGS from zero; the logits (n, labels) of `measured`."""
    answers = torch.from_numpy(targets.astype(np.int64))
    weights = torch.zeros(train.shape[1], labels, requires_grad=True)
    bias = torch.zeros(labels, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=STEPS, history_size=5, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        penalty = weights.square().sum() / (2 * STRENGTH * len(answers))
        value = F.cross_entropy(train @ weights + bias, answers) + penalty
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found: Array = (measured @ weights + bias).numpy()
    return found
