import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import ClassVar

import pytest

import eicompress
from eicompress import cli
from eicompress.answers import Labels
from eicompress.deployment import Target
from eicompress.errors import ExportError, ModelError, SpecError
from eicompress.export import folder as artifacts
from eicompress.export.package import write_package
from eicompress.values import Artifact
from tests.conftest import tiny_candidate

LINES = """
from eicompress.deployment import Target
from eicompress.hookspecs import hookimpl

class Lines(Target):
    name = "lines"
    suffix = ".txt"

    def write(self, artifact, card, output):
        output.write_text(card)

    def size_bytes(self, output):
        return 4096

@hookimpl
def register_targets():
    return [Lines]
"""


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return artifacts.write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "mine", pairs=False, manifest={})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_zip_holds_the_folder_and_nothing_else(artifact: Artifact) -> None:
    package = eicompress.pack(artifact.folder, to="zip")
    assert package.path == artifact.folder.with_name("mine.zip")
    assert package.size_bytes == package.path.stat().st_size
    with zipfile.ZipFile(package.path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents(artifact.folder)


def test_a_folder_for_the_hub_has_the_card_and_predicts(artifact: Artifact, tmp_path: Path) -> None:
    package = eicompress.pack(artifact.folder, to="hf", output=tmp_path / "hub")
    found = contents(package.path)
    assert package.size_bytes == sum(map(len, found.values()))
    assert found.pop("README.md").startswith(b"---\n# license: choose one")
    assert found == contents(artifact.folder)
    assert eicompress.load(package.path).predict(["play a song"])[0].label in ("music", "weather")


@pytest.mark.parametrize("to", ["zip", "hf"])
def test_nothing_is_overwritten(artifact: Artifact, to: str) -> None:
    package = eicompress.pack(artifact.folder, to=to)
    before = contents(artifact.folder.parent)
    with pytest.raises(ExportError, match="must not be there yet, so that nothing is overwritten"):
        eicompress.pack(artifact.folder, to=to, output=package.path)
    assert contents(artifact.folder.parent) == before


def test_nothing_is_written_inside_an_artifact(artifact: Artifact) -> None:
    other = artifact.folder.with_name("other")
    shutil.copytree(artifact.folder, other)
    before = contents(artifact.folder)
    for folder in (artifact.folder, other / "onnx" / "new"):
        with pytest.raises(SpecError, match="`--output` must not be inside an artifact, whose bytes count"):
            eicompress.pack(artifact.folder, output=folder / "mine.zip")
    assert contents(artifact.folder) == contents(other) == before


@pytest.mark.parametrize("name", ["other.bin", "onnx/model.onnx.bak"])
def test_a_foreign_file_is_not_handed_on(artifact: Artifact, name: str) -> None:
    (artifact.folder / name).write_bytes(bytes(5_000_000))
    with pytest.raises(ExportError, match=f"only the files that its manifest names, but `.*{name}` is another: move"):
        eicompress.pack(artifact.folder)
    assert not artifact.folder.with_name("mine.zip").exists()


def test_a_damaged_artifact_is_not_handed_on(artifact: Artifact) -> None:
    with artifact.onnx.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelError, match="is damaged"):
        eicompress.pack(artifact.folder)
    assert not artifact.folder.with_name("mine.zip").exists()


class Failing(Target):
    name: ClassVar[str] = "failing"
    suffix: ClassVar[str] = ".txt"

    def write(self, artifact: Artifact, card: str, output: Path) -> None:
        output.write_text("half of it")
        raise ValueError("no more ink")


class Idle(Failing):
    name: ClassVar[str] = "idle"

    def write(self, artifact: Artifact, card: str, output: Path) -> None:
        pass


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Failing(), "the target `failing` failed: ValueError: no more ink"),
        (Idle(), "the target `idle` must write the output that it is given"),
    ],
)
def test_a_target_that_fails_says_so_and_leaves_nothing(target: Target, said: str, artifact: Artifact) -> None:
    before = contents(artifact.folder.parent)
    with pytest.raises(ExportError, match=said):
        write_package(target, artifact, "", artifact.folder.with_name("mine.txt"))
    assert contents(artifact.folder.parent) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from eicompress.deployment import Target
from eicompress.export.package import write_package
from eicompress.values import Artifact

class Killed(Target):
    name, suffix = "killed", ".txt"

    def write(self, artifact, card, output):
        output.write_text("half of it")
        os.kill(os.getpid(), signal.SIGKILL)

write_package(Killed(), Artifact(Path(sys.argv[1])), "", Path(sys.argv[2]))
"""


def test_what_a_killed_process_left_is_removed_when_the_command_is_given_again(artifact: Artifact) -> None:
    before, output = contents(artifact.folder.parent), artifact.folder.with_name("mine.zip")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(artifact.folder), str(output)], check=False)
    assert killed.returncode == -signal.SIGKILL and contents(artifact.folder.parent) != before
    eicompress.pack(artifact.folder, output=output)
    assert contents(artifact.folder.parent) == {**before, output.name: output.read_bytes()}


def test_a_place_that_cannot_be_written_to_is_refused(artifact: Artifact) -> None:
    with pytest.raises(ExportError, match="must be a place to write to"):
        eicompress.pack(artifact.folder, output=artifact.manifest / "mine.zip")


def test_an_unknown_target_is_refused_with_the_nearest(artifact: Artifact) -> None:
    with pytest.raises(SpecError, match="there is no target `zpi`: did you mean `zip`"):
        eicompress.pack(artifact.folder, to="zpi")


def test_the_command_prints_what_it_wrote(artifact: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", str(artifact.folder)]) == 0
    path = artifact.folder.with_name("mine.zip")
    assert capsys.readouterr().out == f"{path}  {path.stat().st_size / 1e6:.3f} MB\n"
    assert cli.run(["export", str(artifact.folder), "--to", "tar"]) == 2
    assert "there is no target `tar`" in capsys.readouterr().err


def test_a_target_of_a_plug_in_writes_and_counts_its_bytes(
    artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines.py").write_text(LINES)
    plugin = ["--plugin", str(tmp_path / "lines.py")]
    assert cli.run(["export", str(artifact.folder), "--to", "lines", *plugin]) == 0
    path = artifact.folder.with_name("mine.txt")
    assert capsys.readouterr().out == f"{path}  0.004 MB\n"
    assert path.read_text().startswith("---")
