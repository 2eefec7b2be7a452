"""How long an artifact takes for one text on a device, at batch 1, warmed up.

A candidate is timed in turns with the baseline's float file, since only their ratio can be compared between machines.
"""

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from filelock import FileLock
from tokenizers import Tokenizer

from eicompress import runtime
from eicompress.contracts import Device, Examples, Metric, Task, Times
from eicompress.errors import EicompressError, MeasureError
from eicompress.metrics.this_machine import ThisMachine
from eicompress.values import Artifact, Json, Measurement, Text

QUICK_SECONDS = 0.3
"""For previews, of which there are many."""
CAREFUL_SECONDS = 2.0
"""For what is kept."""
SHORTEST = 16
"""The least sequence length that latency is measured at, unless another is asked for."""


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
            Measurement("latency_ms", self.p50_ms, "ms", p50),
            Measurement("latency_p95_ms", self.p95_ms, "ms", p95),
        ]
        if self.ratio is not None:
            found.append(Measurement("latency_ratio", self.ratio, "", p50))
        return tuple(found)


class LatencyMetric(Metric):
    """p50 on one thread of this machine, at the 95th percentile of the texts' tokens."""

    name: ClassVar[str] = "latency_ms"
    unit: ClassVar[str] = "ms"
    direction: ClassVar[Literal["minimize", "maximize"]] = "minimize"

    def measure(self, artifact: Artifact, task: Task, examples: Examples) -> float:
        length = usual_length(runtime.tokenizer(artifact), examples.texts)
        return measure_latency(ThisMachine(), artifact, None, length, threads=1, seconds=CAREFUL_SECONDS).p50_ms


def usual_length(tokenizer: Tokenizer, texts: Sequence[Text]) -> int:
    """Tokens that 95 % of the texts do not exceed under this tokenizer, and 16 at least."""
    lengths = [len(each.ids) for each in tokenizer.encode_batch_fast(list(texts))]
    return max(SHORTEST, int(np.ceil(np.percentile(lengths, 95))))


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
    """Time an artifact in turns with a reference for about so many seconds, while nobody else times on that device.

    `length` is the number of tokens, or as many as both have positions for. The device's lock is held meanwhile, and
    `quiet` is entered where it is a local one. Raises `MeasureError`, and `ModelError` where a config cannot be read.
    """
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
    """What the device has timed, and what it says of itself. Raises `MeasureError` with its name."""
    described = describe(device)
    try:
        times = _checked(device.time(artifact, reference, length, threads=threads, seconds=seconds))
    except EicompressError as error:
        raise MeasureError(f"the device `{device.name}` timed nothing: {error}") from error
    except Exception as error:
        raise MeasureError(f"the device `{device.name}` timed nothing: {type(error).__name__}: {error}") from error
    return times, described


def describe(device: Device) -> dict[str, str]:
    """What a device says that its times depend on. Raises `MeasureError` with its name."""
    try:
        return dict(device.describe())
    except Exception as error:
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
