"""Continue a study whose coordinator was interrupted."""

from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from eicompress.study.ask_and_tell import RESTARTS, tell
from eicompress.study.ledger import RECORD, Ledger
from eicompress.study.objective import Objective
from eicompress.study.optuna_private import enqueue_again, trial_of
from eicompress.study.record_files import read_record
from eicompress.values import Record

CARRIED = ("draw", "known", "variant_of", "passed")
"""Attributes that a restarted trial keeps from the interrupted one."""


@dataclass(frozen=True)
class Recovered:
    """The number of interrupted trials by outcome: taken from their record, started again, or given up."""

    recorded: int
    again: int
    given_up: int


def recover(ledger: Ledger, objective: Objective) -> Recovered:
    """Finish the trials whose process ended: tell those with a record, put back the others."""
    recorded = again = given_up = 0
    put_back = {trial.user_attrs.get("restart_of") for trial in ledger.study.get_trials(deepcopy=False)}
    for stale in ledger.study.get_trials(states=(TrialState.RUNNING,)):
        trial = trial_of(ledger.study, stale.number)
        if RECORD in stale.user_attrs:
            tell(trial, read_record(stale.user_attrs[RECORD], ledger.folder), objective)
            recorded += 1
            continue
        restarts = stale.user_attrs.get("restarts", 0) + (not stale.user_attrs.get("interrupted", False))
        if restarts > RESTARTS:
            ledger.write(stale.number, given_up_record(stale))
            given_up += 1
        elif stale.number not in put_back:
            attrs = {"restarts": restarts, "restart_of": stale.number}
            attrs |= {name: stale.user_attrs[name] for name in CARRIED if name in stale.user_attrs}
            enqueue_again(ledger.study, stale, attrs)
            again += 1
        ledger.study.tell(trial, state=TrialState.FAIL)
    return Recovered(recorded, again, given_up)


def given_up_record(trial: FrozenTrial) -> Record:
    """The record of a trial that lost its process too often."""
    return Record(
        recipe=tuple(trial.user_attrs.get("drawn", ())),
        draw=trial.user_attrs.get("draw", -1),
        outcome="failed",
        reason=f"its process ended {RESTARTS + 1} times during it: out of memory, or a crash in native code",
    )
