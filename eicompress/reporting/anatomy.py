"""Details of an artifact from its record: bytes by part, step and tensor, milliseconds by operator."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eicompress import manifest
from eicompress.metrics.size import SIZE
from eicompress.values import Artifact, ExitPoint, Record

SAME_SIZE = 0.001
"""A step that changes less than this share of the bytes changes none."""
OPERATORS = 8
"""Kinds of operators that are listed separately."""


@dataclass(frozen=True)
class Share:
    """Bytes of one part of the artifact, before and after."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class Tensor:
    """Bytes of one tensor of the artifact's graph, or of one of its other files."""

    group: str
    name: str
    size: int


@dataclass(frozen=True)
class Fall:
    """The artifact's size before and after a step of the recipe, in MB."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Operator:
    """Milliseconds that a kind of operator takes for one text."""

    name: str
    ms: float


def shares(baseline: Record | None, best: Record) -> tuple[Share, ...]:
    """Bytes by part of the artifact, the heaviest of the best first."""
    before = baseline.bytes_by_group if baseline else {}
    names = sorted({*before, *best.bytes_by_group}, key=lambda name: -best.bytes_by_group.get(name, 0))
    return tuple(Share(name, before.get(name, 0), best.bytes_by_group.get(name, 0)) for name in names)


def falls(baseline: Record | None, best: Record) -> tuple[Fall, ...]:
    """The change in bytes by each step of the best recipe, in order; steps without a change are left out.

    Sizes are of previews of the recipe's beginnings, recorded when the artifact was rebuilt; empty without them.
    """
    sizes = best.facts.get("steps", {}).get("mb", [])
    size = baseline.value(SIZE) if baseline else None
    found = []
    for step, after in zip(best.recipe, sizes, strict=False):
        if size is not None and after is not None:
            if abs(after - size) > SAME_SIZE * size:
                found.append(Fall(str(step["strategy"]).replace("_", " "), size, after))
            size = after
    return tuple(found)


def tensors(best: Record) -> tuple[Tensor, ...]:
    """Where each byte of the artifact lies: tensors as recorded at the rebuild, and the other files."""
    recorded = best.facts.get("tensors", {}).get("largest", [])
    held = {group for group, _, _ in recorded}
    files = [Tensor(name, name, size) for name, size in best.bytes_by_group.items() if name not in held]
    return (*(Tensor(*each) for each in recorded), *files) if recorded else ()


def operators(best: Record) -> tuple[Operator, ...]:
    """The slowest first, the fast ones together; empty where none was recorded."""
    recorded: Mapping[str, float] = best.facts.get("operators", {}).get("ms", {})
    slow = sorted(recorded.items(), key=lambda each: -each[1])
    found = [Operator(*each) for each in slow[:OPERATORS]]
    rest = sum(ms for _, ms in slow[OPERATORS:])
    return (*found, Operator(f"{len(slow) - OPERATORS} others", rest)) if rest else tuple(found)


def exits(best: Record) -> tuple[ExitPoint, ...]:
    """Quality against milliseconds at each threshold; empty where no text exits early."""
    return tuple(ExitPoint(**each) for each in best.facts.get("exits", {}).get("curve", ()))


def checksums(record: Record) -> dict[str, str]:
    """SHA-256 of each file of an artifact, out of its manifest; none where it has none. Raises `ModelError`."""
    artifact = Artifact(Path(record.files.get("artifact", "")))
    return manifest.checksums(artifact) if "artifact" in record.files and artifact.manifest.is_file() else {}
