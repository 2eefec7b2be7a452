"""The plug-in packages to copy, in `plugins/template`, written out under a name of one's own."""

import importlib.util
import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from eicompress.errors import SpecError, nearest
from eicompress.manifest import check_outside
from eicompress.plugins import Registry

FILES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "strategy": ("README.md", "my_strategy.py", "pyproject.toml", "space.toml", "test_my_strategy.py"),
        "task": ("README.md", "my_task.py", "pyproject.toml", "test_my_task.py"),
        "metric": ("README.md", "my_metric.py", "pyproject.toml", "test_my_metric.py"),
        "target": ("README.md", "my_target.py", "pyproject.toml", "test_my_target.py"),
        "device": ("README.md", "my_device.py", "my_device_runner.py", "pyproject.toml", "test_my_device.py"),
    }
)
"""The files of each package, by what it provides."""
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def template_folder(kind: str = "strategy") -> Path:
    """Where a template lies: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "plugin_template"
    folder = installed if installed.is_dir() else package.parent / "plugins" / "template"
    return folder if kind == "strategy" else folder / kind


def write_package(name: str, into: Path, registry: Registry, kind: str = "strategy") -> Path:
    """A new folder with a plug-in package that provides one plug-in of this kind, called `name`.

    Raises `SpecError` where the registry, or Python, knows the name already.
    """
    if kind not in FILES:
        raise SpecError(f"`--kind` must be one of {', '.join(FILES)}, but got `{kind}`: {nearest(kind, FILES)}")
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        raise SpecError(f"a plug-in's name must be lower-case words, as in `weak-neurons`, but got `{name}`")
    if keyword.iskeyword(module):
        raise SpecError(f"a plug-in's name must not be a word of Python itself, but got `{name}`: choose another")
    known = {known for _, known in registry.sources}
    if module in known or importlib.util.find_spec(module) is not None:
        raise SpecError(f"a plug-in's name must be a new one, but `{module}` is known already: choose another")
    folder = into / name
    check_outside(folder, "--into")
    if folder.exists():
        raise SpecError(f"`{folder}` must be a new folder, but exists: choose another name, or remove it")
    texts = {each: (template_folder(kind) / each).read_text(encoding="utf-8") for each in FILES[kind]}
    folder.mkdir(parents=True)
    for each, text in texts.items():
        (folder / _renamed(each, kind, module)).write_text(_renamed(text, kind, module), encoding="utf-8")
    return folder


def _renamed(text: str, kind: str, module: str) -> str:
    words = module.split("_")
    spellings = {
        f"my_{kind}": module,
        f"my-{kind}": "-".join(words),
        f"My{kind.capitalize()}": "".join(word.capitalize() for word in words),
        f"MY_{kind.upper()}": module.upper(),
    }
    for old, new in spellings.items():
        text = text.replace(old, new)
    return text
