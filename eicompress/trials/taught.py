"""Teachers that a search for a teacher has made, as folders that every command takes."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from safetensors import SafetensorError

from eicompress.answers import Answer, from_json
from eicompress.contracts import Candidate
from eicompress.errors import ModelError
from eicompress.trials import candidate as candidates
from eicompress.values import parsed_json

Pooling: TypeAlias = Literal["mean", "first", "none"]
DESCRIPTION = "teacher.json"
"""The file by which a folder is known as one that `teach` wrote."""


@dataclass(frozen=True)
class Attempt:
    """One way to train a teacher, and what came of it on rows that it did not learn from."""

    pooling: Pooling
    penalty: float = 0.0
    learning_rate: float = 0.0
    """At which all weights were trained; 0 for a linear model on the frozen states."""
    epochs: float = 0.0
    quality: float = 0.0
    loss: float = 0.0
    """With the scaled logits."""
    scale: float = 1.0
    """What the logits are multiplied by."""
    seconds: float = 0.0
    head: str = "linear classifier"
    """What the linear model on the frozen states is called."""
    words: bool = False
    """Whether the heads of some tasks read the states of words, beside those that read pooled ones."""

    @property
    def what(self) -> str:
        states = {"mean": "mean states", "first": "first token's state", "none": "states of words"}[self.pooling]
        states += " and states of words" if self.words else ""
        if not self.learning_rate:
            return f"{self.head} on the {states}, penalty {self.penalty:g}"
        return f"all weights, {states}, rate {self.learning_rate:g}, {self.epochs:.3g} epochs"


@dataclass(frozen=True)
class Taught:
    """Teachers of one task that differ in their seeds, and how they were found."""

    members: tuple[Candidate, ...]
    answer: Answer
    chosen: Attempt
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Into an existing folder: a candidate for each member, and `teacher.json`."""
        for number, member in enumerate(self.members):
            (folder / f"member-{number}").mkdir()
            candidates.save(member, folder / f"member-{number}")
        described = {
            "answer": self.answer.to_json(),
            "members": len(self.members),
            "chosen": asdict(self.chosen),
            "attempts": [asdict(each) for each in self.attempts],
            "notes": self.notes,
        }
        (folder / DESCRIPTION).write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")


def is_taught(folder: Path) -> bool:
    """Whether `teach` wrote the folder."""
    return (folder / DESCRIPTION).is_file()


def read_description(folder: Path) -> Taught:
    """How the teachers in a folder were found, without the teachers. Raises `ModelError`."""
    try:
        described = parsed_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        attempts = tuple(Attempt(**each) for each in described["attempts"])
        answer, notes = from_json(described["answer"]), tuple(map(str, described["notes"]))
        return Taught((), answer, Attempt(**described["chosen"]), attempts, notes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(_not_taught(folder, error)) from error


def read_taught(folder: Path) -> Taught:
    """The teachers that `Taught.write` wrote. Raises `ModelError`."""
    described = read_description(folder)
    try:
        count = parsed_json((folder / DESCRIPTION).read_text(encoding="utf-8"))["members"]
        members = tuple(candidates.load(folder / f"member-{number}") for number in range(count))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(_not_taught(folder, error)) from error
    if not members or any(each.model.config.outputs != described.answer.outputs for each in members):  # type: ignore[union-attr]
        raise ModelError(_not_taught(folder, f"it has {len(members)} members for {described.answer.outputs} outputs"))
    return replace(described, members=members)


def _not_taught(folder: Path, why: object) -> str:
    return f"`{folder}` must be a teacher as `eicompress teach` wrote it, but is damaged: {why}. Train it again."


def digest(folder: Path) -> str:
    """SHA-256 of what makes up the members: how they were found changes nothing."""
    sums = hashlib.sha256()
    for path in sorted(folder.glob("member-*/*")):
        sums.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            sums.update(hashlib.file_digest(file, "sha256").digest())
    return sums.hexdigest()


def poolings_of(folder: Path) -> tuple[Pooling, ...]:
    """How a model's states are to be pooled: as a sentence-transformers folder says, or both ways.

    Raises `ModelError`.
    """
    path = folder / "1_Pooling" / "config.json"
    try:
        said = parsed_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ModelError(f"`{path}` must be JSON, but is not: {error}. Write the model again.") from error
    if not isinstance(said, dict):
        raise ModelError(f"`{path}` must be a JSON object, but is a {type(said).__name__}. Write the model again.")
    modes = {"mean": said.get("pooling_mode_mean_tokens"), "first": said.get("pooling_mode_cls_token")}
    modes |= {{"mean": "mean", "cls": "first"}.get(str(said.get("pooling_mode")), ""): True}
    named: tuple[Pooling, ...] = tuple(each for each in ("mean", "first") if modes.get(each))
    return named if len(named) == 1 else ("mean", "first")
