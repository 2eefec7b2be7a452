import zipfile
from pathlib import Path

import pytest

import eicompress
from eicompress import cli
from eicompress.errors import ExportError, ModelError
from eicompress.export import folder as artifacts
from eicompress.values import Artifact
from tests.conftest import tiny_candidate


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return artifacts.write(tiny_candidate(), ("music", "weather"), tmp_path / "mine", pairs=False, manifest={})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_zip_holds_the_folder_and_nothing_else(artifact: Artifact) -> None:
    path = eicompress.pack(artifact.folder, to="zip")
    assert path == artifact.folder.with_name("mine.zip")
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents(artifact.folder)
    first = path.read_bytes()
    assert eicompress.pack(artifact.folder).read_bytes() == first


def test_a_folder_for_the_hub_has_the_card_and_predicts(artifact: Artifact, tmp_path: Path) -> None:
    folder = eicompress.pack(artifact.folder, to="hf", output=tmp_path / "hub")
    found = contents(folder)
    assert found.pop("README.md").startswith(b"---\n# license: choose one")
    assert found == contents(artifact.folder)
    assert eicompress.load(folder).predict(["play a song"])[0].label in ("music", "weather")
    with pytest.raises(ExportError, match="must not be there yet"):
        eicompress.pack(artifact.folder, to="hf", output=tmp_path / "hub")


def test_a_damaged_artifact_is_not_handed_on(artifact: Artifact) -> None:
    with artifact.onnx.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelError, match="is damaged"):
        eicompress.pack(artifact.folder)
    assert not artifact.folder.with_name("mine.zip").exists()


def test_the_command_prints_what_it_wrote(artifact: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", str(artifact.folder)]) == 0
    assert capsys.readouterr().out.startswith(str(artifact.folder.with_name("mine.zip")))
    assert cli.run(["export", str(artifact.folder), "--to", "tar"]) == 2
    assert "one of zip, hf" in capsys.readouterr().err
