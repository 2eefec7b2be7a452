"""The four hooks of a plug-in, one sentence each."""

import pluggy

from eicompress.contracts import Metric, Strategy, Task
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
def trial_recorded(record: Record) -> None:
    """Look at a trial's record, after it was written."""
