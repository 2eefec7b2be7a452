"""The claims of every task, built-in or from a plug-in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eicompress.answers import Answer, from_json
from eicompress.contracts import Array, Candidate, Examples, Task
from eicompress.encoder.heads import answer_with_states, answer_words
from eicompress.encoder.tokens import tokenize
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.measures import Subject
from eicompress.tasks import judged_by
from eicompress.testing.claims import Claim, hold, random_state_kept, with_missed
from eicompress.testing.tiny import MUSIC, WEATHER, tiny_candidate, tiny_encoder
from eicompress.values import Json

_ROWS: Sequence[Json] = [
    {"text": text, "text_pair": "what is it", "label": label}
    for texts, label in ((MUSIC, "music"), (WEATHER, "weather"))
    for text in texts
]


_NUMBERS: Sequence[Json] = [{**row, "label": len(row["text"]) + 0.5} for row in _ROWS]


def task_checks(
    task: type[Task], *, rows: Sequence[Json] | None = None, skip: Mapping[str, str] | None = None
) -> list[Claim]:
    """The claims of a task. `rows` are what it reads, where texts with a word or a number as `label` do not suit it."""
    suited = task.example or (_NUMBERS if task.refusal("music") else _ROWS)
    checked = _Checked(task, suited if rows is None else rows)
    claims = [Claim(task.name, text, getattr(checked, name)) for name, text in _CLAIMS.items()]
    return with_missed(claims, skip or {})


_CLAIMS: Mapping[str, str] = {
    "reads_rows": "reads rows as examples",
    "reads_named_columns": "reads columns of other names",
    "says_what_it_answers": "says what its models answer",
    "says_whether_it_reads_pairs": "says whether it reads pairs",
    "has_a_loss": "has a loss that can be minimised",
    "scores_examples": "scores each example from 0 to 1",
    "answers_from_a_file": "answers from a file as its model does",
    "keeps_random_state": "leaves the global random state alone",
}


@dataclass(frozen=True)
class _Checked:
    task: type[Task]
    rows: Sequence[Json]

    def reads_rows(self, folder: Path) -> None:
        _, examples = self._read()
        got = len(examples.texts), len(examples.targets)
        each = len(examples) // len(self.rows)
        held = each > 0 and got == (each * len(self.rows),) * 2
        hold(held, f"{len(self.rows)} rows must give as many texts and targets, or as many for each, but gave {got}")
        again = self._read()[1]
        same = again.texts == examples.texts and np.array_equal(again.targets, examples.targets)
        hold(same, "the same rows must give the same examples, but did not")

    def reads_named_columns(self, folder: Path) -> None:
        columns = {role: f"my {role}" for role in self._roles}
        rows = [{columns.get(name, name): value for name, value in row.items()} for row in self.rows]
        examples = self.task.read({"train": rows}, columns)[1]["train"]
        hold(examples.texts == self._read()[1].texts, "`columns` must name where each role is read, but was not heeded")

    def says_whether_it_reads_pairs(self, folder: Path) -> None:
        task, examples = self._read()
        pairs = any(isinstance(text, tuple) for text in examples.texts)
        hold(task.pairs == pairs, f"`pairs` must be {pairs}, as its examples are, but is {task.pairs}")

    def says_what_it_answers(self, folder: Path) -> None:
        answer = self._read()[0].answer
        known = isinstance(answer, Answer)
        hold(known, f"`answer` must be a kind of `eicompress.answers`, but is {answer!r}")
        names = answer.names
        hold(
            bool(names) and len(set(names)) == len(names) and all(isinstance(each, str) for each in names),
            f"`answer` must have names that are different strings, one an output, but has {names!r}",
        )
        hold(from_json(answer.to_json()) == answer, "`answer` must be the same after it was written and read")

    def has_a_loss(self, folder: Path) -> None:
        task, examples = self._read()
        logits = torch.from_numpy(self._logits(task, examples)).requires_grad_()
        loss = task.loss(logits, torch.from_numpy(examples.targets))
        hold(loss.ndim == 0 and bool(loss.isfinite()), f"a loss must be one finite number, but is {loss}")
        (gradient,) = torch.autograd.grad(loss, [logits])
        smaller = task.loss(logits - 0.01 * gradient, torch.from_numpy(examples.targets))
        hold(bool(smaller < loss), "a step against the loss's gradient must make it smaller, but did not")

    def scores_examples(self, folder: Path) -> None:
        task, examples = self._read()
        logits = self._logits(task, examples)
        for quality in self.task.qualities or (task.quality,):
            self._scores(judged_by(task, quality), examples, logits)

    def _scores(self, task: Task, examples: Examples, logits: Array) -> None:
        correct, score = task.correct(logits, examples.targets), task.score(logits, examples.targets)
        hold(correct.shape == (len(examples),), f"`correct` must be one number an example, but is {correct.shape}")
        inside = all(0 <= each <= 1 for each in (*correct.tolist(), score))
        hold(inside, f"quality must be from 0 to 1, but is {correct.tolist()}, and {score} of all")
        averaged = bool(np.isclose(correct.mean(), score))
        hold(
            averaged or not task.averaged, f"with `averaged`, the quality must be the mean of `correct`, but is {score}"
        )

    def answers_from_a_file(self, folder: Path) -> None:
        task, examples = self._read()
        candidate = self._candidate(task)
        artifact = artifacts.write(candidate, task.answer, folder / "artifact", pairs=task.pairs, manifest={})
        subject = Subject(artifact, task, examples)
        model = subject.model
        hold(model.pairs == task.pairs, f"a file must keep `pairs`, {task.pairs}, but has {model.pairs}")
        check_parity(candidate, examples.texts, task.answer.standard(subject.raw), task.answer)
        got = len(model.predict(examples.texts))
        hold(got == len(examples), f"each of {len(examples)} texts must have an answer, but {got} have")

    def keeps_random_state(self, folder: Path) -> None:
        with random_state_kept():
            self._read()

    def _read(self) -> tuple[Task, Examples]:
        task, splits = self.task.read({"train": self.rows}, {role: role for role in self._roles})
        return task.sized(tiny_encoder().config.hidden), splits["train"]

    @property
    def _roles(self) -> tuple[str, ...]:
        """What is read of rows: of optional ones those that the task's own example has."""
        own = self.task.example[0] if self.task.example else {}
        return (*self.task.columns, *(role for role in self.task.may_have if role in own))

    def _logits(self, task: Task, examples: Examples) -> Array:
        """What a tiny model answers."""
        candidate = self._candidate(task)
        tokens = tokenize(candidate.tokenizer, examples.texts, reads=task.answer.reads)
        batch = tokens.batch(np.arange(len(examples)), 0, "cpu")
        with torch.no_grad():
            logits: Array = batch.logits(candidate.model).numpy()
        return logits

    def _candidate(self, task: Task) -> Candidate:
        """A tiny model with the outputs of a task."""
        candidate = tiny_candidate(outputs=task.answer.outputs)
        if task.answer.per_word:
            answer_words(candidate.encoder, task.answer.word_outputs)
        if task.answer.unit:
            answer_with_states(candidate.encoder)
        return candidate
