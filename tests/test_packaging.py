"""The package as installed, and as a wheel, has what a user needs."""

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata, resources
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(path.name for path in (ROOT / "search_spaces").glob("*.toml"))
LIST_SPACES = """
from importlib.resources import files
names = [each.name for each in files("eicompress.search_spaces").iterdir()]
print(*sorted(name for name in names if name.endswith(".toml")))
"""


def test_search_spaces_are_found_in_this_installation() -> None:
    found = sorted(each.name for each in resources.files("eicompress.search_spaces").iterdir())
    assert [name for name in found if name.endswith(".toml")] == SHIPPED
    assert "edge.toml" in SHIPPED


def test_every_package_is_listed_for_the_wheel() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]["packages"]
    folders = [path.parent.relative_to(ROOT) for path in (ROOT / "eicompress").rglob("__init__.py")]
    brought = {"eicompress.plugin_template", "eicompress.search_spaces"}
    assert set(listed) == {".".join(folder.parts) for folder in folders} | brought


def test_every_direct_dependency_has_a_tested_version() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {each.replace("==", ">=").split(">=")[0].split("[")[0] for each in wanted} <= names


def test_the_tested_versions_are_public_releases() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(pin.count("==") == 1 and "+" not in pin and "/" not in pin for pin in pins)


def test_the_command_is_installed() -> None:
    scripts = {entry.name: entry.value for entry in metadata.entry_points(group="console_scripts")}
    assert scripts["eicompress"] == "eicompress.cli:main"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy, so that the build leaves nothing in the working tree.
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = {".git", ".venv", ".ci", "studies", "build"}
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT)
        if path.is_file() and not ignored.intersection(inside.parts) and "__pycache__" not in inside.parts:
            (source / inside).parent.mkdir(parents=True, exist_ok=True)
            (source / inside).write_bytes(path.read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_search_spaces_are_found_in_a_wheel(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = next((tmp_path / "venv").glob("*/python"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    run = subprocess.run([python, "-c", LIST_SPACES], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert run.stdout.split() == SHIPPED


@pytest.mark.slow
def test_a_wheel_has_the_types_and_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "eicompress/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_plug_in_template_is_found_in_a_wheel(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(tmp_path / "site"), str(wheel)], check=True)
    code = (
        "from eicompress import cli; from eicompress.testing.template import template_folder; "
        "assert template_folder().name == 'plugin_template'; "
        "raise SystemExit(cli.run(['plugins', 'new', 'weak-neurons']) or "
        "cli.run(['plugins', 'new', 'tar-ball', '--kind', 'target']) or "
        "cli.run(['plugins', 'new', 'my-labels', '--kind', 'task']) or "
        "cli.run(['plugins', 'new', 'my-count', '--kind', 'metric']) or "
        "cli.run(['plugins', 'new', 'my-phone', '--kind', 'device']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    written = {path.name for path in (tmp_path / "weak-neurons").iterdir()}
    assert {"pyproject.toml", "README.md", "weak_neurons.py", "test_weak_neurons.py"} <= written
    assert (tmp_path / "tar-ball" / "tar_ball.py").is_file()
    assert (tmp_path / "my-phone" / "my_phone_runner.py").is_file()
