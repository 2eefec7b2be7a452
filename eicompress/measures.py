"""What a metric is, and what it is handed: an artifact, examples, and the conditions it is measured under."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from eicompress.contracts import Array, Examples, Task
from eicompress.deployment import Device
from eicompress.errors import PluginError
from eicompress.values import Artifact, Direction, Measurement, Quantity

if TYPE_CHECKING:
    from eicompress.runtime import Model


@dataclass(frozen=True)
class Conditions:
    """Under what a metric is measured; a measurement names those that its number depends on."""

    threads: int = 1
    seq_len: int | None = None
    """Tokens of the text that is run; None for as many as are usual."""
    seconds: float = 2.0
    """About how long what is timed is run over and over: shorter in previews, of which there are many."""
    reference: Artifact | None = None
    """What is timed in turns with the artifact, since only their ratio can be compared between machines."""
    device: Device | None = None
    """Where the artifact is timed; None for this machine."""
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext
    """Entered by metrics that are `alone` while they run the artifact, so that nothing else of ours runs."""


@dataclass(frozen=True)
class Subject:
    """An artifact, and the examples that it is measured on. What several metrics need of it is computed once."""

    artifact: Artifact
    task: Task
    examples: Examples
    split: str = "validation"
    """Which examples these are."""
    conditions: Conditions = field(default_factory=Conditions)

    @cached_property
    def model(self) -> "Model":
        """The artifact, loaded. Raises `ModelError`."""
        from eicompress import runtime

        return runtime.load(self.artifact.folder, threads=self.conditions.threads)

    @cached_property
    def logits(self) -> Array:
        """(n, outputs) of the examples, at batch 1, in the task's own units."""
        return self.task.answer.standard(self.model.logits(self.examples.texts))

    @cached_property
    def length(self) -> int:
        """Tokens of the text that is run: as asked for, or as many as 95 % of the examples do not exceed."""
        from eicompress.runtime import usual_length

        length = self.conditions.seq_len or usual_length(self.model.tokenizer, self.examples.texts)
        return min(length, self.model.positions or length)


class Metric(ABC):
    """A named number measured on an artifact. A limit and an objective may name it."""

    name: ClassVar[str]
    unit: ClassVar[str]
    direction: ClassVar[Direction]
    label: ClassVar[str] = ""
    """What people call it, without the unit; its name where it is empty."""
    preview: ClassVar[bool] = False
    """True if training changes it little: previews measure it, and what misses a limit is never trained."""
    promoted: ClassVar[bool] = False
    """True if it is measured of what is handed out alone, unless a limit or the objective names it."""
    alone: ClassVar[bool] = False
    """True if nothing else may run meanwhile. The coordinator then measures it, in previews and of what is handed out;
    a trained candidate keeps its preview's number. It takes `preview` too."""

    @abstractmethod
    def measure(self, subject: Subject) -> Iterable[Measurement]:
        """The metric's own number, under its name, and others that come with it.

        Raises `MeasureError` where it cannot be taken: the trial tells why, and the search goes on.
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
    """Raise `PluginError` unless a metric says what it is."""
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
