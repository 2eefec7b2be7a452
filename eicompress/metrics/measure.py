"""Measure metrics, built-in and foreign ones alike, whatever becomes of each."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from eicompress.cache import is_disk_error
from eicompress.errors import MeasureError
from eicompress.measures import Metric, Subject
from eicompress.values import Measurement


@dataclass(frozen=True)
class Taken:
    """What was measured, and why the rest was not, by metric."""

    measurements: tuple[Measurement, ...] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)


def measure(metrics: Iterable[type[Metric]], subject: Subject) -> Taken:
    """Measure each metric. One that fails, for whatever reason, is in `unmeasured`; the others are not affected."""
    found: list[Measurement] = []
    unmeasured = {}
    for metric in metrics:
        try:
            found += _checked(metric, subject)
        except (Exception, SystemExit) as error:
            if is_disk_error(error):
                raise
            unmeasured[metric.name] = (
                str(error) if isinstance(error, MeasureError) else f"{type(error).__name__}: {error}"
            )
    return Taken(tuple(found), unmeasured)


def _checked(metric: type[Metric], subject: Subject) -> tuple[Measurement, ...]:
    taken = tuple(metric().measure(subject))
    for each in taken:
        if not (isinstance(each, Measurement) and math.isfinite(each.value)):
            raise MeasureError(f"`{metric.name}` must give measurements with finite values, but gave {each!r}")
    if not any(each.name.startswith(metric.name) for each in taken):
        raise MeasureError(f"`{metric.name}` must give a measurement of this name, but gave {taken!r}")
    return taken
