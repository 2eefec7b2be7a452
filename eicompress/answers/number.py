"""A number for a text. Models learn it with zero mean and unit deviation; an artifact answers in the user's units."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from eicompress.answers.f1 import half_width
from eicompress.answers.kind import (
    TIE,
    Answer,
    Array,
    Chart,
    Curve,
    Floats,
    Mistakes,
    Prediction,
    Table,
    id2label,
    joined,
)
from eicompress.values import Text

NAME = "number"
"""The name of the only output."""
FLAT = 0.1
"""Where a model's answers deviate less than this share of the targets', agreement is judged as if they did."""
EXAMPLES = 15
SHOWN = 500
"""Points of a chart, at most."""


@dataclass(frozen=True)
class NumberPrediction(Prediction):
    """The number that a model answers to one text."""

    number: float

    @property
    def columns(self) -> tuple[str, ...]:
        return (f"{self.number:.5g}",)


@dataclass(frozen=True)
class Number(Answer):
    """A number, in units of `deviation` from `mean` as long as it is learned."""

    mean: float = 0.0
    deviation: float = 1.0

    kind: ClassVar[str] = "number"
    pipeline: ClassVar[str] = "text-classification"
    simplest: ClassVar[str] = "mean"
    linear: ClassVar[str] = "ridge regression"
    head: ClassVar[str] = "regression head"
    model: ClassVar[str] = "regressor"
    limit: ClassVar[str] = "It answers a number to every text, and does not say how sure it is."
    browser: ClassVar[str] = (
        '`AutoModelForSequenceClassification.from_pretrained(..., { dtype: "fp32" })`, whose `logits` are the answer: '
        "the\npipeline's softmax of one number would always be 1"
    )
    surest: ClassVar[bool] = False
    quality_is_share: ClassVar[bool] = False
    quality: ClassVar[str] = "pearson"

    @property
    def names(self) -> tuple[str, ...]:
        return (NAME,)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}

    def config(self) -> dict[str, Any]:
        return {"id2label": id2label(self.names), "problem_type": "regression"}

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[NumberPrediction]:
        return [NumberPrediction(float(each)) for each in self.in_units(logits[:, 0])]

    def in_units(self, values: Array) -> Floats:
        """Values as they are learned -> in the user's units."""
        found: Floats = np.asarray(values, np.float64) * self.deviation + self.mean
        return found

    def standard(self, logits: Floats) -> Floats:
        found: Floats = ((logits.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)
        return found

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        return (0,) if isinstance(known, Number) else None

    def mismatch(self, who: str, known: Answer | None) -> str:
        came = "answers nothing that is named" if known is None else f"has {known.outputs} labels"
        return (
            f"{who[:1].upper()}{who[1:]} must answer a number (`num_labels=1`), but {came}. Fine-tune it on the data."
        )

    def rescaling(self, known: Answer) -> tuple[float, float] | None:
        if not isinstance(known, Number) or known == self:
            return None
        return known.deviation / self.deviation, (known.mean - self.mean) / self.deviation

    @property
    def scale(self) -> tuple[float, float] | None:
        return None if (self.deviation, self.mean) == (1.0, 0.0) else (self.deviation, self.mean)

    @property
    def described(self) -> str:
        return "## Answer\n\nOne number, in the units of the training data: the only one of the file's `logits`."

    def holds(self, targets: Array) -> bool:
        return targets.ndim == 1 and bool(np.issubdtype(targets.dtype, np.floating))

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        return np.full((len(texts), 1), targets.mean(), np.float32)

    def agrees(self, expected: Floats, got: Floats) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = np.abs(got - expected)[:, 0] <= TIE * max(FLAT, float(expected.std()))
        return found

    def rounding(self) -> float:
        return float(np.spacing(np.float32(abs(self.mean) + self.deviation))) / self.deviation

    def score(self, targets: Array, logits: Floats) -> float:
        """Pearson's correlation of logits (n, 1) with targets (n,); what runs against them has none."""
        return max(0.0, correlation(logits[:, 0], targets))

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        return apart(ours[:, 0], theirs[:, 0], targets)

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        wanted, before, after = (self.in_units(each) for each in (targets, baseline[:, 0], artifact[:, 0]))
        off_before, off_after = np.abs(before - wanted), np.abs(after - wanted)
        correlations = [correlation(each, wanted) for each in (after, before)]
        interval = apart(after, before, wanted)[1]
        signed = f"{correlations[0] - correlations[1]:+.3f}".replace("-", "\u2212")
        summary = (
            f"Over {len(wanted)} validation texts the artifact is off by {off_after.mean():.3g} on average, the "
            f"baseline by {off_before.mean():.3g}; the numbers of the data deviate by {wanted.std():.3g}. Pearson's "
            f"correlation is {correlations[0]:.3f} for the artifact and {correlations[1]:.3f} for the baseline: "
            f"{signed} ± {interval:.3f} (95 % interval, paired)."
        )
        worst = np.argsort(-off_after, kind="stable")[:EXAMPLES]
        # As many digits as tell answers apart that are a hundredth of the deviation away.
        digits = max(0, 2 - math.floor(math.log10(self.deviation)))
        rows = tuple(
            (joined(texts[row]), *(f"{each[row]:.{digits}f}" for each in (wanted, after, before, off_after)))
            for row in worst
        )
        heads = ("text", "number", "artifact", "baseline", "off by")
        table = Table("Largest errors", heads, rows, 4)
        tables = (table, _by_quarter(wanted, before, after, digits))
        return Mistakes(summary, interval, False, tables, (_scatter(texts, wanted, before, after),))


def _by_quarter(wanted: Floats, before: Floats, after: Floats, digits: int) -> Table:
    """Where on the scale a model errs, and to which side: quarters of the texts, by the number that is right."""
    parts = [each for each in np.array_split(np.argsort(wanted, kind="stable"), 4) if len(each)]
    lines = tuple(
        (
            f"{wanted[part].min():.{digits}f} to {wanted[part].max():.{digits}f}",
            str(len(part)),
            f"{np.abs(after - wanted)[part].mean():.{digits}f}",
            f"{(after - wanted)[part].mean():+.{digits}f}",
            f"{np.abs(before - wanted)[part].mean():.{digits}f}",
        )
        for part in parts
    )
    heads = ("number", "texts", "off by", "too high by", "baseline off by")
    return Table("Errors by size of the number", heads, lines, 4)


def correlation(one: Array, other: Array) -> float:
    """Pearson's correlation of (n,) and (n,); 0 where one of them does not vary."""
    first, second = (np.asarray(each, np.float64) - np.mean(each, dtype=np.float64) for each in (one, other))
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    # What is left of a constant by rounding has no direction.
    flat = min(float(np.linalg.norm(first)), float(np.linalg.norm(second))) < 1e-9 * max(1.0, len(first) ** 0.5)
    return 0.0 if flat or not lengths else float(first @ second) / lengths


def apart(ours: Floats, theirs: Floats, wanted: Floats) -> tuple[float, float]:
    """How much higher the first correlation with (n,) is, and half the width of its 95 % interval, by a bootstrap over
    the examples."""

    def difference(rows: npt.NDArray[np.int64]) -> float:
        return correlation(ours[rows], wanted[rows]) - correlation(theirs[rows], wanted[rows])

    return difference(np.arange(len(wanted))), half_width(difference, len(wanted))


def curves(notes: Sequence[str], wanted: Floats, before: Floats, after: Floats, of: str) -> tuple[str, Curve, Curve]:
    """Both models' answers (n,) against what is wanted, at most `SHOWN` of them: what to say where some are left out,
    and the curves of baseline and artifact."""
    rows = np.sort(np.random.default_rng(0).permutation(len(wanted))[:SHOWN])
    x, named = tuple(float(each) for each in wanted[rows]), tuple(notes[row] for row in rows)
    found = [
        Curve(name, x, tuple(float(each) for each in answers[rows]), named)
        for name, answers in (("baseline", before), ("artifact", after))
    ]
    some = f"{len(rows)} of {len(wanted)} {of}, drawn by chance. " if len(rows) < len(wanted) else ""
    return some, found[0], found[1]


def _scatter(texts: Sequence[Text], wanted: Floats, before: Floats, after: Floats) -> Chart:
    """The numbers of the data against those of both models."""
    some, baseline, artifact = curves([joined(text)[:80] for text in texts], wanted, before, after, "texts")
    return Chart(
        name="answers-against-numbers",
        title="Answers against the numbers of the data",
        note=f"{some}On the dotted line an answer is the number of the data.",
        x_title="number of the data",
        y_title="answer",
        ideal="exact",
        diagonal=(float(wanted.min()), float(wanted.max())),
        joined=False,
        hover="%{customdata}<br>%{x:.4g}, answered with %{y:.4g}",
        baseline=baseline,
        artifact=artifact,
    )
