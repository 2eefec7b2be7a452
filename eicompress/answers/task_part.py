"""One of several tasks of a model: what it answers, and where its logits stand among those of all tasks."""

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar, cast

from eicompress.answers.intent_and_slots import IntentAndSlots
from eicompress.answers.kind import Answer, Array
from eicompress.answers.label import Labels
from eicompress.answers.label_set import LabelSet
from eicompress.answers.number import Number
from eicompress.answers.tag import Tags

OneTask: TypeAlias = Labels | LabelSet | Number | Tags | IntentAndSlots
"""What one of several tasks may answer: it has a score, and reads a text, or a pair of texts, at once."""
Values = TypeVar("Values")
"""An array of numpy, or a tensor of torch."""


@dataclass(frozen=True)
class Part:
    """One of the tasks."""

    name: str
    answer: OneTask
    pairs: bool
    """Whether it reads pairs of texts."""
    weight: float = field(default=1.0, compare=False)
    """What its losses are multiplied by in a training; no part of what an artifact answers."""

    @property
    def output(self) -> str:
        """The name of its output in an ONNX file."""
        return f"{self.name}_logits"

    @property
    def columns(self) -> int | slice:
        """Where its targets stand among the own ones."""
        if self.answer.per_word:
            return slice(None)
        return slice(self.answer.outputs) if isinstance(self.answer, LabelSet) else 0

    @property
    def is_number(self) -> bool:
        """Whether its targets are numbers, and not those of labels."""
        return isinstance(self.answer, Number)

    def with_answer(self, answer: Answer) -> "Part":
        """The same with its answer as that was tuned."""
        return replace(self, answer=cast(OneTask, answer))

    def text(self, value: float) -> str:
        """A value of its quality, for people."""
        return f"{value:.1%}" if self.answer.quality_is_share else f"{value:.3f}"


@dataclass(frozen=True)
class Place:
    """Where the logits of one task stand among those of all."""

    own: slice
    """Its outputs."""
    slots: int | slice
    """Where texts have several rows of logits, which of them: the text's, or those of its words."""

    def of(self, logits: Values) -> Values:
        """Logits of all tasks (n, outputs), or of texts and words (n, 1 + W, outputs) -> those of the task, as one
        alone has them: (n, own outputs), or of words (n, W, own outputs)."""
        return self.rows(cast(Values, cast(Any, logits)[..., self.own]))

    def rows(self, values: Values) -> Values:
        """Values (n, width) or (n, 1 + W, width) -> those that the task's head reads, (n, width) or (n, W, width)."""
        found = cast(Any, values)
        return cast(Values, found if found.ndim == 2 else found[:, self.slots])


@dataclass(frozen=True)
class OwnRows:
    """The texts of one task among those of all."""

    part: Part
    place: Place
    rows: Array
    """(m,) places of its texts."""
    targets: Array
    """(m, ...) in the form of the task's own kind of answer."""
    taught: float
    """The quality of its teacher."""

    def of(self, logits: Array) -> Array:
        """The task's logits of its texts, from those of all tasks and texts."""
        found: Array = self.place.of(logits)[self.rows]
        return found
