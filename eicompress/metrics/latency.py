"""The latency of an artifact for one text on a device, at batch 1, warmed up.

A candidate is timed in turns with the baseline's float file, since only their ratio can be compared between machines.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from filelock import FileLock

from eicompress.deployment import Device, Times
from eicompress.errors import EicompressError, MeasureError
from eicompress.measures import Metric, Subject
from eicompress.values import Artifact, Direction, Json, Measurement, Record

LATENCY, LATENCY_P95 = "latency_ms", "latency_p95_ms"
LATENCY_RATIO = "latency_ratio"
"""Share of the reference's time, both measured in turns: what "times faster" is said from."""

LATENCY_P50, LATENCY_LAYERS = "latency_p50_ms", "latency_layers"
"""Of artifacts whose time depends on the text."""
MOST_TEXTS = 300
WHOLE_DEPTH = "whole_depth"
"""The condition that no text exited, so that a model with off-ramps took as long as it can."""

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


@dataclass(frozen=True)
class TextLatency:
    """Milliseconds of real texts, for an artifact whose time depends on the text."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    ratio: float | None
    """Share of the reference's mean."""
    layers: float | None
    """Layers that a text runs through, on average; None where every text runs through all."""
    conditions: Json

    def measurements(self) -> tuple[Measurement, ...]:
        """`latency_ms`, which budgets speak of, is the mean here; then `latency_p50_ms`, `latency_p95_ms`,
        `latency_layers`, and `latency_ratio` where there is a reference."""
        mean = {**self.conditions, "statistic": "mean"}
        p50, p95 = ({**self.conditions, "percentile": each} for each in (50, 95))
        found = [
            Measurement(LATENCY, self.mean_ms, "ms", mean),
            Measurement(LATENCY_P50, self.p50_ms, "ms", p50),
            Measurement(LATENCY_P95, self.p95_ms, "ms", p95),
        ]
        if self.layers is not None:
            found.append(Measurement(LATENCY_LAYERS, self.layers, "layers", mean))
        if self.ratio is not None:
            found.append(Measurement(LATENCY_RATIO, self.ratio, "", mean))
        return tuple(found)


class LatencyMetric(Metric):
    """On one thread of a device: p50 of a text at the 95th percentile of the texts' tokens; of an artifact whose time
    depends on the text the mean of the texts themselves."""

    name: ClassVar[str] = LATENCY
    unit: ClassVar[str] = "ms"
    direction: ClassVar[Direction] = "minimize"
    label: ClassVar[str] = "latency"
    preview: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        # Imported late: reading a study needs the names of metrics, and no runtime.
        from eicompress.metrics.this_machine import ThisMachine

        given, device = subject.conditions, subject.conditions.device or ThisMachine()
        if subject.model.depends_on_text and given.seq_len is None:
            return measure_text_latency(device, subject).measurements()
        return measure_latency(
            device,
            subject.artifact,
            given.reference,
            subject.length,
            threads=given.threads,
            seconds=given.seconds,
            quiet=given.quiet,
        ).measurements()


def of_exits(record: Record) -> str:
    """What a record's latency is that of where the model has early exits, for people: ` (mean of 300 texts)`,
    ` (all layers)`, or nothing."""
    known = next((each.conditions for each in record.measurements if each.name == LATENCY), {})
    return f" (mean of {known['texts']} texts)" if "texts" in known else " (all layers)" if WHOLE_DEPTH in known else ""


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

    An artifact with early exits runs through all of its layers.
    `length` is the number of tokens, or as many as both have positions for. The device's lock is held meanwhile, and
    `quiet` is entered where it is a local one. Raises `MeasureError`, and `ModelError` where a config cannot be read.
    """
    from eicompress import runtime
    from eicompress.metrics.this_machine import ThisMachine

    for each in (artifact, reference):
        length = min(length, runtime.positions(each) or length) if each is not None else length
    with ExitStack() as stack:
        run, beside = (
            each if each is None or isinstance(device, ThisMachine) else stack.enter_context(_without_exits(each))
            for each in (artifact, reference)
        )
        assert run is not None
        stack.enter_context(FileLock(lock_of(device)))
        stack.enter_context(quiet() if device.local else nullcontext())
        times, described = _taken(device, lambda: device.time(run, beside, length, threads=threads, seconds=seconds))
    conditions = {
        "device": device.name,
        "threads": threads,
        "batch": 1,
        "sequence_length": length,
        "runs": len(times.artifact_ms),
        **({WHOLE_DEPTH: True} if runtime.has_exits(artifact) else {}),
        **described,
    }
    p50, p95 = (float(each) for each in np.percentile(times.artifact_ms, (50, 95)))
    return Latency(p50, p95, float(np.median(times.reference_ms)) if len(times.reference_ms) else None, conditions)


@contextmanager
def _without_exits(artifact: Artifact) -> Iterator[Artifact]:
    """The artifact; one with early exits as a copy that no text exits from, for devices that know of no exits."""
    from eicompress import runtime

    if not runtime.has_exits(artifact):
        yield artifact
        return
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        copied = Artifact(Path(folder) / artifact.folder.name)
        shutil.copytree(artifact.folder, copied.folder)
        model = onnx.load(copied.onnx)
        threshold = next(each for each in model.graph.initializer if each.name == runtime.EXIT_THRESHOLD)
        threshold.raw_data = runtime.WHOLE_DEPTH[runtime.EXIT_THRESHOLD].tobytes()
        copied.onnx.write_bytes(model.SerializeToString(deterministic=True))
        yield copied


def measure_text_latency(device: Device, subject: Subject) -> TextLatency:
    """As `measure_latency`, on the texts of the examples, evenly drawn where there are more than 300."""
    known, every = subject.conditions, subject.examples.texts
    texts = [every[row] for row in np.unique(np.linspace(0, len(every) - 1, MOST_TEXTS).astype(int))]
    with FileLock(lock_of(device)), known.quiet() if device.local else nullcontext():
        times, described = _taken(
            device,
            lambda: device.time_texts(
                subject.artifact, known.reference, texts, threads=known.threads, seconds=known.seconds
            ),
        )
    conditions = {
        "device": device.name,
        "threads": known.threads,
        "batch": 1,
        "texts": len(texts),
        "split": subject.split,
        "runs": len(times.artifact_ms),
        **described,
    }
    mean = float(np.mean(times.artifact_ms))
    p50, p95 = (float(each) for each in np.percentile(times.artifact_ms, (50, 95)))
    ratio = mean / float(np.mean(times.reference_ms)) if len(times.reference_ms) else None
    model = subject.model
    layers = float(model.layers(texts).mean()) if model.exits is not None else None
    return TextLatency(mean, p50, p95, ratio, layers, conditions)


def _taken(device: Device, take: Callable[[], Times]) -> tuple[Times, Json]:
    """The device's times and its description. Raises `MeasureError` with its name."""
    described = describe(device)
    try:
        times = _checked(take())
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
