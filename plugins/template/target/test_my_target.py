import tarfile
from pathlib import Path

import pytest
from my_target import MyTarget

import eicompress
from eicompress.plugins import discover
from eicompress.testing import Claim, target_checks, tiny_artifact


@pytest.mark.parametrize("claim", target_checks(MyTarget), ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def test_it_is_found() -> None:
    assert discover().target("my_target") is MyTarget


def test_what_is_unpacked_predicts_the_same(tmp_path: Path) -> None:
    artifact, texts = tiny_artifact(tmp_path / "mine"), ["play a song", "will it rain"]
    package = eicompress.pack(artifact.folder, to="my_target")
    with tarfile.open(package.path) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    found = eicompress.load(tmp_path / "unpacked").predict(texts)
    assert found == eicompress.load(artifact.folder).predict(texts)
