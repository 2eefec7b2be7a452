"""Asking Optuna for trials, and telling it what became of them.

Trials are drawn in a copy in memory, since reading those of a long study takes longer than drawing one, and nobody else
writes to the database. The database gets a trial before it is built, and its record before Optuna gets the result.
"""

import math
from collections.abc import Mapping
from copy import copy as shallow_copy
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from eicompress.recipe import Recipe
from eicompress.study.database import lasting
from eicompress.study.halving import at_first
from eicompress.study.ledger import RECORD, Ledger
from eicompress.study.objective import Objective
from eicompress.study.optuna_private import begin, end, frozen, parameters_to_draw, stored
from eicompress.study.samplers import sampler
from eicompress.study.space import SearchSpace
from eicompress.values import Record, seed_of

VARIANTS = 8
"""Recipes that are tried on one training, where its last steps need none."""
RESTARTS = 2
"""How often a trial is started again whose process ended in the middle of it."""
_WAITS_AS = "waits as"
"""The attribute of a trial of the copy that holds its number in the database, where it waits in both."""


@dataclass(frozen=True)
class Draw:
    """A trial that was asked for: its number, and the index that its seed is made from."""

    number: int
    index: int
    trial: Trial
    """In the copy that is drawn from, where trials have numbers of their own."""
    known: bool = False
    """Whether the recipe was given, and not drawn."""
    variant_of: int | None = None
    """The trial whose training it shares."""
    passed: int = 0
    """After how many trainings it was to go on when its process was lost."""


@dataclass(frozen=True)
class Draws:
    """The trials of a study in the order of their draws, as if none had ever been interrupted and put back."""

    ledger: Ledger
    copy: optuna.Study
    left_out: int
    """How many trials of the database the copy did not take over; the same from then on."""

    @classmethod
    def of(cls, ledger: Ledger) -> "Draws":
        """The draws of a study whose trials have all ended, or wait."""
        everything = ledger.study.get_trials(deepcopy=False)
        storage, directions = InMemoryStorage(), ledger.study.directions
        copy = optuna.create_study(storage=storage, directions=directions, sampler=RandomSampler())
        trials = [each for each in everything if RECORD in each.user_attrs or each.state == TrialState.WAITING]
        for trial in sorted(trials, key=lambda each: (each.user_attrs.get("draw", math.inf), each.number)):
            light = shallow_copy(trial)
            light.user_attrs = {name: value for name, value in trial.user_attrs.items() if name != RECORD}
            if trial.state == TrialState.WAITING:
                light.user_attrs[_WAITS_AS] = trial.number
            copy.add_trial(light)
        return cls(ledger, copy, len(everything) - len(trials))

    def enqueue_variants(self, space: SearchSpace, number: int) -> None:
        """Queue the recipes that share a trial's training, once."""
        known = {trial.user_attrs.get(_WAITS_AS) for trial in self.copy.get_trials(deepcopy=False)}
        for waiting in lasting(lambda: _variants(self.ledger, space, number)):
            if waiting.number not in known:
                attrs = {**waiting.user_attrs, _WAITS_AS: waiting.number}
                self.copy.enqueue_trial(dict(parameters_to_draw(waiting)), user_attrs=attrs)

    def enqueue(self, parameters: Mapping[str, Any]) -> None:
        """Let the next trial have these parameters, unless others wait."""
        self.copy.enqueue_trial(dict(parameters))

    def variant_waits(self) -> bool:
        """Whether the next trial is one that shares another's training."""
        waiting = self._next_waiting()
        return waiting is not None and "variant_of" in waiting.user_attrs

    def ask(self, kind: str, seed: int, *, beside: bool = False) -> Draw:
        """The next trial: a waiting one, or a new draw by this sampler; `beside` is true while others are open."""
        waiting = self._next_waiting()
        index = waiting.user_attrs.get("draw") if waiting else None
        if index is None:
            trials = self.copy.get_trials(deepcopy=False)
            index = 1 + max((trial.user_attrs.get("draw", -1) for trial in trials), default=-1)
        self.copy.sampler = sampler(kind, seed_of(seed, index), beside=beside)
        trial = self.copy.ask()
        trial.set_user_attr("draw", index)
        attrs = trial.user_attrs
        number = attrs.get(_WAITS_AS, trial.number + self.left_out)
        return Draw(number, index, trial, bool(attrs.get("known")), attrs.get("variant_of"), attrs.get("passed", 0))

    def note(self, draw: Draw, recipe: Recipe) -> None:
        """Enter into the database what was drawn, before anything is built."""
        draw.trial.set_user_attr("drawn", recipe.to_json())
        drawn = frozen(draw.trial)
        lasting(lambda: begin(self.ledger.study, draw.number, drawn))

    def interrupt(self, draw: Draw) -> None:
        """Remember that nothing is done for the trial now, so that starting it again is not held against it."""
        self.ledger.set_trial(draw.number, "interrupted", True)

    def passes(self, draw: Draw, rungs: int) -> None:
        """Remember that the trial goes on after this number of trainings, whatever it is compared with later."""
        self.ledger.set_trial(draw.number, "passed", rungs)
        self.ledger.set_trial(draw.number, "interrupted", False)

    def restart(self, draw: Draw) -> bool:
        """Remember that the trial's process was lost; false if it was lost too often to be started again."""
        restarts = int(draw.trial.user_attrs.get("restarts", 0)) + 1
        draw.trial.set_user_attr("restarts", restarts)
        self.ledger.set_trial(draw.number, "restarts", restarts)
        return restarts <= RESTARTS

    def tell(self, draw: Draw, record: Record, objective: Objective) -> None:
        """Store what became of a trial, then tell sampler and database: a trial with a record is never run again."""
        self.ledger.write(draw.number, record)
        tell(draw.trial, record, objective)
        ended = frozen(draw.trial)
        lasting(lambda: end(self.ledger.study, draw.number, ended))

    def _next_waiting(self) -> FrozenTrial | None:
        trials = self.copy.get_trials(deepcopy=False)
        return next((trial for trial in trials if trial.state == TrialState.WAITING), None)


def tell(trial: Trial, record: Record, objective: Objective) -> None:
    """Tell a study the result of a trial. Constraints first, all at once.

    The state FAIL is for crashes and repeats alone: the sampler learns nothing from such a trial. Of parts of a
    shared training it gets the score of their first rung, which all of them have.
    """
    study = trial.study
    if record.only_shared:
        record = at_first(record)
    if record.outcome == "failed" or record.repeat_of is not None:
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        return
    known = trial.constraints
    for name, value in objective.constraints(record).items():
        if name not in known:
            trial.set_constraint(name, value)
    if record.trained and (record.only_shared or record.outcome != "stopped early"):
        study.tell(trial, list(objective.values(record)), skip_if_finished=True)
        return
    step = len(record.rungs)
    if record.trained and len(objective.metrics) == 1 and step not in frozen(trial).intermediate_values:
        # TPE ranks what was stopped below what was not, the longer trained first and then by this number.
        trial.report(objective.values(record)[0], step)
    study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)


def _variants(ledger: Ledger, space: SearchSpace, number: int) -> list[FrozenTrial]:
    """What waits in the database to share a trial's training; bears repetition."""

    def queued() -> list[FrozenTrial]:
        trials = ledger.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.user_attrs.get("variant_of") == number]

    known = [parameters_to_draw(trial) for trial in queued()]
    for parameters in space.variants(stored(ledger.study, number).params, VARIANTS):
        if parameters not in known:
            ledger.study.enqueue_trial(parameters, user_attrs={"variant_of": number})
    return [trial for trial in queued() if trial.state == TrialState.WAITING]
