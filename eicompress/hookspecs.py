"""The six hooks of a plug-in, one sentence each."""

import pluggy

from eicompress.contracts import Strategy, Task
from eicompress.deployment import Device, Target
from eicompress.measures import Metric
from eicompress.values import Record

PROJECT = "eicompress"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_strategies() -> list[type[Strategy]]:  # type: ignore[empty-body]
    """Return the strategy classes that this plug-in provides."""


@hookspec
def register_tasks() -> list[type[Task]]:  # type: ignore[empty-body]
    """Return the task classes that this plug-in provides."""


@hookspec
def register_metrics() -> list[type[Metric]]:  # type: ignore[empty-body]
    """Return the metric classes that this plug-in provides."""


@hookspec
def register_targets() -> list[type[Target]]:  # type: ignore[empty-body]
    """Return the target classes that this plug-in provides."""


@hookspec
def register_devices() -> list[type[Device]]:  # type: ignore[empty-body]
    """Return the device classes that this plug-in provides."""


@hookspec
def trial_recorded(record: Record) -> None:
    """Called with each trial's record, after it was written."""
