"""Shared by several functions: open a study's spec, its plug-ins, a recipe or a builder."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from eicompress.cache import drop_drafts_of, unwritable
from eicompress.declaration import checked, declared, flag
from eicompress.errors import SpecError, StudyError
from eicompress.manifest import check_outside
from eicompress.parsing import path
from eicompress.settings import PluginSettings, StudiesFolder
from eicompress.spec import Spec
from eicompress.values import Progress, counted

TRIAL = re.compile(r"(?P<study>.+):(?P<number>[0-9]{1,10})")
"""How the artifact of a trial is named."""

if TYPE_CHECKING:
    from eicompress.plugins import Registry
    from eicompress.recipe import Recipe
    from eicompress.trials.builder import Builder


def known(study: str, given: Mapping[str, object], *, builds: bool = False) -> Spec:
    """What a study in the folder that is given was asked for, with the plug-ins that are.

    Raises `SpecError`, and `StudyError` where the study's database, or its plug-in where something is built, is not
    to be trusted.
    """
    from eicompress.study.plan import known_spec
    from eicompress.study.trust import PLUGIN, STORAGE, check_trusted

    plugins = {name: value for name, value in given.items() if name in declared(PluginSettings)}
    spec = Spec({**known_spec(study, str(given["studies"])).settings, **checked(PluginSettings, plugins)})
    spec = Spec({**spec.settings, "trust": bool(given.get("trust"))})
    check_trusted(spec, given, [STORAGE, *([PLUGIN] if builds else [])])
    return spec


def registry_of(spec: Spec) -> "Registry":
    from eicompress.plugins import discover

    return discover(spec.plugin, spec.settings.get("only_plugins"))


def recipe_of(recipe: "str | Path | Recipe", registry: "Registry") -> "Recipe":
    """The recipe, read from its file where a file is named."""
    from eicompress.recipe import Recipe
    from eicompress.study.recipe_file import read_recipe

    if isinstance(recipe, Recipe):
        return recipe
    return read_recipe(Path(path(recipe, "--recipe")), registry)


def artifact_at(artifact: str | Path) -> Path:
    """The folder of an artifact: its path, or `STUDY:7` for that of trial 7. Raises `SpecError` and `StudyError`."""
    folder, named = Path(path(artifact, "artifact")), TRIAL.fullmatch(str(artifact))
    if named is None or folder.exists():
        return folder
    from eicompress.study.kept_artifacts import artifact_of, rebuilding
    from eicompress.study.plan import found_so_far

    study, number = Path(named["study"]), int(named["number"])
    study = study if study.is_dir() else Path(checked(StudiesFolder, {})["studies"]) / study
    result = found_so_far(known(study.name, {"studies": study.parent}))
    record = result.promoted.get(number) or result.records.get(number)
    if record is None:
        raise SpecError(
            f"`{artifact}` must name a trial of the study, but it has {counted(len(result.records), 'trial')}: "
            f"`eicompress show {study.name} --studies {quote(str(study.parent))}` shows them"
        )
    made = artifact_of(record, study)
    if made is None:
        raise StudyError(
            f"`{artifact}` must be a trial whose artifact is still there, but it is not: build it again with "
            f"`{rebuilding(study, number)}`"
        )
    return made.folder


def check_new(output: str | Path) -> None:
    """Raise `SpecError` where something is there already, where nothing can be written, or where it would be written
    inside an artifact.

    What a killed command had begun to write there is removed.
    """
    if not path(output, "--output"):
        raise SpecError("`--output` must be a new name, but is empty: choose one, or leave it out")
    place = Path(os.path.abspath(output))
    if os.path.lexists(place):
        raise SpecError(f"`--output` must be a new name, but `{output}` exists: choose another, or remove it")
    if refused := unwritable(place):
        raise SpecError(f"`--output` must be in a folder to write to, but {refused}: choose another")
    check_outside(output, "--output")
    drop_drafts_of(place)


def check_left_out(given: Mapping[str, object], where: str, but: Iterable[str]) -> None:
    """Raise `SpecError` for a setting that is given where a study's own counts, unless it is one of `but`."""
    known = set(but)
    for name, value in given.items():
        if value is not None and name not in known:
            raise SpecError(f"`{flag(name)}` must not be given with {where}, which has its own: leave it out")


def builder_of(
    spec: Spec, registry: "Registry", on_progress: Callable[[Progress], None] | None, *, of_study: bool = False
) -> "Builder":
    """The builder for what is built outside a search; `of_study` with the teacher that the study of the spec has."""
    from eicompress.study.plan import kept_teacher
    from eicompress.trials.builder import open_builder

    head = kept_teacher(spec) if of_study else None
    return open_builder(spec, registry, folder=scratch(), head=head, progress=on_progress or nothing)


def scratch() -> Path:
    """A temporary folder for artifacts that are then copied to where the user wants them."""
    from eicompress.cache import default_folder

    return default_folder() / "single"


def nothing(_: object) -> None:
    pass
