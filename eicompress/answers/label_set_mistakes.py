"""The mistakes of an artifact that answers sets of labels, beside those of its baseline."""

from collections.abc import Sequence

import numpy as np

from eicompress.answers.calibration import Flags
from eicompress.answers.kind import Chart, Curve, Mistakes, Table, joined
from eicompress.answers.label_mistakes import percent
from eicompress.values import Text

EXAMPLES = 15
KINDS = (
    "a label is missing",
    "a label is too many",
    "no label, where there are some",
    "some labels, where there is none",
)
"""Of mistakes; a text may have several."""


def mistakes_of(
    labels: Sequence[str],
    texts: Sequence[Text],
    there: Flags,
    baseline: Flags,
    artifact: Flags,
    quality: str,
    interval: float,
) -> Mistakes:
    """From flags (n, labels): which labels are there, and which are answered; `quality` is the sentence on it."""
    right = [(each == there).all(axis=1) for each in (artifact, baseline)]
    summary = (
        f"{len(texts)} validation texts have {there.sum()} labels, {(~there.any(axis=1)).sum()} of the texts none. The "
        f"artifact answers {(there & artifact).sum()} of the labels, and {(artifact & ~there).sum()} others; the "
        f"baseline {(there & baseline).sum()}, and {(baseline & ~there).sum()} others. All labels of a text are right "
        f"in {right[0].mean():.1%} and {right[1].mean():.1%}. {quality}"
    )
    kinds = zip(KINDS, *(_kinds(there, each) for each in (artifact, baseline)), strict=True)
    scores = ("label", "texts", "precision", "recall", "F1", "baseline F1")
    tables = (
        Table("Texts that it lost", ("text", "labels", "artifact"), _lost(labels, texts, there, artifact, right), 0),
        Table("Texts by kind of mistake", ("mistake", "artifact", "baseline"), tuple(kinds), 2),
        Table(
            f"Precision and recall, {min(EXAMPLES, len(labels))} of {len(labels)} labels, the lowest F1 first",
            scores,
            _per_label(labels, there, artifact, baseline)[:EXAMPLES],
            5,
        ),
    )
    kept = tuple(each for each in tables if each.rows)
    return Mistakes(summary, interval, False, kept, (_chart(labels, there, baseline, artifact),))


def _kinds(there: Flags, answered: Flags) -> list[str]:
    some, any_answered = there.any(axis=1), answered.any(axis=1)
    found = (
        (there & ~answered).any(axis=1),
        (answered & ~there).any(axis=1),
        some & ~any_answered,
        ~some & any_answered,
    )
    return [str(each.sum()) for each in found]


def _lost(
    labels: Sequence[str], texts: Sequence[Text], there: Flags, artifact: Flags, right: Sequence[Flags]
) -> tuple[tuple[str, ...], ...]:
    """Texts whose labels the baseline has all right and the artifact has not, most mistakes first."""
    wrong = (artifact != there).sum(axis=1)
    rows = sorted(np.flatnonzero(right[1] & ~right[0]).tolist(), key=lambda row: -wrong[row])[:EXAMPLES]
    return tuple((joined(texts[row]), _named(labels, there[row]), _named(labels, artifact[row])) for row in rows)


def _named(labels: Sequence[str], flags: Flags) -> str:
    return ", ".join(labels[place] for place in np.flatnonzero(flags).tolist()) or "none"


def _per_label(labels: Sequence[str], there: Flags, artifact: Flags, baseline: Flags) -> tuple[tuple[str, ...], ...]:
    count, scores = there.sum(axis=0), []
    for answered in (artifact, baseline):
        right, given = (there & answered).sum(axis=0), answered.sum(axis=0)
        with np.errstate(invalid="ignore"):
            scores.append((right / given, right / count, 2 * right / (count + given)))
    order = sorted(range(len(labels)), key=lambda at: (np.nan_to_num(scores[0][2][at], nan=2.0), labels[at]))
    return tuple(
        (labels[at], str(count[at]), *(percent(each[at]) for each in scores[0]), percent(scores[1][2][at]))
        for at in order
    )


def _chart(labels: Sequence[str], there: Flags, baseline: Flags, artifact: Flags) -> Chart:
    """How often each label is answered, against how often it is there."""
    shares = tuple(100 * float(each) for each in there.mean(axis=0))

    def curve(name: str, answered: Flags) -> Curve:
        return Curve(name, shares, tuple(100 * float(each) for each in answered.mean(axis=0)), tuple(labels))

    return Chart(
        name="how-often-each-label",
        title="How often each label is answered",
        note="On the dotted line a label is answered as often as the data have it; below it, too seldom.",
        x_title="texts with the label, %",
        y_title="texts answered with it, %",
        ideal="as often",
        diagonal=(0, max(shares)),
        joined=False,
        hover="%{customdata}<br>in %{x:.1f} % of the texts, answered in %{y:.1f} %",
        baseline=curve("baseline", baseline),
        artifact=curve("artifact", artifact),
    )
