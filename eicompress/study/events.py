"""The events of a search: one value for each thing that happens, passed to one callback."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from eicompress.recipe import Recipe
from eicompress.study.forecast import Forecast
from eicompress.study.objective import Objective
from eicompress.study.ranking import Counts
from eicompress.study.resume import Recovered
from eicompress.values import Progress, Record


@dataclass(frozen=True)
class Foreseen:
    """The forecast of a search, before it begins."""

    forecast: Forecast


@dataclass(frozen=True)
class Compared:
    """The qualities of the baseline and the simple baselines, before any trial."""

    baseline: Record
    simple: Mapping[str, Record]
    objective: Objective


@dataclass(frozen=True)
class Planned:
    """The search begins, or continues with its records."""

    baseline: Record
    counts: Counts
    recovered: Recovered
    best: Record | None
    seconds: float


@dataclass(frozen=True)
class Drawn:
    """A trial was drawn; its recipe is not filled yet."""

    number: int
    recipe: Recipe


@dataclass(frozen=True)
class Doing:
    """The progress of a trial."""

    number: int
    progress: Progress


@dataclass(frozen=True)
class TrialEnded:
    """A trial ended."""

    number: int
    record: Record
    counts: Counts
    best: Record | None
    seconds: float


@dataclass(frozen=True)
class SearchEnded:
    """No more trials are drawn; the best are rebuilt next, if that was not done before."""

    reason: str
    finished_before: bool = False


@dataclass(frozen=True)
class Comparing:
    """A trial's recipe is trained for longer, at this fidelity, to be compared with others before one is rebuilt."""

    number: int
    fidelity: float


@dataclass(frozen=True)
class Promoting:
    """A trial's recipe is rebuilt at this fidelity, followed by the steps that finish it, where there are any."""

    number: int
    fidelity: float
    finish: tuple[str, ...] = ()


@dataclass(frozen=True)
class Promoted:
    """A result was measured and copied for users: a rebuild, or a trial's own artifact."""

    number: int
    record: Record
    rebuilt: bool = True


@dataclass(frozen=True)
class Noticed:
    """A note for the user."""

    text: str


Event: TypeAlias = (
    Foreseen
    | Compared
    | Planned
    | Drawn
    | Doing
    | TrialEnded
    | SearchEnded
    | Comparing
    | Promoting
    | Promoted
    | Noticed
)
