from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import Ready

from eicompress.encoder.config import LayerConfig
from eicompress.errors import MeasureError
from eicompress.metrics import memory
from eicompress.metrics.memory import measure_memory
from eicompress.testing import tiny_artifact, tiny_candidate
from eicompress.values import Artifact

TEXTS = ("play the song", "is it going to rain")


@pytest.fixture(autouse=True)
def brief_measurements_of_memory() -> Iterator[None]:
    """None here: each process is new, as those that users start."""
    memory._empty_bytes.cache_clear()
    yield
    memory._empty_bytes.cache_clear()


@pytest.mark.parametrize("brief", [False, True])
def test_more_weights_take_more_memory(
    tmp_path: Path, brief: bool, monkeypatch: pytest.MonkeyPatch, ready: Ready
) -> None:
    if brief:
        monkeypatch.setattr(memory, "subprocess", ready)
    small = measure_memory(tiny_artifact(tmp_path / "small"), TEXTS)
    wide = tiny_artifact(tmp_path / "wide", tiny_candidate(layers=(LayerConfig(heads=4, head_size=6, ffn=50_000),) * 3))
    large = measure_memory(wide, TEXTS)
    # A fork meets pages of libraries that its parent had read, and counts them too.
    assert small < (40 if brief else 20)
    assert large - small > 0.5 * wide.size_mb


def test_an_artifact_that_cannot_be_loaded_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"must be measured in a process of its own.*must be a folder"):
        measure_memory(Artifact(tmp_path / "none"), TEXTS)
