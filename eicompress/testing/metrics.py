"""The claims of every metric, built-in or from a plug-in."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from eicompress.measures import Conditions, Metric, Subject
from eicompress.testing.claims import Claim, contents, hold, random_state_kept, with_missed
from eicompress.testing.tiny import tiny_artifact, tiny_candidate, tiny_examples, tiny_task
from eicompress.values import Artifact, Direction, Measurement

CLOSE = 0.05
"""How far apart, as a share, the numbers before and after training may lie: trained weights zip otherwise."""
SECONDS = 0.05
"""For what is timed."""


def metric_checks(metric: type[Metric], *, skip: Mapping[str, str] | None = None) -> list[Claim]:
    """The claims of a metric. What previews measure promises more, unless it must be alone, and so varies by chance."""
    checked = _Checked(metric)
    texts = {**_CLAIMS, **(_STEADY if metric.preview and not metric.alone else {})}
    claims = [Claim(metric.name, text, getattr(checked, name)) for name, text in texts.items()]
    return with_missed(claims, skip or {})


_CLAIMS: Mapping[str, str] = {
    "says_what_it_is": "says its unit and what is better",
    "measures": "measures an artifact and leaves it as it is",
}
_STEADY: Mapping[str, str] = {
    "same_before_training": "gives the same before and after training",
    "same_again": "gives the same twice",
}


@dataclass(frozen=True)
class _Checked:
    metric: type[Metric]

    def says_what_it_is(self, folder: Path) -> None:
        direction, unit = (getattr(self.metric, name, None) for name in ("direction", "unit"))
        hold(direction in get_args(Direction), f'`direction` must be "minimize" or "maximize", but is {direction!r}')
        hold(isinstance(unit, str), f"`unit` must be a string, empty where there is none, but is {unit!r}")

    def measures(self, folder: Path) -> None:
        artifact = tiny_artifact(folder / "artifact")
        before = contents(artifact.folder)
        with random_state_kept():
            self._own(artifact)
        hold(contents(artifact.folder) == before, "an artifact must not be changed by being measured, but was")

    def same_before_training(self, folder: Path) -> None:
        values = [self._own(tiny_artifact(folder / str(seed), tiny_candidate(seed))).value for seed in (0, 1)]
        close = math.isclose(*values, rel_tol=CLOSE)
        hold(close, f"it must not depend on trained weights, but was {values[0]!r} and {values[1]!r}: unset `preview`")

    def same_again(self, folder: Path) -> None:
        artifact = tiny_artifact(folder / "artifact")
        first, second = (self._own(artifact) for _ in range(2))
        hold(first == second, f"it must be the same for the same artifact, but was {first!r} and {second!r}")

    def _own(self, artifact: Artifact) -> Measurement:
        """The metric's own number on the tiny task."""
        subject = Subject(artifact, tiny_task(), tiny_examples(1), conditions=Conditions(seconds=SECONDS))
        taken = {each.name: each for each in self.metric().measure(subject)}
        own = taken.get(self.metric.name)
        if own is None:
            raise AssertionError(f"one of the measurements must be called `{self.metric.name}`, but got {[*taken]}")
        finite = isinstance(own.value, float) and math.isfinite(own.value)
        hold(finite, f"it must be a finite float, but is {own.value!r}: raise `MeasureError` where it cannot be taken")
        hold(own.unit == self.metric.unit, f"its unit must be that of the metric, but is {own.unit!r}")
        return own
