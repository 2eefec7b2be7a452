"""The code part of cache keys: a digest of the code that decides a result, and of no other code.

A change to the command line, the search or a report leaves what was trained where it is.
"""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from eicompress.values import digest_of

MAKING = (
    "answers",
    "contracts",
    "data",
    "encoder",
    "export",
    "recipe",
    "runtime",
    "strategies",
    "tasks",
    "training",
    "trials",
    "values",
)
"""The parts of eicompress that decide what an artifact is."""
MEASURING = ("deployment", "measures", "metrics")
"""Those that decide, beside them, what is measured on it."""


def own_code(parts: tuple[str, ...]) -> str:
    """The digest of these parts of eicompress."""
    return digest_of([code_version(f"eicompress.{part}") for part in parts])


@lru_cache
def code_version(package: str) -> str:
    """The digest of the source files of a package, or of a single module."""
    digest = hashlib.sha256()
    for path in _sources(package):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sources(package: str) -> tuple[Path, ...]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ()
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        return (origin,)
    return tuple(sorted(origin.parent.rglob("*.py")))
