"""The claims of every target, built-in or from a plug-in."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eicompress.deployment import Target
from eicompress.testing.claims import Claim, contents, hold, network_refused, with_missed, written_only_in
from eicompress.testing.tiny import tiny_artifact
from eicompress.values import Artifact

_CARD = "# A model card\n"


def target_checks(target: type[Target], *, skip: Mapping[str, str] | None = None) -> list[Claim]:
    """The claims of a target."""
    checked = _Checked(target)
    claims = [Claim(target.name, text, getattr(checked, name)) for name, text in _CLAIMS.items()]
    return with_missed(claims, skip or {})


_CLAIMS: Mapping[str, str] = {
    "names_its_output": "names its output after the artifact",
    "writes_only_the_output": "writes its output and nothing else",
    "counts_bytes": "counts the bytes that are on disk",
    "writes_the_same_bytes": "writes the same bytes for the same artifact",
    "uses_no_network": "uses no network",
}


@dataclass(frozen=True)
class _Checked:
    target: type[Target]

    def names_its_output(self, folder: Path) -> None:
        suffix = self.target.suffix
        hold(bool(suffix) and "/" not in suffix, f"`suffix` must be the end of a file's name, but is {suffix!r}")

    def writes_only_the_output(self, folder: Path) -> None:
        artifact = tiny_artifact(folder / "artifact")
        before = contents(artifact.folder)
        with written_only_in(folder / "place"):
            output = self._written(artifact, folder / "place")
        hold(contents(artifact.folder) == before, "the artifact must not be changed by being written, but was")
        others = sorted(each.name for each in output.parent.iterdir() if each != output)
        hold(output.exists() and not others, f"`{output.name}` must be written and nothing beside it, but got {others}")

    def counts_bytes(self, folder: Path) -> None:
        output = self._written(tiny_artifact(folder / "artifact"), folder / "place")
        on_disk, counted = sum(map(len, contents(output).values())), self.target().size_bytes(output)
        hold(counted == on_disk, f"`size_bytes` must be the {on_disk} bytes on disk, but is {counted}")

    def writes_the_same_bytes(self, folder: Path) -> None:
        artifact = tiny_artifact(folder / "artifact")
        first = contents(self._written(artifact, folder / "first"))
        for path in artifact.folder.rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        again = contents(self._written(artifact, folder / "again"))
        hold(again == first, "the same files must give the same bytes at any time, but did not: write no dates")

    def uses_no_network(self, folder: Path) -> None:
        artifact = tiny_artifact(folder / "artifact")
        with network_refused():
            self._written(artifact, folder / "place")

    def _written(self, artifact: Artifact, place: Path) -> Path:
        place.mkdir()
        output = place / f"mine{self.target.suffix}"
        self.target().write(artifact, _CARD, output)
        return output
