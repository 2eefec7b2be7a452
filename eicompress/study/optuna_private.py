"""What is used of Optuna beyond its documented interface: all of it is here, and nowhere else.

    Study._storage, Study._study_id      where the study's trials are
    Trial._trial_id                      the storage's name for a trial
    Trial(study, trial_id), Trial.study  a trial that was begun by another process, and the study it belongs to
    system_attrs["fixed_params"]         where `Study.enqueue_trial` keeps the parameters that are to be drawn
    system_attrs                         where NSGA-II keeps the generation of a trial
    RDBStorage._get_trials               where rows of the database become trials
    RDBStorage._build_frozen_trial_...   and the values of one of them are read
    BaseStorage                          whose methods Optuna documents for those who write a storage

Optuna's own ways to the same lead through copies of all trials, or do not lead to a trial of another process.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

FIXED = "fixed_params"


class CheckedStorage(RDBStorage):
    """Optuna's storage of a database; values in it that nobody can read are an error of ours.

    `refused` makes that error, given what cannot be read and why.
    """

    def __init__(self, url: str, engine: dict[str, Any], refused: Callable[[str], Exception]) -> None:
        self._refused = refused
        super().__init__(url, engine_kwargs=engine)

    def get_all_studies(self) -> list[FrozenStudy]:
        with self._readable("its studies"):
            return super().get_all_studies()

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        with self._readable("what the study knows of itself"):
            return dict(sorted(super().get_study_user_attrs(study_id).items()))  # names are texts, or damaged

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self._readable("a trial", but=KeyError):  # which says that there is no such trial
            return super().get_trial(trial_id)

    def _get_trials(self, *given: Any, **more: Any) -> list[FrozenTrial]:
        with self._readable("its trials"):
            return super()._get_trials(*given, **more)

    def _build_frozen_trial_from_trial_model(self, trial: Any) -> FrozenTrial:
        with self._readable(f"trial {trial.number}"):
            return super()._build_frozen_trial_from_trial_model(trial)

    @contextmanager
    def _readable(self, what: str, but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        try:
            yield
        except but:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise self._refused(f"{what} cannot be read ({type(error).__name__})") from error


def storage_of(study: optuna.Study) -> BaseStorage:
    return study._storage


def count_trials(study: optuna.Study) -> int:
    return storage_of(study).get_n_trials(study._study_id)


def trial_of(study: optuna.Study, number: int) -> Trial:
    """A trial for Optuna's `report` and `tell`, from any process. Raises `KeyError` for an unknown number."""
    return Trial(study, _row(study, number))


def stored(study: optuna.Study, number: int) -> FrozenTrial:
    """What the storage holds of one trial, without reading the others. Raises `KeyError`."""
    return storage_of(study).get_trial(_row(study, number))


def frozen(trial: Trial) -> FrozenTrial:
    """What the storage of a trial's study holds of it."""
    return storage_of(trial.study).get_trial(trial._trial_id)


def parameters_to_draw(trial: FrozenTrial) -> Mapping[str, Any]:
    """The parameters with which a trial was put into the queue; none for one that was asked for."""
    found: Mapping[str, Any] = trial.system_attrs.get(FIXED, {})
    return found


def set_attribute(study: optuna.Study, number: int, name: str, value: object) -> None:
    """Set a user attribute of a trial. Raises `KeyError` where there is no such trial."""
    storage_of(study).set_trial_user_attr(_row(study, number), name, value)


def add(study: optuna.Study, trial: FrozenTrial) -> Trial:
    """Store a trial as it is, with a new number."""
    return Trial(study, storage_of(study).create_new_trial(study._study_id, template_trial=trial))


def enqueue_again(study: optuna.Study, lost: FrozenTrial, attributes: Mapping[str, Any]) -> None:
    """Put a trial into the queue again, with its parameters and with what the sampler noted of it."""
    parameters = {**parameters_to_draw(lost), **lost.params}
    noted = {**lost.system_attrs, FIXED: parameters}
    study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=noted, user_attrs=dict(attributes)))


def begin(study: optuna.Study, number: int, drawn: FrozenTrial) -> None:
    """Store that a trial has begun with the parameters and attributes of `drawn`: a new one, or one of the queue."""
    storage = storage_of(study)
    try:
        row = _row(study, number)
    except KeyError:
        storage.create_new_trial(study._study_id, template_trial=drawn)
        return
    for name, distribution in drawn.distributions.items():
        storage.set_trial_param(row, name, distribution.to_internal_repr(drawn.params[name]), distribution)
    for name, value in drawn.user_attrs.items():
        storage.set_trial_user_attr(row, name, value)
    for name, value in drawn.system_attrs.items():
        storage.set_trial_system_attr(row, name, value)
    storage.set_trial_state_values(row, TrialState.RUNNING)


def end(study: optuna.Study, number: int, ended: FrozenTrial) -> None:
    """Store that a trial has ended as `ended` has, unless it has ended: `Study.tell` would read it six times."""
    storage, row = storage_of(study), _row(study, number)
    known = storage.get_trial(row)
    if known.state.is_finished():
        return
    for step, value in ended.intermediate_values.items():
        storage.set_trial_intermediate_value(row, step, value)
    for name, value in ended.system_attrs.items():
        if name not in known.system_attrs:
            storage.set_trial_system_attr(row, name, value)
    storage.set_trial_state_values(row, ended.state, ended.values)


def _row(study: optuna.Study, number: int) -> int:
    return storage_of(study).get_trial_id_from_study_id_trial_number(study._study_id, number)
