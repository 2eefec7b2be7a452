"""The latency of an artifact for one text on a device, at batch 1, warmed up.

A candidate is timed in turns with the baseline's float file, since only their ratio can be compared between machines.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from filelock import FileLock

from eicompress.deployment import Device, Times
from eicompress.errors import EicompressError, MeasureError
from eicompress.measures import Metric, Subject
from eicompress.values import Artifact, Direction, Json, Measurement

LATENCY, LATENCY_P95 = "latency_ms", "latency_p95_ms"
LATENCY_RATIO = "latency_ratio"
"""Share of the reference's time, both measured in turns: what "times faster" is said from."""

QUICK_SECONDS = 0.3
"""For previews, of which there are many."""
CAREFUL_SECONDS = 2.0
"""For what is kept."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one text, and for the same text on the reference."""

    p50_ms: float
    p95_ms: float
    reference_p50_ms: float | None
    conditions: Json

    @property
    def ratio(self) -> float | None:
        """Share of the reference's time."""
        return None if self.reference_p50_ms is None else self.p50_ms / self.reference_p50_ms

    def measurements(self) -> tuple[Measurement, ...]:
        """`latency_ms`, which budgets speak of, `latency_p95_ms`, and `latency_ratio` where there is a reference."""
        p50, p95 = ({**self.conditions, "percentile": each} for each in (50, 95))
        found = [
            Measurement(LATENCY, self.p50_ms, "ms", p50),
            Measurement(LATENCY_P95, self.p95_ms, "ms", p95),
        ]
        if self.ratio is not None:
            found.append(Measurement(LATENCY_RATIO, self.ratio, "", p50))
        return tuple(found)


class LatencyMetric(Metric):
    """p50 on one thread of a device, at the 95th percentile of the texts' tokens."""

    name: ClassVar[str] = LATENCY
    unit: ClassVar[str] = "ms"
    direction: ClassVar[Direction] = "minimize"
    label: ClassVar[str] = "latency"
    preview: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        # Imported late: reading a study needs the names of metrics, and no runtime.
        from eicompress.metrics.this_machine import ThisMachine

        given = subject.conditions
        return measure_latency(
            given.device or ThisMachine(),
            subject.artifact,
            given.reference,
            subject.length,
            threads=given.threads,
            seconds=given.seconds,
            quiet=given.quiet,
        ).measurements()


def measure_latency(
    device: Device,
    artifact: Artifact,
    reference: Artifact | None,
    length: int,
    *,
    threads: int,
    seconds: float,
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Latency:
    """Time an artifact in turns with a reference for about `seconds` seconds, while nobody else times on that device.

    `length` is the number of tokens, or as many as both have positions for. The device's lock is held meanwhile, and
    `quiet` is entered where it is a local one. Raises `MeasureError`, and `ModelError` where a config cannot be read.
    """
    from eicompress import runtime

    for each in (artifact, reference):
        length = min(length, runtime.positions(each) or length) if each is not None else length
    with FileLock(lock_of(device)), quiet() if device.local else nullcontext():
        times, described = _taken(device, artifact, reference, length, threads, seconds)
    conditions = {
        "device": device.name,
        "threads": threads,
        "batch": 1,
        "sequence_length": length,
        "runs": len(times.artifact_ms),
        **described,
    }
    p50, p95 = (float(each) for each in np.percentile(times.artifact_ms, (50, 95)))
    return Latency(p50, p95, float(np.median(times.reference_ms)) if len(times.reference_ms) else None, conditions)


def _taken(
    device: Device, artifact: Artifact, reference: Artifact | None, length: int, threads: int, seconds: float
) -> tuple[Times, Json]:
    """The device's times and its description. Raises `MeasureError` with its name."""
    described = describe(device)
    try:
        times = _checked(device.time(artifact, reference, length, threads=threads, seconds=seconds))
    except EicompressError as error:
        raise MeasureError(f"the device `{device.name}` timed nothing: {error}") from error
    except (Exception, SystemExit) as error:
        raise MeasureError(f"the device `{device.name}` timed nothing: {type(error).__name__}: {error}") from error
    return times, described


def describe(device: Device) -> dict[str, str]:
    """What a device says that its times depend on. Raises `MeasureError` with its name."""
    try:
        return dict(device.describe())
    except (Exception, SystemExit) as error:
        raise MeasureError(f"the device `{device.name}` does not describe itself: {error}") from error


def _checked(times: Times) -> Times:
    if not (isinstance(times, Times) and len(times.artifact_ms)):
        raise MeasureError(f"it must return `Times` with the milliseconds of each run, but got {times!r}")
    for each in (*times.artifact_ms, *times.reference_ms):
        if not (math.isfinite(each) and each > 0):
            raise MeasureError(f"each run must take milliseconds above 0, but got {each!r}")
    return times


def lock_of(device: Device) -> Path:
    """One file for all processes of the user on this machine; local devices share one."""
    name = "" if device.local else f"-{device.name}"
    return Path(tempfile.gettempdir()) / f"eicompress-{os.getuid()}{name}.lock"
