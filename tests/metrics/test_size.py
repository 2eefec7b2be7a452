from pathlib import Path

import pytest

from eicompress.answers import Labels
from eicompress.export.folder import write
from eicompress.measures import Metric, Subject
from eicompress.metrics.size import DownloadMetric, SizeMetric
from eicompress.values import Artifact
from tests.conftest import tiny_candidate, tiny_examples, tiny_task


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "a", pairs=False, manifest={})


def measured(metric: type[Metric], artifact: Artifact) -> float:
    (found,) = metric().measure(Subject(artifact, tiny_task(), tiny_examples()))
    assert (found.name, found.unit) == (metric.name, "MB")
    return found.value


def test_size_counts_every_file_of_the_folder_and_none_beside_it(artifact: Artifact) -> None:
    expected = sum(path.stat().st_size for path in artifact.folder.rglob("*") if path.is_file())
    assert measured(SizeMetric, artifact) == expected / 1_000_000
    (artifact.folder / "stray").write_bytes(b"x" * 1000)
    assert measured(SizeMetric, artifact) == (expected + 1000) / 1_000_000


def test_a_download_is_smaller_and_does_not_depend_on_the_hour(artifact: Artifact) -> None:
    first = measured(DownloadMetric, artifact)
    artifact.onnx.touch()
    assert 0 < first < artifact.size_mb
    assert measured(DownloadMetric, artifact) == first
