import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import eicompress

PLAIN: dict[str, dict[str, object]] = {
    "search": {"model": "none", "data": "none", "budget": "1MB"},
    "plan": {"model": "none", "data": "none", "budget": "1MB"},
    "compress": {"model": "none", "data": "none", "recipe": "none.toml", "output": "out"},
    "prepare": {"model": "none", "data": "none", "recipe": "none.toml", "output": "out"},
    "teach": {"model": "none", "data": "none", "output": "out"},
    "replay": {"study": "none", "trial": 1, "output": "out"},
    "pick": {"study": "none", "output": "out", "budget": "1MB"},
    "ablate": {"model": "none", "data": "none", "recipe": "none.toml"},
    "measure": {"artifact": "none"},
    "compare": {"artifacts": ["none", "other"], "data": "none"},
    "load": {"artifact": "none"},
    "pack": {"artifact": "none", "output": "out", "to": "zip"},
    "report": {"study": "none"},
    "show": {"study": "none"},
}
"""Arguments of every public function, of things that are not there."""
WRONG = (5, float("nan"), b"x", ["a", 3], {"a": 1}, object(), "", "\0", "a" * 5_000)
HEAVY = ("torch", "transformers", "onnxruntime", "optuna")


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh process has loaded after some code."""
    tail = f"\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", eicompress.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(eicompress, name) is not None


def test_public_functions_stay_functions_when_all_rooms_are_imported() -> None:
    for module in pkgutil.iter_modules(eicompress.__path__):
        importlib.import_module(f"eicompress.{module.name}")
    names = ("ablate", "compare", "compress", "load", "measure", "pack", "pick", "plan", "prepare", "replay")
    names += ("report", "search", "show", "teach")
    for name in names:
        assert callable(getattr(eicompress, name)), f"a room is called {name} like a public function"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute `serach`"):
        eicompress.serach  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import eicompress",
        "import eicompress.cli; eicompress.cli.run(['--help'])",
        "import eicompress.cli; eicompress.cli.run(['search', '--help'])",
    ],
)
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    assert loaded_by(code) == set()


def test_loading_an_artifact_loads_no_torch() -> None:
    code = "import eicompress\ntry:\n    eicompress.load('no-such-folder')\nexcept eicompress.ModelError:\n    pass"
    assert loaded_by(code) == {"onnxruntime"}


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_given_in_place_of_a_path_or_a_name_is_an_error_of_ours(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for argument in PLAIN[name]:
        for value in WRONG:
            with pytest.raises(eicompress.EicompressError):
                getattr(eicompress, name)(**{**PLAIN[name], argument: value})
    assert not list(tmp_path.iterdir())
