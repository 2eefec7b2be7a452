"""The recipe in a file: TOML with `[[steps]]`, as `show STUDY --trial N` prints it, or JSON."""

from pathlib import Path

from eicompress.errors import SpecError
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.spec import read_toml
from eicompress.values import parsed_json


def read_recipe(path: Path, registry: Registry) -> Recipe:
    """The recipe in a TOML file of `[[steps]]`, or in a JSON file. Raises `SpecError`."""
    if path.suffix == ".json":
        try:
            value = parsed_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SpecError(f"`{path}` must be a JSON file, but cannot be read: {error}") from error
        steps = value.get("steps", value.get("recipe")) if isinstance(value, dict) else value
    else:
        steps = read_toml(path).get("steps")
    if not isinstance(steps, list) or not steps:
        raise SpecError(f"`{path}` must have `[[steps]]`, each with a `strategy`, but has none")
    try:
        return registry.recipe(steps)
    except SpecError as error:
        raise SpecError(f"in `{path}`: {error}") from error
