"""Question answering: the part of a context that answers a question, as in SQuAD.

Rows have `question`, `context` and `answers`, an object with the lists `text` and `answer_start`, in characters of the
context. Questions without an answer have empty lists, as in SQuAD 2.0. A whole context is read in windows, in training
as in use, so a row needs no window of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch.nn import functional as F

from eicompress.answers.span import EVEN, EXACT_MATCH, F1, AnswerSpan, exact_of, f1_of
from eicompress.answers.span_targets import targets_of
from eicompress.contracts import Array, Examples, Task
from eicompress.errors import DataError, shortened
from eicompress.values import Json, readable

COLUMNS = {"text": "question", "text_pair": "context", "label": "answers"}
"""Where each role is read by default."""
NEVER = -1e4
"""The logit of what is no choice; half precision holds it."""


@dataclass(frozen=True)
class QuestionAnswering(Task):
    """Where in the context the answer stands. The quality is the mean F1 of words, or the share of exact matches, as
    SQuAD counts them: the best of several references."""

    unanswerable: bool
    """Whether questions may have no answer."""
    quality: str = F1

    name: ClassVar[str] = "question_answering"
    qualities: ClassVar[tuple[str, ...]] = (F1, EXACT_MATCH)
    columns: ClassVar[tuple[str, ...]] = ("text", "text_pair", "label")
    example: ClassVar[Sequence[Json]] = (
        {"text": "who will stop", "text_pair": "the sun will stop", "label": {"text": ["sun"], "answer_start": [4]}},
        {
            "text": "what will it play",
            "text_pair": "it will play a song today",
            "label": {"text": ["a song", "song"], "answer_start": [13, 15]},
        },
        {"text": "will it rain", "text_pair": "play the music", "label": {"text": [], "answer_start": []}},
    )

    @classmethod
    def columns_in(cls, row: Json, columns: Mapping[str, str]) -> dict[str, str]:
        """As named; else as SQuAD has them, where the row has one of its columns."""
        named = {role: columns.get(role, role) for role in cls.columns}
        if not {*COLUMNS.values()} & row.keys():
            return named
        return {role: COLUMNS[role] if name == role and name not in row else name for role, name in named.items()}

    @classmethod
    def cell_refusal(cls, role: str, row: Json, columns: Mapping[str, str]) -> str:
        if role != "label":
            return super().cell_refusal(role, row, columns)
        context = row.get(columns["text_pair"])
        return _answers_refusal(row[columns["label"]], str(context), columns["text_pair"])

    @classmethod
    def read(cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]) -> tuple[Self, dict[str, Examples]]:
        question, context, label = (columns.get(role, COLUMNS[role]) for role in cls.columns)
        silent = {
            name: [at for at, row in enumerate(rows, start=1) if not row[label]["text"]]
            for name, rows in splits.items()
        }
        if len(silent["train"]) == len(splits["train"]):
            raise DataError(f"`train` must have answers in column `{label}`, but has none: check the column")
        for name, numbers in silent.items():
            if numbers and not silent["train"]:
                raise DataError(
                    f"questions without an answer must be in `train` too, but {len(numbers)} are in `{name}` alone, "
                    f"such as row {numbers[0]}: take them out, or add some to `train`"
                )
        examples = {}
        for name, rows in splits.items():
            spans = [
                [(at, at + len(text)) for text, at in zip(each["text"], each["answer_start"], strict=True)]
                for each in (row[label] for row in rows)
            ]
            texts = tuple((readable(row[question]), readable(row[context])) for row in rows)
            examples[name] = Examples(texts, targets_of([second for _, second in texts], spans))
        return cls(bool(silent["train"])), examples

    @property
    def answer(self) -> AnswerSpan:
        return AnswerSpan(EVEN if self.unanswerable else None, self.quality)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of beginning and end over all words of a context that were read, the mean over texts that show
        the answer; logits (B, 1 + W, 2), targets (B, columns), of which the first reference counts."""
        wanted = targets[:, 1:3].long()
        read = logits.any(dim=-1)
        read[:, 0] = self.unanswerable
        scores = torch.where(read.unsqueeze(-1), logits.float(), NEVER)
        known = (wanted < scores.shape[1]) & read.gather(1, wanted.clamp_max(scores.shape[1] - 1))
        lost = F.cross_entropy(scores, wanted.clamp_max(scores.shape[1] - 1), reduction="none")
        return (lost * known).sum() / known.sum().clamp_min(1)

    def correct(self, logits: Array, targets: Array) -> Array:
        """F1 of each text, or 1 for an exact match; 1 where there is no answer and none is given."""
        return self.answer.scored(targets, self.answer.chosen(logits))

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        """The other of the two."""
        chosen = self.answer.chosen(logits)
        if self.quality == EXACT_MATCH:
            return {F1: float(f1_of(targets, chosen).mean())}
        return {EXACT_MATCH: float(exact_of(targets, chosen).mean())}


def are_questions(row: Json, columns: Mapping[str, str]) -> bool:
    """Whether a row's columns can only be meant as a question with its answers in a context."""
    found = row.get(QuestionAnswering.columns_in(row, columns)["label"])
    return isinstance(found, Mapping) and "answer_start" in found


def _answers_refusal(answers: Any, context: str, column: str) -> str:
    if not isinstance(answers, Mapping) or not {"text", "answer_start"} <= answers.keys():
        return "must be an object with the lists `text` and `answer_start`"
    texts, starts = answers["text"], answers["answer_start"]
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        return "must have as many places in the list `answer_start` as there are texts in the list `text`"
    if not all(isinstance(each, str) and each.strip() for each in texts):
        return "must have answers that are texts and not empty"
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in starts):
        return "must have whole numbers in `answer_start`"
    for text, start in zip(texts, starts, strict=True):
        if start >= 0 and context[start : start + len(text)] == text:
            continue
        at = context.find(text)
        if at < 0:
            return f"must have answers that stand in `{column}`, but {shortened(text)} does not"
        return f"must have {shortened(text)} at its place in `{column}`, such as {at}, not {start}"
    return ""
