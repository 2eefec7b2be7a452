"""A vector of length one for a text: texts of like meaning have vectors with a large cosine.

Models are judged by pairs of texts: how well the order of their cosines is that of known scores (Spearman's
correlation).
Targets (2 x pairs, 2) are, for each text, the number of its pair and the pair's score, NaN where there is none.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from eicompress.answers.kind import Answer, Array, Chart, Floats, Mistakes, Prediction, Table
from eicompress.answers.number import apart, correlation, curves
from eicompress.values import Text

DIMENSIONS = "embedding_dimensions"
"""The entry of a `config.json` that says how long a model's vectors are."""
SAME = 0.995
"""Two vectors with this cosine are equally good answers."""
EXAMPLES = 15
TERMS = 4096
"""Words of the simplest baseline, at most."""


@dataclass(frozen=True)
class VectorPrediction(Prediction):
    """The vector of one text."""

    vector: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (" ".join(str(each) if isinstance(each, int) else f"{each:.4f}" for each in self.vector),)


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts that have a score."""

    first: npt.NDArray[np.int64]
    """The row of each pair's first text."""
    second: npt.NDArray[np.int64]
    scores: Floats

    def cosines(self, logits: Floats) -> Floats:
        """Vectors (n, width) of all texts -> the cosine of each pair; 0 with a vector of no length."""
        vectors = np.asarray(logits, np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        found: Floats = (vectors[self.first] * vectors[self.second]).sum(axis=1)
        return found


def pairs_of(targets: Array) -> Pairs:
    """The pairs whose two texts are both among these targets (n, 2), and that have a score."""
    order = np.argsort(targets[:, 0], kind="stable")
    numbers = targets[order, 0]
    scores = np.asarray(targets[order, 1], np.float64)
    whole = np.flatnonzero((numbers[1:] == numbers[:-1]) & np.isfinite(scores[1:]))
    return Pairs(order[whole], order[whole + 1], scores[whole])


def ranks(values: Array) -> Floats:
    """Values (n,) -> their places from 0 to 1 in rising order; equal ones share the mean of theirs."""
    from scipy.stats import rankdata  # late, since it takes a while and processes that predict need none

    found: Floats = (rankdata(values) - 1) / max(1, len(values) - 1)
    return found


def halves(width: int, count: int) -> tuple[int, ...]:
    """The half of a width, its quarter and so on, `count` of them, none below one."""
    return tuple(half for each in range(1, count + 1) if (half := width >> each))


def first(vectors: Array, dimensions: int | None = None) -> npt.NDArray[np.float32]:
    """The first dimensions of vectors (n, width), or all, divided by their length; zeros stay."""
    found = np.asarray(vectors[:, :dimensions], np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    return unit


def eight_bits(vectors: Floats) -> npt.NDArray[np.int8]:
    """Vectors (n, width) as whole numbers, of which each vector's largest is 127 or -127: a cosine needs no scale."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    shares = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    codes: npt.NDArray[np.int8] = np.rint(127 * shares).astype(np.int8)
    return codes


@dataclass(frozen=True)
class Vector(Answer):
    """A vector of length one; `width` 0 stands for as many dimensions as the model has."""

    width: int = 0

    kind: ClassVar[str] = "vector"
    pipeline: ClassVar[str] = "feature-extraction"
    simplest: ClassVar[str] = "cosine of tf-idf"
    linear: ClassVar[str] = "least squares"
    head: ClassVar[str] = "projection to vectors"
    model: ClassVar[str] = "embedder"
    limit: ClassVar[str] = "It gives a vector to every text, also to one unlike all that it was trained on."
    browser: ClassVar[str] = (
        '`pipeline("feature-extraction", ..., { dtype: "fp32" })`, whose answer is the vector, by any pooling'
    )
    surest: ClassVar[bool] = False
    quality_is_share: ClassVar[bool] = False
    unit: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"dimension {number}" for number in range(self.width))

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}

    def config(self) -> dict[str, Any]:
        return {"architectures": ["BertModel"], DIMENSIONS: self.width}

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[VectorPrediction]:
        return [VectorPrediction(tuple(each.tolist())) for each in logits]

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        if not isinstance(known, Vector) or self.width not in (0, known.width):
            return None
        return tuple(range(known.width))

    def mismatch(self, who: str, known: Answer | None) -> str:
        must = f"a vector of {self.width} dimensions" if self.width else "a vector"
        if isinstance(known, Vector):
            came, take = f"answers one of {known.width}", "Take one of the same width."
        else:
            came = "answers something else" if known else "answers nothing that is named"
            take = "Take a folder of sentence-transformers, or a model without a head."
        return f"{who[:1].upper()}{who[1:]} must answer {must}, but {came}. {take}"

    @property
    def described(self) -> str:
        return (
            f"## Answer\n\nA vector of {self.width} dimensions and length one: the file's `logits`. The product of two "
            "vectors is their cosine, the likeness of two texts. sentence-transformers loads the folder with "
            '`SentenceTransformer(..., backend="onnx")`; encode one text at a time (`batch_size=1`).'
        )

    def holds(self, targets: Array) -> bool:
        return targets.ndim == 2 and targets.shape[1] == 2 and bool(np.issubdtype(targets.dtype, np.floating))

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        """tf-idf (n, words), not of the model's width: cosines need none."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # late, as above

        by_words = TfidfVectorizer(max_features=TERMS, token_pattern=r"(?u)\b\w+\b", dtype=np.float32)
        try:
            by_words.fit(map(str, known))
        except ValueError:  # no word is in any text
            return np.zeros((len(texts), 1), np.float32)
        found: Floats = by_words.transform(map(str, texts)).toarray()
        return found

    def agrees(self, expected: Floats, got: Floats) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = (expected * got).sum(axis=1) >= SAME
        return found

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        pairs = pairs_of(targets)
        if len(pairs.scores) < 2:
            return 0.0, 0.0
        return apart(*(ranks(each) for each in (pairs.cosines(ours), pairs.cosines(theirs), pairs.scores)))

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        pairs = pairs_of(targets)
        before, after = pairs.cosines(baseline), pairs.cosines(artifact)
        wanted, rank_before, rank_after = ranks(pairs.scores), ranks(before), ranks(after)
        off_before, off_after = rank_before - wanted, rank_after - wanted
        found = [correlation(each, wanted) for each in (rank_after, rank_before)]
        interval = self.difference(targets, artifact, baseline)[1]
        signed = f"{found[0] - found[1]:+.3f}".replace("-", "\u2212")
        summary = (
            f"Over {len(wanted)} pairs of validation texts Spearman's correlation of the cosines with the scores is "
            f"{found[0]:.3f} for the artifact and {found[1]:.3f} for the baseline: {signed} ± {interval:.3f} (95 % "
            f"interval, paired). In the order of all pairs one is {np.abs(off_after).mean():.1%} of them "
            f"away from its place on average, with the baseline {np.abs(off_before).mean():.1%}."
        )
        both = [f"{texts[one]} | {texts[other]}" for one, other in zip(pairs.first, pairs.second, strict=True)]
        worst = np.argsort(-np.abs(off_after), kind="stable")[:EXAMPLES]
        rows = tuple(
            (both[row], *(f"{each[row]:.3f}" for each in (pairs.scores, after, before)), f"{off_after[row]:+.0%}")
            for row in worst
        )
        heads = ("pair", "score", "cosine", "baseline's cosine", "places too high")
        table = Table("Pairs whose likeness is most wrong", heads, rows, 4)
        tables = (table, _by_quarter(pairs.scores, off_before, off_after))
        return Mistakes(summary, interval, False, tables, (_scatter(both, wanted, rank_before, rank_after),))


def _by_quarter(scores: Floats, before: Floats, after: Floats) -> Table:
    """Quarters of the pairs, by their score."""
    parts = [each for each in np.array_split(np.argsort(scores, kind="stable"), 4) if len(each)]
    lines = tuple(
        (
            f"{scores[part].min():.3f} to {scores[part].max():.3f}",
            str(len(part)),
            f"{np.abs(after[part]).mean():.1%}",
            f"{after[part].mean():+.1%}",
            f"{np.abs(before[part]).mean():.1%}",
        )
        for part in parts
    )
    heads = ("score", "pairs", "places off", "places too high", "baseline's places off")
    return Table("Errors by score, in shares of all places", heads, lines, 4)


def _scatter(both: Sequence[str], wanted: Floats, before: Floats, after: Floats) -> Chart:
    """The places of the scores against those of both models' cosines."""
    some, baseline, artifact = curves([each[:100] for each in both], wanted, before, after, "pairs")
    return Chart(
        name="places-of-cosines",
        title="Order of the cosines against that of the scores",
        note=f"{some}On the dotted line a pair's cosine has the place of its score: 0 the lowest, 1 the highest.",
        x_title="place of the score",
        y_title="place of the cosine",
        ideal="same order",
        diagonal=(0.0, 1.0),
        joined=False,
        hover="%{customdata}<br>score at %{x:.2f}, cosine at %{y:.2f}",
        baseline=baseline,
        artifact=artifact,
    )
