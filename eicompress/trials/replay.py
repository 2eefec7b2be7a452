"""A trial built again, and whether its bytes are those of the first time."""

import json
from dataclasses import dataclass
from pathlib import Path

from eicompress.values import Artifact, Record


@dataclass(frozen=True)
class Replay:
    """A trial that was built again. `differences` is empty where its bytes are those of the first time."""

    record: Record
    differences: tuple[str, ...]


def differences(before: Record, after: Record) -> tuple[str, ...]:
    """Which files differ from the first time, and what else was different."""
    sums = [_checksums(record) for record in (before, after)]
    if not sums[0]:
        return ("the first artifact is no longer there to compare with",)
    files = [name for name in sorted({*sums[0], *sums[1]}) if sums[0].get(name) != sums[1].get(name)]
    if not files:
        return ()
    changed = [
        f"{name} was {before.versions.get(name, '-')}, and is {after.versions.get(name, '-')}"
        for name in sorted({*before.versions, *after.versions})
        if before.versions.get(name) != after.versions.get(name)
    ]
    return (*(f"`{name}` has other bytes" for name in files), *changed)


def _checksums(record: Record) -> dict[str, str]:
    manifest = Artifact(Path(record.files.get("artifact", ""))).manifest
    return dict(json.loads(manifest.read_text(encoding="utf-8"))["files"]) if manifest.is_file() else {}
