from pathlib import Path

import pytest
from my_device import MyDevice

import eicompress
from eicompress.plugins import discover
from eicompress.testing import Claim, device_checks, tiny_artifact


@pytest.mark.parametrize("claim", device_checks(MyDevice), ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def test_it_is_found() -> None:
    assert discover().device("my_device") is MyDevice


def test_a_machine_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_DEVICE", "false")
    artifact = tiny_artifact(tmp_path / "mine")
    with pytest.raises(eicompress.MeasureError, match="`my_device` timed nothing: `false` must print milliseconds"):
        eicompress.measure(artifact.folder, device="my_device")
