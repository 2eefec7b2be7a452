"""A part of a text's context that answers its question, or none where questions may have no answer.

Logits (n, 1 + W, 2) say of no answer, and then of each of the W words of a context, whether the answer begins there,
and whether it ends there. What was not read has zeros. An answer is worth the sum of the two, as in Devlin et al.
(arXiv 1810.04805), and no answer that of its own two. Targets are those of `span_targets`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from eicompress.answers import squad
from eicompress.answers.calibration import Flags
from eicompress.answers.f1 import half_width
from eicompress.answers.graph_output import GraphOutput
from eicompress.answers.kind import TIE, Answer, Array, Floats, Mistakes, Prediction, id2label
from eicompress.answers.nearest_words import nearest_to_questions
from eicompress.answers.span_mistakes import Answered, mistakes_of
from eicompress.answers.span_targets import FIELDS, context_of, references_of, words
from eicompress.values import Json, Text, readable

F1, EXACT_MATCH = "f1", "exact_match"
"""Qualities."""
MOST_WORDS = 30
"""Of an answer."""
EVEN = 0.4999
"""The threshold of a model for which none was chosen: about half, with as many digits as others, so that to choose one
adds no byte to a file."""
NEVER = -1e9


@dataclass(frozen=True)
class SpanPrediction(Prediction):
    """The answer to one question: characters `start` to the one before `end` of its context; all None for no answer."""

    answer: str | None
    start: int | None
    end: int | None
    confidence: float
    """The product of what beginning and end are given, or that of no answer."""

    @property
    def columns(self) -> tuple[str, ...]:
        place = "-" if self.answer is None else f"{self.start}-{self.end}"
        return (self.answer or "-", place, f"{self.confidence:.3f}")


class Chosen(NamedTuple):
    """Of n texts: arrays (n,) of the slots of an answer's first and last word, 0 for no answer, and its worth."""

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    worth: Floats


@dataclass(frozen=True)
class AnswerSpan(Answer):
    """Where the answer begins and ends."""

    no_answer_above: float | None = None
    """A question is left without an answer where the logistic function of what no answer is worth more than the best
    one is above this; None where every question has an answer."""
    quality: str = F1
    """By which thresholds are chosen and models compared."""

    kind: ClassVar[str] = "span"
    pipeline: ClassVar[str] = "question-answering"
    architecture: ClassVar[str] = "QuestionAnswering"
    simplest: ClassVar[str] = "words nearest to the question's"
    simplest_note: ClassVar[str] = "no model: where words of the question stand in the context"
    linear: ClassVar[str] = "softmax regression"
    head: ClassVar[str] = "span classifier"
    model: ClassVar[str] = "question answerer"
    limit: ClassVar[str] = (
        f"It answers with words that stand in the context, {MOST_WORDS} at most, and cannot put an answer together."
    )
    browser: ClassVar[str] = (
        '`pipeline("question-answering", ..., { dtype: "fp32" })`, called with question and context: it reads\n'
        "the first window of a long context alone, and does not say where the answer stands"
    )
    surest: ClassVar[bool] = False
    quality_is_share: ClassVar[bool] = True
    tuned_on_validation: ClassVar[bool] = True
    windowed: ClassVar[bool] = True
    probed: ClassVar[bool] = False

    @property
    def averaged(self) -> bool:
        return True

    @property
    def names(self) -> tuple[str, ...]:
        return ("start", "end")

    @property
    def word_outputs(self) -> int:
        return self.outputs

    @property
    def graph_outputs(self) -> Mapping[str, GraphOutput]:
        return {name: GraphOutput(None, per_token=True) for name in ("start_logits", "end_logits")}

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "no_answer_above": self.no_answer_above, "quality": self.quality}

    def config(self) -> dict[str, Any]:
        chosen = {} if self.no_answer_above is None else {"no_answer_above": self.no_answer_above}
        return {"id2label": id2label(self.names), **chosen, "pipeline_tag": self.pipeline}

    def decode(self, logits: Floats, texts: Sequence[Text]) -> list[SpanPrediction]:
        chosen, found = self.chosen(self.decided(logits)), []
        sure = self.confidence(logits, chosen)
        for text, first, last, confidence in zip(texts, chosen.first, chosen.last, sure.tolist(), strict=True):
            context = readable(text[1])
            if not first:
                found.append(SpanPrediction(None, None, None, confidence))
                continue
            start, end = words(context)[first - 1][0], words(context)[last - 1][1]
            found.append(SpanPrediction(context[start:end], start, end, confidence))
        return found

    def scored(self, targets: Array, chosen: Chosen) -> Floats:
        """(n,) the quality of each text."""
        return (exact_of if self.quality == EXACT_MATCH else f1_of)(targets, chosen)

    def chosen(self, logits: Floats) -> Chosen:
        """The best answers of logits (n, 1 + W, 2) with the threshold at zero."""
        best = best_spans(logits)
        if self.no_answer_above is None:
            return best
        nothing = logits[:, 0].astype(np.float64).sum(axis=1)
        none = nothing > best.worth
        first, last = (np.where(none, 0, each) for each in best[:2])
        return Chosen(first, last, np.where(none, nothing, best.worth))

    def confidence(self, logits: Floats, chosen: Chosen) -> Floats:
        """(n,) of answers, from a model's own logits."""
        read: Flags = np.any(logits, axis=-1)
        read[:, 0] = self.no_answer_above is not None
        values = np.where(read[..., None], logits.astype(np.float64), NEVER)
        odds = np.exp(values - values.max(axis=1, keepdims=True, initial=NEVER))
        shares = odds / odds.sum(axis=1, keepdims=True)
        rows = np.arange(len(logits))
        found: Floats = shares[rows, chosen.first, 0] * shares[rows, chosen.last, 1]
        return found

    def decided(self, logits: Floats) -> Floats:
        if self.no_answer_above is None:
            return logits
        found = logits.copy()
        found[:, 0, 0] -= np.float32(np.log(self.no_answer_above / (1 - self.no_answer_above)))
        return found

    def tuned(self, logits: Floats, targets: Array, outside: Floats | None) -> "AnswerSpan":
        """With the threshold of the highest quality; None stays where every question has an answer."""
        if self.no_answer_above is None:
            return self
        best = best_spans(logits)
        more = np.clip(logits[:, 0].astype(np.float64).sum(axis=1) - best.worth, -20, 20)
        shares = np.ceil(1e4 / (1 + np.exp(-more))) / 1e4
        none = np.zeros_like(best.first)
        answering, silent = self.scored(targets, best), self.scored(targets, Chosen(none, none, best.worth))
        order = np.argsort(shares, kind="stable")
        # From the first rows of this order up to each of them, questions are answered; those behind are not.
        reached = np.cumsum(answering[order]) + silent.sum() - np.cumsum(silent[order])
        tried = [(float(total), float(share)) for total, share in zip(reached, shares[order], strict=True)]
        inside = [each for each in tried if 0 < each[1] < 1]
        return replace(self, no_answer_above=max(inside, default=(0.0, EVEN))[1])

    def like(self, artifact: Answer) -> "AnswerSpan":
        return replace(self, no_answer_above=artifact.no_answer_above) if isinstance(artifact, AnswerSpan) else self

    def outputs_of(self, known: Answer | None) -> tuple[int, ...] | None:
        return (0, 1) if isinstance(known, AnswerSpan) else None

    def mismatch(self, who: str, known: Answer | None) -> str:
        came = "answers nothing that is named" if known is None else f"is {known.a_model}"
        return (
            f"{who[:1].upper()}{who[1:]} must say where answers begin and end (a class that ends in "
            f"`For{self.architecture}`), but {came}. Fine-tune it on the data."
        )

    @property
    def described(self) -> str:
        silent = (
            ""
            if self.no_answer_above is None
            else "\nA question has no answer where the logistic function of what the first token's two logits are "
            f"worth\nmore than the best pair is above {self.no_answer_above:g} (`no_answer_above`)."
        )
        return (
            "## Answers\n\nA part of the context, with its characters. The file's `start_logits` and `end_logits` "
            "(batch, tokens) say where it begins\nand ends: the pair with the largest sum counts. A context that is "
            f"longer than the model reads is read in windows that overlap.{silent}"
        )

    def holds(self, targets: Array) -> bool:
        whole = targets.ndim == 2 and bool(np.issubdtype(targets.dtype, np.integer)) and targets.shape[1] > FIELDS
        return whole and bool((targets[:, 0] == targets[0, 0]).all()) and bool(targets[0, 0] >= 1)

    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        """Words of the context with the most words of the question around them, as many as answers have usually."""
        there = targets[targets[:, 1] > 0]
        usual = int(np.median(there[:, 2] - there[:, 1])) + 1 if len(there) else 1
        return nearest_to_questions(known, texts, usual)

    def agrees(self, expected: Floats, got: Floats) -> Flags:
        wanted, chosen = self.chosen(expected), self.chosen(got)
        rows = np.arange(len(expected))
        worth = expected[rows, chosen.first, 0].astype(np.float64) + expected[rows, chosen.last, 1]
        near = TIE * np.sqrt(2) * float(expected[expected.any(axis=-1)].std()) if expected.any() else 0.0
        found: Flags = worth >= wanted.worth - near
        return found

    def readable_rows(self, rows: Sequence[Json], columns: Mapping[str, str], origin: str) -> Sequence[Json]:
        texts = {columns[role]: "a" for role in ("text", "text_pair")}
        answered = {**texts, columns["label"]: {"text": ["a"], "answer_start": [0]}}
        silent = {**texts, columns["label"]: {"text": [], "answer_start": []}}
        return [answered] if self.no_answer_above is None else [answered, silent]

    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        first, second = (self.scored(targets, self.chosen(each)) for each in (ours, theirs))
        apart = first - second
        return float(apart.mean()), half_width(lambda rows: float(apart[rows].mean()), len(apart))

    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        both = [self.chosen(each) for each in (baseline, artifact)]
        theirs, ours = (
            Answered(
                answers_of(targets, chosen),
                f1_of(targets, chosen),
                exact_of(targets, chosen),
                self.confidence(logits, chosen),
            )
            for chosen, logits in zip(both, (baseline, artifact), strict=True)
        )
        wanted = [references_of(row, context_of(row)) for row in targets]
        of_f1 = replace(self, quality=F1).difference(targets, artifact, baseline)[1]
        found = mistakes_of(texts, wanted, theirs, ours, of_f1)
        return found if self.quality == F1 else replace(found, interval=self.difference(targets, artifact, baseline)[1])


def best_spans(logits: Floats) -> Chosen:
    """The parts of at most `MOST_WORDS` words that are worth most, from logits (n, 1 + W, 2)."""
    read: Flags = np.any(logits[:, 1:], axis=-1)
    begins, ends = (np.where(read, logits[:, 1:, side].astype(np.float64), NEVER) for side in (0, 1))
    rows, width = np.arange(len(logits)), begins.shape[1]
    first, last = np.zeros((2, len(logits)), np.int64)
    worth = np.full(len(logits), NEVER)
    for longer in range(min(MOST_WORDS, width)):
        both = begins[:, : width - longer] + ends[:, longer:]
        at = both.argmax(axis=1)
        better = both[rows, at] > worth
        first[better], last[better] = at[better] + 1, at[better] + 1 + longer
        worth = np.where(better, both[rows, at], worth)
    return Chosen(first, last, worth)


def answers_of(targets: Array, chosen: Chosen) -> list[str]:
    """The words that were chosen, empty for no answer."""
    found = []
    for row, first, last in zip(targets, chosen.first.tolist(), chosen.last.tolist(), strict=True):
        context = context_of(row)
        spans = words(context)
        found.append(context[spans[first - 1][0] : spans[last - 1][1]] if first else "")
    return found


def f1_of(targets: Array, chosen: Chosen) -> Floats:
    """(n,)"""
    return _compared(squad.f1, targets, chosen)


def exact_of(targets: Array, chosen: Chosen) -> Floats:
    """(n,) 1 or 0"""
    return _compared(squad.exact_match, targets, chosen)


def _compared(by: Any, targets: Array, chosen: Chosen) -> Floats:
    answers = answers_of(targets, chosen)
    return np.array(
        [by(answer, references_of(row, context_of(row))) for row, answer in zip(targets, answers, strict=True)]
    )
