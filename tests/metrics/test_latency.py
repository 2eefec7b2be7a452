import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, ClassVar

import pytest
from filelock import FileLock

from eicompress.answers import Labels
from eicompress.deployment import Device, Times
from eicompress.encoder.config import LayerConfig
from eicompress.errors import MeasureError
from eicompress.export.folder import write
from eicompress.measures import Conditions, Subject
from eicompress.metrics.latency import Latency, LatencyMetric, lock_of, measure_latency
from eicompress.metrics.this_machine import Run, ThisMachine, _take_turns
from eicompress.runtime import usual_length
from eicompress.values import Artifact, Text
from tests.conftest import tiny_candidate, tiny_examples, tiny_task, tiny_tokenizer

SMALL = {"layers": (), "positions": 200}
LARGE = {"layers": (LayerConfig(4, 6, 512),) * 6, "positions": 200}


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that no other test waits for."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def made(folder: Path, shapes: dict[str, object]) -> Artifact:
    return write(tiny_candidate(**shapes), Labels(("a", "b")), folder, pairs=False, manifest={})


def here(
    artifact: Artifact, reference: Artifact | None, length: int, *, threads: int = 1, seconds: float = 0.05
) -> Latency:
    return measure_latency(ThisMachine(), artifact, reference, length, threads=threads, seconds=seconds)


def test_a_larger_model_takes_longer(tmp_path: Path) -> None:
    latency = here(made(tmp_path / "small", SMALL), made(tmp_path / "large", LARGE), 128, seconds=0.2)
    assert 0 < latency.p50_ms <= latency.p95_ms
    assert latency.reference_p50_ms is not None
    assert latency.ratio is not None
    assert latency.ratio == latency.p50_ms / latency.reference_p50_ms < 1


def test_the_conditions_are_recorded(tmp_path: Path) -> None:
    artifact = made(tmp_path / "a", SMALL)
    p50, p95, ratio = here(artifact, artifact, 64, threads=2).measurements()
    assert (p50.name, p50.unit, p50.conditions["percentile"]) == ("latency_ms", "ms", 50)
    assert (p95.name, p95.unit, p95.conditions["percentile"]) == ("latency_p95_ms", "ms", 95)
    assert ratio.name == "latency_ratio"
    assert p50.conditions["device"] == "this_machine"
    assert p50.conditions["threads"] == 2
    assert p50.conditions["batch"] == 1
    assert p50.conditions["sequence_length"] == 64
    assert p50.conditions["runtime"].startswith("onnxruntime ")
    assert p50.conditions["machine"]


def test_without_a_reference_there_is_no_ratio(tmp_path: Path) -> None:
    latency = here(made(tmp_path / "a", SMALL), None, 16)
    assert latency.ratio is None
    assert [each.name for each in latency.measurements()] == ["latency_ms", "latency_p95_ms"]


def test_a_length_beyond_the_positions_is_cut_and_recorded_so(tmp_path: Path) -> None:
    latency = here(made(tmp_path / "long", SMALL), made(tmp_path / "short", {**SMALL, "positions": 10}), 64)
    assert latency.conditions["sequence_length"] == 10


class Cold(Run):
    """Takes long where the other one ran last, as with caches that it has displaced."""

    ran: list["Cold"]

    def __init__(self, ran: list["Cold"]) -> None:
        self.ran = ran

    def milliseconds(self) -> float:
        warm = self.ran[-1:] == [self]
        self.ran.append(self)
        return 1.0 if warm else 100.0


def test_no_run_with_the_caches_of_the_other_is_timed() -> None:
    ran: list[Cold] = []
    times = _take_turns(Cold(ran), Cold(ran), 0.0)
    assert {*times.artifact_ms, *times.reference_ms} == {1.0}


def test_artifact_and_reference_take_turns_five_runs_to_two(tmp_path: Path) -> None:
    times = ThisMachine().time(made(tmp_path / "a", SMALL), made(tmp_path / "b", LARGE), 16, threads=1, seconds=0.05)
    assert 2 * len(times.artifact_ms) == 5 * len(times.reference_ms) >= 50


@pytest.mark.parametrize(
    ("texts", "expected"), [(["it"] * 10, 16), (["it " * 17] * 10, 19), (["it"] * 99 + ["it " * 17], 16)]
)
def test_the_usual_length_covers_95_percent_of_the_texts_and_is_16_at_least(texts: list[Text], expected: int) -> None:
    assert usual_length(tiny_tokenizer(), texts) == expected


def test_the_metric_is_the_median_at_the_usual_length(tmp_path: Path) -> None:
    artifact = write(tiny_candidate(), Labels(("a", "b")), tmp_path / "a", pairs=False, manifest={})
    subject = Subject(artifact, tiny_task(), tiny_examples(), conditions=Conditions(seconds=0.05))
    p50, *_ = LatencyMetric().measure(subject)
    assert p50.name == "latency_ms" and p50.conditions["sequence_length"] == subject.length == 16
    assert 0 < p50.value < 1000


def hold(lock: Path, held: Event, seconds: float) -> None:
    with FileLock(lock):
        held.set()
        time.sleep(seconds)


@pytest.mark.slow
def test_two_processes_do_not_time_at_once(tmp_path: Path) -> None:
    artifact, lock = made(tmp_path / "a", SMALL), lock_of(ThisMachine())
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    other = spawn.Process(target=hold, args=(lock, held, 0.5))
    other.start()
    assert held.wait(60)
    start = time.perf_counter()
    here(artifact, None, 16, seconds=0.01)
    assert time.perf_counter() - start > 0.3
    other.join()


class Phone(Device):
    """Elsewhere, and answers what it was given."""

    name: ClassVar[str] = "phone"

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def describe(self) -> Mapping[str, str]:
        return {"machine": "a phone"}

    def time(
        self, artifact: Artifact, reference: Artifact | None, length: int, *, threads: int, seconds: float
    ) -> Times:
        if isinstance(self.answer, Exception):
            raise self.answer
        found: Times = self.answer
        return found


class Browser(Phone):
    """On this machine, in another process."""

    name: ClassVar[str] = "browser"
    local: ClassVar[bool] = True


def test_the_milliseconds_are_those_of_the_device(tmp_path: Path) -> None:
    artifact, phone = made(tmp_path / "a", SMALL), Phone(Times([9.0, 8.0, 7.0], [16.0]))
    latency = measure_latency(phone, artifact, artifact, 16, threads=4, seconds=1.0)
    assert (latency.p50_ms, latency.ratio) == (8.0, 0.5)
    assert latency.conditions["device"] == "phone" and latency.conditions["machine"] == "a phone"
    assert latency.conditions["runs"] == 3 and "runtime" not in latency.conditions


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (OSError("unplugged"), "OSError: unplugged"),
        (MeasureError("it has no room"), "it has no room"),
        (PermissionError(13, "Permission denied"), "PermissionError"),
        (None, "must return `Times`"),
        (Times([]), "must return `Times` with the milliseconds of each run"),
        (Times([1.0, 0.0]), "milliseconds above 0, but got 0.0"),
        (Times([1.0], [float("nan")]), "milliseconds above 0, but got nan"),
    ],
)
def test_a_device_that_fails_says_so_in_one_message(answer: Any, said: str, tmp_path: Path) -> None:
    artifact = made(tmp_path / "a", SMALL)
    with pytest.raises(MeasureError, match=f"^the device `phone` timed nothing: .*{said}"):
        measure_latency(Phone(answer), artifact, None, 16, threads=1, seconds=1.0)


def test_work_stands_still_only_while_a_local_device_is_timed(tmp_path: Path) -> None:
    artifact, stood = made(tmp_path / "a", SMALL), []

    @contextmanager
    def quiet() -> Iterator[None]:
        stood.append(1)
        yield

    for device in (Phone(Times([1.0])), Browser(Times([1.0])), ThisMachine()):
        measure_latency(device, artifact, None, 16, threads=1, seconds=0.01, quiet=quiet)
    assert len(stood) == 2


def test_local_devices_wait_for_each_other_and_for_no_other() -> None:
    assert lock_of(Browser()) == lock_of(ThisMachine()) != lock_of(Phone())
