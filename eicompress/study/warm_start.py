"""Recipes to try first: the best of another study, or files in a folder. Recipes alone travel, never their numbers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eicompress.errors import SpecError
from eicompress.study.ranking import ranked
from eicompress.study.result import Result
from eicompress.study.space import SearchSpace
from eicompress.values import Json, digest_of

BEST = 5
"""Recipes that are taken from a study."""

Named = tuple[str, tuple[Json, ...]]


def best_recipes(result: Result) -> list[Named]:
    """The best recipes of a study, each with its name."""
    found: dict[str, Named] = {}
    tiers = (result.promoted, result.compared, result.records)
    for number, record in (each for tier in tiers for each in ranked(tier, result.objective)):
        found.setdefault(digest_of(record.recipe), (f"trial {number} of `{result.folder.name}`", record.recipe))
    return list(found.values())[:BEST]


def recipe_files(folder: Path) -> list[Path]:
    """The recipes in a folder, or the one that is named. Raises `SpecError` where there is none."""
    found = [folder] if folder.is_file() else sorted([*folder.glob("*.toml"), *folder.glob("*.json")])
    if not found:
        raise SpecError(f"`--from` must name a study, or a folder of recipes, but there is none in `{folder}`")
    return found


def as_parameters(space: SearchSpace, recipes: Iterable[Named]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The trial parameters that draw the recipes, and notes on those that the space does not contain."""
    found: list[Mapping[str, Any]] = []
    left_out: list[str] = []
    for name, steps in recipes:
        try:
            found.append(space.parameters(steps))
        except SpecError as error:
            left_out.append(f"{name} is left out, since the search space does not hold it: {error}")
    return found, left_out
