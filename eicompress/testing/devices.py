"""The claims of every device, built-in or from a plug-in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eicompress.deployment import Device
from eicompress.metrics.latency import measure_latency
from eicompress.testing.claims import Claim, contents, hold, random_state_kept, with_missed
from eicompress.testing.tiny import tiny_artifact, tiny_candidate

_SECONDS = 0.05
_POSITIONS = 200


def device_checks(device: type[Device], *, skip: Mapping[str, str] | None = None) -> list[Claim]:
    """The claims of a device, which must be there to be used."""
    checked = _Checked(device)
    claims = [Claim(device.name, text, getattr(checked, name)) for name, text in _CLAIMS.items()]
    return with_missed(claims, skip or {})


_CLAIMS: Mapping[str, str] = {
    "describes_itself": "describes itself in words",
    "times_an_artifact": "times an artifact in positive milliseconds and leaves it as it is",
    "times_a_reference": "times a reference beside it",
    "times_longer_texts": "times texts of every length that the artifact reads",
}


@dataclass(frozen=True)
class _Checked:
    device: type[Device]

    def describes_itself(self, folder: Path) -> None:
        found = self.device().describe()
        words = isinstance(found, Mapping) and all(isinstance(each, str) for pair in found.items() for each in pair)
        hold(words and bool(found), f"`describe` must return words by name, as `machine`, but gave {found!r}")
        again = self.device().describe()
        hold(again == found, f"`describe` must give the same each time, but gave {found!r}, and then {again!r}")

    def times_an_artifact(self, folder: Path) -> None:
        artifact = tiny_artifact(folder / "artifact")
        before = contents(artifact.folder)
        with random_state_kept():
            found = measure_latency(self.device(), artifact, None, 16, threads=1, seconds=_SECONDS)
        hold(found.reference_p50_ms is None, "without a reference there must be none of its times, but there are")
        hold(contents(artifact.folder) == before, "an artifact must not be changed by being timed, but was")

    def times_a_reference(self, folder: Path) -> None:
        artifact, reference = tiny_artifact(folder / "artifact"), tiny_artifact(folder / "reference", tiny_candidate(1))
        found = measure_latency(self.device(), artifact, reference, 16, threads=1, seconds=_SECONDS)
        hold(found.reference_p50_ms is not None, "the reference must be timed too, but was not")

    def times_longer_texts(self, folder: Path) -> None:
        artifact = tiny_artifact(folder / "artifact", tiny_candidate(positions=_POSITIONS))
        for length in (1, 64, _POSITIONS):
            measure_latency(self.device(), artifact, None, length, threads=1, seconds=_SECONDS)
