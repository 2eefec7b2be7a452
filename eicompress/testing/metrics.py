"""What every metric promises, built-in or a stranger's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eicompress.contracts import Metric
from eicompress.testing.claims import Claim, contents, hold, random_state_kept, with_missed
from eicompress.testing.tiny import tiny_artifact, tiny_examples, tiny_task


def metric_checks(metric: type[Metric], *, skip: Mapping[str, str] | None = None) -> list[Claim]:
    """The claims of a metric."""
    checked = _Checked(metric)
    claims = [Claim(metric.name, text, getattr(checked, name)) for name, text in _CLAIMS.items()]
    return with_missed(claims, skip or {})


_CLAIMS: Mapping[str, str] = {
    "says_what_it_is": "says its unit and what is better",
    "measures": "measures an artifact and leaves it as it is",
}


@dataclass(frozen=True)
class _Checked:
    metric: type[Metric]

    def says_what_it_is(self, folder: Path) -> None:
        direction = getattr(self.metric, "direction", None)
        known = direction in ("minimize", "maximize")
        hold(known, f'`direction` must be "minimize" or "maximize", but is {direction!r}')
        unit = getattr(self.metric, "unit", None)
        hold(isinstance(unit, str), f"`unit` must be a string, empty where there is none, but is {unit!r}")

    def measures(self, folder: Path) -> None:
        artifact = tiny_artifact(folder / "artifact")
        before = contents(artifact.folder)
        with random_state_kept():
            value = self.metric().measure(artifact, tiny_task(), tiny_examples(1))
        finite = isinstance(value, float) and math.isfinite(value)
        hold(finite, f"it must be a finite float, but is {value!r}: raise `MeasureError` where it cannot be taken")
        hold(contents(artifact.folder) == before, "an artifact must not be changed by being measured, but was")
