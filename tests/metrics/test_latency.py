import multiprocessing
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from filelock import FileLock

from eicompress import runtime
from eicompress.encoder.config import LayerConfig
from eicompress.export.folder import write
from eicompress.metrics.latency import LatencyMetric, measure_latency, usual_length
from eicompress.values import Text
from tests.conftest import tiny_candidate, tiny_examples, tiny_task, tiny_tokenizer

SMALL = {"layers": (), "positions": 200}
LARGE = {"layers": (LayerConfig(4, 6, 512),) * 6, "positions": 200}


def load(folder: Path, shapes: dict[str, object], threads: int = 1) -> runtime.Model:
    artifact = write(tiny_candidate(**shapes), ("a", "b"), folder, pairs=False, manifest={})
    return runtime.load(artifact.folder, threads=threads)


def test_a_larger_model_takes_longer(tmp_path: Path) -> None:
    small, large = load(tmp_path / "small", SMALL), load(tmp_path / "large", LARGE)
    latency = measure_latency(small, large, 128, seconds=0.2)
    assert 0 < latency.p50_ms <= latency.p95_ms
    assert latency.reference_p50_ms is not None
    assert latency.ratio is not None
    assert latency.ratio == latency.p50_ms / latency.reference_p50_ms < 1


def test_the_conditions_are_recorded(tmp_path: Path) -> None:
    model = load(tmp_path / "a", SMALL, threads=2)
    p50, p95, ratio = measure_latency(model, model, 64, seconds=0.05).measurements()
    assert (p50.name, p50.unit, p50.conditions["percentile"]) == ("latency_ms", "ms", 50)
    assert (p95.name, p95.unit, p95.conditions["percentile"]) == ("latency_p95_ms", "ms", 95)
    assert ratio.name == "latency_ratio"
    assert p50.conditions["threads"] == 2
    assert p50.conditions["batch"] == 1
    assert p50.conditions["sequence_length"] == 64
    assert p50.conditions["runtime"].startswith("onnxruntime ")
    assert p50.conditions["machine"]


def test_without_a_reference_there_is_no_ratio(tmp_path: Path) -> None:
    latency = measure_latency(load(tmp_path / "a", SMALL), None, 16, seconds=0.05)
    assert latency.ratio is None
    assert [each.name for each in latency.measurements()] == ["latency_ms", "latency_p95_ms"]


def test_a_length_beyond_the_positions_is_cut_and_recorded_so(tmp_path: Path) -> None:
    short = load(tmp_path / "short", {**SMALL, "positions": 10})
    latency = measure_latency(load(tmp_path / "long", SMALL), short, 64, seconds=0.05)
    assert latency.conditions["sequence_length"] == 10


@pytest.mark.parametrize(
    ("texts", "expected"), [(["it"] * 10, 16), (["it " * 17] * 10, 19), (["it"] * 99 + ["it " * 17], 16)]
)
def test_the_usual_length_covers_95_percent_of_the_texts_and_is_16_at_least(texts: list[Text], expected: int) -> None:
    assert usual_length(tiny_tokenizer(), texts) == expected


def test_the_metric_is_the_median_at_the_usual_length(tmp_path: Path) -> None:
    artifact = write(tiny_candidate(), ("a", "b"), tmp_path / "a", pairs=False, manifest={})
    assert 0 < LatencyMetric().measure(artifact, tiny_task(), tiny_examples()) < 1000


def hold(lock: Path, held: Event, seconds: float) -> None:
    with FileLock(lock):
        held.set()
        time.sleep(seconds)


def test_two_processes_do_not_time_at_once(tmp_path: Path) -> None:
    model, lock = load(tmp_path / "a", SMALL), tmp_path / "lock"
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    other = spawn.Process(target=hold, args=(lock, held, 0.5))
    other.start()
    assert held.wait(60)
    start = time.perf_counter()
    measure_latency(model, None, 16, seconds=0.01, lock=lock)
    assert time.perf_counter() - start > 0.3
    other.join()
