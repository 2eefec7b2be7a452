"""The open trials of a search, and the recording of their results."""

from dataclasses import dataclass, field, replace
from typing import Any

from eicompress.recipe import Recipe
from eicompress.study.ask_and_tell import Draw, Draws
from eicompress.study.events import TrialEnded
from eicompress.study.halving import Gains, gains_at_rungs
from eicompress.study.outcomes import repeated
from eicompress.study.points import points
from eicompress.study.ranking import count
from eicompress.study.search import Search
from eicompress.study.streaks import Streaks
from eicompress.values import Json, Record, digest_of


@dataclass(eq=False)
class OpenTrial:
    """A trial that is trained, what its trainings came to, and the later draws that turned out to be the same."""

    draw: Draw
    recipe: Recipe
    preview: Record
    lengths: tuple[float, ...]
    """Of its trainings, as shares of the full one."""
    trainings: list[Record] = field(default_factory=list)
    followers: list[Draw] = field(default_factory=list)

    @property
    def number(self) -> int:
        return self.draw.number

    @property
    def steps(self) -> tuple[Json, ...]:
        return tuple(self.recipe.to_json())

    @property
    def rung(self) -> int:
        """The place of its last training among the rungs; -1 before the first."""
        return len(self.trainings) - 1

    @property
    def last(self) -> Record:
        """Its last training."""
        return self.trainings[-1]

    @property
    def next_length(self) -> float:
        return self.lengths[len(self.trainings)]

    @property
    def finished(self) -> bool:
        """Whether it had all of its trainings."""
        return len(self.trainings) == len(self.lengths)


@dataclass
class OpenTrials:
    """The trials that are drawn and whose result Optuna does not have yet."""

    search: Search
    draws: Draws
    first_drawn: dict[str, int]
    """The first trial that ended of each recipe, by the digest of the recipe before it was filled."""
    gains: dict[int, tuple[Gains, ...]]
    """The gains of each finished trial at its rungs."""
    open: dict[int, Draw] = field(default_factory=dict, init=False)
    """Everything that was drawn, whether it is trained or not."""
    running: dict[int, OpenTrial] = field(default_factory=dict, init=False)
    """Those that a worker has."""
    waiting: list[OpenTrial] = field(default_factory=list, init=False)
    """Those at a rung that are not compared yet."""
    going_on: list[OpenTrial] = field(default_factory=list, init=False)
    """Those that get a longer training when a worker is free."""
    streaks: Streaks = field(default_factory=Streaks, init=False)
    varied: set[int] = field(default_factory=set, init=False)
    """The trials whose variants are in the queue."""

    @property
    def never_drawn(self) -> dict[str, Any] | None:
        """The trial parameters of a recipe that no trial was drawn with; None where there is none."""
        space = self.search.space
        drawn = {*self.first_drawn, *(digest_of(each.trial.user_attrs["drawn"]) for each in self.open.values())}
        every = ((each, digest_of(space.recipe(each).to_json())) for each in points(space.slots))
        return next((each for each, digest in every if digest not in drawn), None)

    @property
    def training(self) -> list[OpenTrial]:
        """Those that got a training."""
        return [*self.running.values(), *self.waiting, *self.going_on]

    def at_rung(self, rung: int) -> list[OpenTrial]:
        """Those that wait at a rung."""
        return [each for each in self.waiting if each.rung == rung]


def open_trials(search: Search) -> OpenTrials:
    """The state of a search that begins, or goes on, with the trials of its study that have ended."""
    objective = search.goal.objective
    gains = {number: gains_at_rungs(record, objective) for number, record in search.records.items()}
    return OpenTrials(search, Draws.of(search.ledger), search.ledger.drawn(), gains)


def tell(trials: OpenTrials, draw: Draw, record: Record) -> None:
    """Store and report what became of a trial. Raises `StudyError` after too many crashes in a row."""
    search, number = trials.search, draw.number
    record = replace(record, recorded_s=round(search.seconds, 1))
    trials.draws.tell(draw, record, search.goal.objective)
    search.ledger.set_seconds(search.seconds)
    del trials.open[number]
    search.records[number] = record
    trials.gains[number] = gains_at_rungs(record, search.goal.objective)
    if draw.variant_of is None:
        trials.first_drawn.setdefault(digest_of(draw.trial.user_attrs["drawn"]), number)
    trials.streaks = trials.streaks.after(record)
    for complaint in search.registry.tell(record):
        search.notice(complaint)
    counts = count(search.records.values())
    search.on_event(TrialEnded(number, record, counts, search.best, search.seconds))


def tell_repeat(trials: OpenTrials, draw: Draw, number: int) -> None:
    """Tell that a draw came to the same as the trial of this number."""
    tell(trials, draw, repeated(trials.search.records[number], number, draw.index))


def end(trials: OpenTrials, trial: OpenTrial, record: Record) -> None:
    """Tell what became of a trial, and of those that turned out to be the same."""
    tell(trials, trial.draw, record)
    for draw in trial.followers:
        tell_repeat(trials, draw, trial.number)
