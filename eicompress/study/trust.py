"""Whether what a study's file names may be used: a plug-in, which is code, and a database, which is connected to.

The `study.toml` of a folder from elsewhere names what its author liked. Its plug-in and its database are used where the
user named the same for any study on this machine before, or says so with `--trust`. A plug-in is the same by its
bytes, a database by its URL; what was named is remembered in the cache.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from eicompress.cache import default_folder, disk_errors, sha256_of
from eicompress.declaration import flag
from eicompress.errors import StudyError
from eicompress.spec import STUDY_FILE, Spec
from eicompress.values import digest_of

PLUGIN, STORAGE = "plugin", "storage"


def check_trusted(spec: Spec, given: Mapping[str, object], names: Iterable[str] = (PLUGIN, STORAGE)) -> None:
    """Raise `StudyError` where a spec has a plug-in or a database of its study's file that nobody named here.

    `given` is what the user wrote, which is trusted, and remembered.
    """
    for name in names:
        value = str(spec.settings.get(name) or "")
        mark = _mark(name, value)
        if mark is None:
            continue
        if given.get(name) or spec.settings.get("trust"):
            with disk_errors(mark.parent):
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
        elif not mark.is_file():
            does = "runs the code of" if name == PLUGIN else "connects to"
            raise StudyError(
                f"what `{spec.folder / STUDY_FILE}` names must have been named by you before, on this machine, but it "
                f"{does} `{value}`: look at it, and give `--trust` or `{flag(name)}` if you trust who wrote it"
            )


def _mark(name: str, value: str) -> Path | None:
    """The file that is there once something was named; None where there is nothing to use."""
    if not value or (name == PLUGIN and not Path(value).is_file()):
        return None
    same = sha256_of(Path(value)) if name == PLUGIN else value
    return default_folder() / "trusted" / digest_of([name, same])
