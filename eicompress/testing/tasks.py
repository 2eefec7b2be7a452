"""What every task promises, built-in or a stranger's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eicompress.contracts import Array, Examples, Task
from eicompress.encoder.tokens import tokenize
from eicompress.testing.claims import Claim, hold, random_state_kept, with_missed
from eicompress.testing.tiny import MUSIC, WEATHER, tiny_candidate
from eicompress.values import Json

_ROWS: Sequence[Json] = [
    {"text": text, "text_pair": "what is it", "label": label}
    for texts, label in ((MUSIC, "music"), (WEATHER, "weather"))
    for text in texts
]


def task_checks(
    task: type[Task], *, rows: Sequence[Json] = _ROWS, skip: Mapping[str, str] | None = None
) -> list[Claim]:
    """The claims of a task. `rows` are what it reads, where texts with a word as `label` do not suit it."""
    checked = _Checked(task, rows)
    claims = [Claim(task.name, text, getattr(checked, name)) for name, text in _CLAIMS.items()]
    return with_missed(claims, skip or {})


_CLAIMS: Mapping[str, str] = {
    "reads_rows": "reads rows as examples",
    "reads_named_columns": "reads columns of other names",
    "names_outputs": "names its outputs",
    "has_a_loss": "has a loss that can be minimised",
    "scores_examples": "scores each example from 0 to 1",
    "keeps_random_state": "leaves the global random state alone",
}


@dataclass(frozen=True)
class _Checked:
    task: type[Task]
    rows: Sequence[Json]

    def reads_rows(self, folder: Path) -> None:
        _, examples = self._read()
        got = len(examples.texts), len(examples.targets)
        hold(got == (len(self.rows),) * 2, f"{len(self.rows)} rows must give as many texts and targets, but gave {got}")
        again = self._read()[1]
        same = again.texts == examples.texts and np.array_equal(again.targets, examples.targets)
        hold(same, "the same rows must give the same examples, but did not")

    def reads_named_columns(self, folder: Path) -> None:
        columns = {role: f"my {role}" for role in self.task.columns}
        rows = [{columns.get(name, name): value for name, value in row.items()} for row in self.rows]
        examples = self.task.read({"train": rows}, columns)[1]["train"]
        hold(examples.texts == self._read()[1].texts, "`columns` must name where each role is read, but was not heeded")

    def names_outputs(self, folder: Path) -> None:
        labels = self._read()[0].labels
        hold(
            bool(labels) and len(set(labels)) == len(labels) and all(isinstance(each, str) for each in labels),
            f"`labels` must be different strings, one an output, but is {labels!r}",
        )

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
        correct, score = task.correct(logits, examples.targets), task.score(logits, examples.targets)
        hold(correct.shape == (len(examples),), f"`correct` must be one number an example, but is {correct.shape}")
        inside = all(0 <= each <= 1 for each in (*correct.tolist(), score))
        hold(inside, f"quality must be from 0 to 1, but is {correct.tolist()}, and {score} of all")

    def keeps_random_state(self, folder: Path) -> None:
        with random_state_kept():
            self._read()

    def _read(self) -> tuple[Task, Examples]:
        task, splits = self.task.read({"train": self.rows}, {role: role for role in self.task.columns})
        return task, splits["train"]

    def _logits(self, task: Task, examples: Examples) -> Array:
        """What a tiny model answers."""
        candidate = tiny_candidate(outputs=len(task.labels))
        tokens = tokenize(candidate.tokenizer, examples.texts)
        batch = tokens.batch(np.arange(len(examples)), 0, "cpu")
        with torch.no_grad():
            logits: Array = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids).numpy()
        return logits
