"""The plug-in package to copy, `plugins/template`, written out under a name of one's own."""

import importlib.util
import re
from collections.abc import Collection
from pathlib import Path

from eicompress.errors import SpecError

FILES = ("README.md", "my_strategy.py", "pyproject.toml", "space.toml", "test_my_strategy.py")
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def template_folder() -> Path:
    """Where the template lies: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "plugin_template"
    return installed if installed.is_dir() else package.parent / "plugins" / "template"


def write_package(name: str, into: Path, taken: Collection[str]) -> Path:
    """A new folder with a plug-in package whose strategy is called `name`. Raises `SpecError`.

    `taken` are the names of strategies that are provided already.
    """
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        raise SpecError(f"a plug-in's name must be lower-case words, as in `weak-neurons`, but got `{name}`")
    if module in taken or importlib.util.find_spec(module) is not None:
        raise SpecError(f"a plug-in's name must be a new one, but `{module}` is known already: choose another")
    folder = into / name
    if folder.exists():
        raise SpecError(f"`{folder}` must be a new folder, but exists: choose another name, or remove it")
    texts = {each: (template_folder() / each).read_text(encoding="utf-8") for each in FILES}
    folder.mkdir(parents=True)
    for each, text in texts.items():
        (folder / _renamed(each, module)).write_text(_renamed(text, module), encoding="utf-8")
    return folder


def _renamed(text: str, module: str) -> str:
    words = module.split("_")
    spellings = {
        "my_strategy": module,
        "my-strategy": "-".join(words),
        "MyStrategy": "".join(word.capitalize() for word in words),
    }
    for old, new in spellings.items():
        text = text.replace(old, new)
    return text
