"""The contract of a metric, with its arguments: an artifact, examples, and the conditions of the measurement."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from eicompress.answers import Answer
from eicompress.contracts import Array, Examples, Task
from eicompress.deployment import Device
from eicompress.errors import PluginError
from eicompress.values import Artifact, Direction, Measurement, Quantity, Text

if TYPE_CHECKING:
    from eicompress.runtime import Model


@dataclass(frozen=True)
class Conditions:
    """The conditions of a measurement; each `Measurement` lists those that its number depends on."""

    threads: int = 1
    seq_len: int | None = None
    """Tokens of the text that is run; None for the 95th percentile of the examples."""
    seconds: float = 2.0
    """Approximate seconds of a timing; shorter in previews, of which there are many."""
    reference: Artifact | None = None
    """The artifact that is timed in turns with this one, since only the ratio can be compared between machines."""
    device: Device | None = None
    """Where the artifact is timed; None for this machine."""
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext
    """A context that metrics with `alone` enter while they run the artifact: it pauses the workers."""


@dataclass(frozen=True)
class Subject:
    """An artifact, and the examples that it is measured on. Values that several metrics need are computed once."""

    artifact: Artifact
    task: Task
    examples: Examples
    split: str = "validation"
    """Which examples these are."""
    conditions: Conditions = field(default_factory=Conditions)
    known: Array | None = None
    """`raw`, where it was computed before."""
    tasks: tuple[str, ...] = ()
    """Of an artifact of several tasks those that the examples are of; empty for all, or where there is one."""

    @cached_property
    def model(self) -> "Model":
        """The artifact, loaded. Raises `ModelError`."""
        from eicompress import runtime

        found = runtime.load(self.artifact.folder, threads=self.conditions.threads)
        return found.of_tasks(self.tasks) if self.tasks else found

    @cached_property
    def logits(self) -> Array:
        """(n, outputs) of the examples, at batch 1, in the task's own units, with a threshold at zero."""
        return self.answer.decided(self.answer.standard(self.raw))

    @cached_property
    def raw(self) -> Array:
        """The same as the artifact gives them."""
        return self.model.logits(self.examples.texts) if self.known is None else self.known

    @cached_property
    def outside(self) -> Array | None:
        """The same of texts that have no answer; None where there are none."""
        texts = self.examples.outside
        return self.answer.decided(self.answer.standard(self.model.logits(texts))) if texts else None

    @cached_property
    def answer(self) -> Answer:
        """The task's answer, with what was chosen for this artifact."""
        return self.task.answer.like(self.model.answer)

    def beside(self) -> Mapping[str, float]:
        """Other qualities than the task's own, by name."""
        targets, outside = self.examples.targets, self.outside
        found = {} if outside is None else self.answer.of_outside(self.logits, targets, outside)
        return {**self.task.beside(self.logits, targets), **found}

    @cached_property
    def length(self) -> int:
        """Tokens of the text that is run: as asked for, or as many as 95 % of the examples do not exceed."""
        length = self.conditions.seq_len or _usual_length(self.model.tokenizer.to_str(), self.examples.texts)
        return min(length, self.model.positions or length)


@lru_cache(maxsize=8)
def _usual_length(tokenizer: str, texts: tuple[Text, ...]) -> int:
    """Remembered, since most candidates of a search read the same texts with the same tokenizer."""
    from tokenizers import Tokenizer

    from eicompress.runtime import usual_length

    return usual_length(Tokenizer.from_str(tokenizer), texts)


class Metric(ABC):
    """A named number measured on an artifact. A limit and an objective may name it."""

    name: ClassVar[str]
    unit: ClassVar[str]
    direction: ClassVar[Direction]
    label: ClassVar[str] = ""
    """Its name in tables and figures, without the unit; `name` if empty."""
    preview: ClassVar[bool] = False
    """True if training changes it little: previews measure it, and a candidate over a limit is never trained."""
    promoted: ClassVar[bool] = False
    """True if it is measured on the result of a search only, unless a limit or the objective names it."""
    alone: ClassVar[bool] = False
    """True if nothing else may run during the measurement. The coordinator then measures it, in previews and on the
    result; a trained candidate keeps the number of its preview. It requires `preview`."""

    @abstractmethod
    def measure(self, subject: Subject) -> Iterable[Measurement]:
        """The metric's own number, under its name, and related measurements.

        Raises `MeasureError` if it cannot be measured: the reason is in the record, and the search continues.
        """

    @classmethod
    def measurement(cls, value: float, **conditions: Any) -> Measurement:
        """The metric's own number, with the conditions that it depends on."""
        return Measurement(cls.name, value, cls.unit, conditions)

    @classmethod
    def quantity(cls) -> Quantity:
        return Quantity(cls.name, cls.unit, cls.direction, cls.label or cls.name, cls.preview)


def quantities(metrics: Mapping[str, type[Metric]]) -> dict[str, Quantity]:
    """What each metric's number is, by name."""
    return {name: metric.quantity() for name, metric in metrics.items()}


def check_metric(metric: type[Metric]) -> None:
    """Raise `PluginError` unless the metric has a name, a unit and a direction."""
    if not isinstance(getattr(metric, "unit", None), str):
        raise PluginError(f"the metric `{metric.name}` must have a class attribute `unit`: a string, empty for none")
    if getattr(metric, "direction", None) not in get_args(Direction):
        raise PluginError(
            f"the metric `{metric.name}` must have a `direction`: one of {', '.join(get_args(Direction))}"
        )
    if metric.alone and not metric.preview:
        raise PluginError(
            f"the metric `{metric.name}` must be measured in previews if nothing else may run meanwhile: set `preview`"
        )
    if set("=:,") & set(metric.name):
        raise PluginError(
            f"the metric's name `{metric.name}` must have none of `=`, `:` and `,`: a limit is NAME=VALUE"
        )
