"""A plug-in package that is written from the template works untouched."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from eicompress import cli, testing
from eicompress.errors import SpecError
from eicompress.plugins import discover
from eicompress.testing.template import FILES, template_folder, write_package

SEARCH = """
import sys
from eicompress import cli
found = cli.run(["plugins", "list"]) or cli.run([
    "search", "--model", "model", "--data", "data", "--budget", "1MB", "--trials", "3", "--study", "mine",
    "--space", "weak-neurons/space.toml",
])
sys.exit(found or cli.run(["show", "mine", "--trial", "0"]))
"""

REGISTRY = discover(only="")


def enter_as_installed(package: Path, site: Path) -> None:
    """What an editable installation leaves of a package: its metadata, and its folder on the path."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    # Before the version, a dash ends the name of a distribution.
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {value}" for name, value in project["entry-points"]["eicompress"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[eicompress]", *lines]))


def run(arguments: list[str], folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "EICOMPRESS_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("kind", FILES)
def test_a_template_has_the_files_that_are_written(kind: str) -> None:
    there = {path.name for path in template_folder(kind).iterdir() if path.is_file()}
    assert there == set(FILES[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_written_package_is_found_and_passes_its_checks(kind: str, tmp_path: Path) -> None:
    package = write_package("weak-neurons", tmp_path, REGISTRY, kind)
    assert "my" not in {word for path in package.iterdir() for word in path.stem.split("_")}
    enter_as_installed(package, tmp_path / "site")
    ended = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"], package, tmp_path / "site", package)
    assert ended.returncode == 0, ended.stdout
    assert "0 failed" not in ended.stdout and "passed" in ended.stdout


@pytest.mark.slow
def test_a_written_package_installs_and_is_searched_with_built_ins(tmp_path: Path) -> None:
    package = write_package("weak-neurons", tmp_path, REGISTRY)
    testing.write_tiny_model(tmp_path / "model")
    testing.write_tiny_data(tmp_path / "data")
    site = tmp_path / "site"
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), str(package)]
    installed = run(pip, tmp_path)
    assert installed.returncode == 0, installed.stderr
    ended = run(["-c", SEARCH], tmp_path, site)
    assert ended.returncode == 0, ended.stderr
    assert "weak-neurons 0.1.0" in ended.stdout
    assert 'strategy = "weak_neurons"' in ended.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Weak Neurons", "must be lower-case words"),
        ("../weak", "must be lower-case words"),
        ("distillation", "`distillation` is known already"),
        ("zip", "`zip` is known already"),
        ("json", "`json` is known already"),
        ("class", "must not be a word of Python itself, but got `class`"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said):
        write_package(name, tmp_path, REGISTRY)
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    said = "must be one of strategy, task, metric, target, device, but got `devise`: did you mean `dev"
    with pytest.raises(SpecError, match=said):
        write_package("weak-neurons", tmp_path, REGISTRY, "devise")


def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["plugins", "new", "weak-neurons"]) == 0
    assert "next: cd weak-neurons" in capsys.readouterr().out
    assert cli.run(["plugins", "new", "weak-neurons"]) == 2
    assert "must be a new folder" in capsys.readouterr().err
