"""The mistakes of an artifact that finds entities, beside those of its baseline."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eicompress.answers.entities import NONE, Spans, f1
from eicompress.answers.f1 import Whole
from eicompress.answers.kind import Table
from eicompress.answers.label_mistakes import percent
from eicompress.answers.words import words_of

EXAMPLES = 15
KINDS = (
    "right place, wrong type",
    "right type, wrong beginning or end",
    "wrong type and place",
    "not found",
    "no entity there",
)
"""Of mistakes."""


def summary_of(before: Whole, after: Whole, interval: float) -> str:
    """From counts (n, 3) of baseline and artifact: what is right, answered and there."""
    theirs, ours = before.sum(axis=0), after.sum(axis=0)
    signed = f"{100 * (f1(ours) - f1(theirs)):+.1f}".replace("-", "\u2212")
    return (
        f"{len(after)} validation texts have {ours[2]} entities. The artifact finds {ours[0]} of them, and answers "
        f"{ours[1] - ours[0]} others; the baseline finds {theirs[0]}, and answers {theirs[1] - theirs[0]} others. "
        f"F1 is {f1(ours):.1%} for the artifact and {f1(theirs):.1%} for the baseline: {signed} ± "
        f"{100 * interval:.1f} points (95 % interval, paired)."
    )


@dataclass(frozen=True)
class Found:
    """Entities of the same texts: those that are there, the artifact's and the baseline's, over words that count."""

    texts: Sequence[str]
    targets: Whole
    types: tuple[str, ...]
    there: Spans
    artifact: Spans
    baseline: Spans

    def tables(self) -> tuple[Table, ...]:
        """Entities that were lost, kinds of mistakes, and the scores of each type; without empty ones."""
        counts = [counts_of_mistakes(self.there, each) for each in (self.artifact, self.baseline)]
        kinds = tuple((name, *map(str, numbers)) for name, *numbers in zip(KINDS, *counts, strict=True))
        scores = ("type", "entities", "precision", "recall", "F1", "baseline F1")
        found = (
            Table("Entities that it lost", ("text", "entity", "type", "artifact"), self._lost(), 0),
            Table("Kinds of mistakes", ("mistake", "artifact", "baseline"), kinds, 2),
            Table("Precision and recall by type, the lowest F1 first", scores, self._by_type(), 5),
        )
        return tuple(each for each in found if each.rows)

    def _keys(self, spans: Spans) -> Whole:
        return spans.keys(self.targets.shape[1], len(self.types))

    def _lost(self) -> tuple[tuple[str, ...], ...]:
        """What the baseline finds and the artifact does not, and what the artifact answers there."""
        keys, ours = self._keys(self.there), self.artifact
        lost = np.isin(keys, self._keys(self.baseline)) & ~np.isin(keys, self._keys(ours))
        lines = []
        for at in np.flatnonzero(lost)[:EXAMPLES].tolist():
            row, start, end, kind = (int(each[at]) for each in self.there)
            near = np.flatnonzero((ours.rows == row) & (ours.starts < end) & (ours.ends > start))
            answers = [
                f"{self.types[ours.types[each]]}: {self._spelled(row, int(ours.starts[each]), int(ours.ends[each]))}"
                for each in near
            ]
            entity = self._spelled(row, start, end)
            lines.append((self.texts[row], entity, self.types[kind], ", ".join(answers) or "nothing"))
        return tuple(lines)

    def _spelled(self, row: int, first: int, last: int) -> str:
        """A text from one of its words that count to before another."""
        counted = np.flatnonzero(self.targets[row] >= 0)
        behind = counted[last] if last < len(counted) else np.flatnonzero(self.targets[row] != NONE)[-1] + 1
        words = words_of(self.texts[row])
        return self.texts[row][words[counted[first]][0] : words[behind - 1][1]]

    def _by_type(self) -> tuple[tuple[str, ...], ...]:
        count = len(self.types)
        there = np.bincount(self.there.types, minlength=count)
        scores = []
        for spans in (self.artifact, self.baseline):
            right = np.bincount(spans.types[np.isin(self._keys(spans), self._keys(self.there))], minlength=count)
            answered = np.bincount(spans.types, minlength=count)
            with np.errstate(invalid="ignore"):
                scores.append((right / answered, right / there, 2 * right / (there + answered)))
        order = sorted(range(count), key=lambda at: (np.nan_to_num(scores[0][2][at], nan=2.0), self.types[at]))
        return tuple(
            (self.types[at], str(there[at]), *(percent(each[at]) for each in scores[0]), percent(scores[1][2][at]))
            for at in order
        )


def counts_of_mistakes(there: Spans, answered: Spans) -> list[int]:
    """How often each of the `KINDS` of mistakes occurs."""
    found = dict.fromkeys(range(len(KINDS)), 0)
    by_row: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for row, start, end, kind in zip(*(each.tolist() for each in answered), strict=True):
        by_row[row].append((start, end, kind))
    met: set[tuple[int, int]] = set()
    for row, start, end, kind in zip(*(each.tolist() for each in there), strict=True):
        near = [each for each in by_row[row] if each[0] < end and start < each[1]]
        met |= {(row, each[0]) for each in near}
        if not near:
            found[3] += 1
        elif (start, end, kind) not in near:
            same_place = any(each[:2] == (start, end) for each in near)
            found[0 if same_place else 1 if any(each[2] == kind for each in near) else 2] += 1
    found[4] = sum((row, each[0]) not in met for row, spans in by_row.items() for each in spans)
    return list(found.values())
