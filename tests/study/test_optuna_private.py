"""What Optuna does not document must be there, and do what is expected of it, in the version that is installed."""

import inspect
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import Trial, TrialState

import eicompress
from eicompress.study import optuna_private
from eicompress.study.optuna_private import (
    add,
    begin,
    count_trials,
    end,
    frozen,
    parameters_to_draw,
    set_attribute,
    stored,
    trial_of,
)


@pytest.fixture(params=["memory", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    storage: BaseStorage = InMemoryStorage()
    if request.param == "sqlite":
        storage = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    optuna.create_study(storage=storage, study_name="other").ask()
    return optuna.create_study(storage=storage, study_name="study")


def test_a_trial_that_another_process_began_can_be_ended(study: optuna.Study) -> None:
    study.ask()
    trial = trial_of(study, 0)
    assert (trial.number, trial.study) == (0, study)
    study.tell(trial, 1.0)
    assert study.trials[0].value == 1.0


def test_one_trial_is_read_alone(study: optuna.Study) -> None:
    asked = study.ask()
    value = asked.suggest_float("x", 0.0, 1.0)
    assert stored(study, 0).params == frozen(asked).params == {"x": value}
    assert count_trials(study) == 1
    with pytest.raises(KeyError):
        stored(study, 1)


def test_the_parameters_of_a_trial_that_waits_are_known(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5}, user_attrs={"draw": 3})
    study.add_trial(optuna.create_trial(value=1.0))
    waiting, recorded = study.get_trials()
    assert (waiting.state, parameters_to_draw(waiting)) == (TrialState.WAITING, {"x": 0.5})
    assert parameters_to_draw(recorded) == {}


def test_an_attribute_can_be_set_whichever_process_runs_the_trial(study: optuna.Study) -> None:
    study.ask()
    set_attribute(study, 0, "record", {"recipe": []})
    assert study.trials[0].user_attrs == {"record": {"recipe": []}}


@pytest.mark.parametrize("waits", [False, True], ids=["new", "from the queue"])
def test_a_trial_that_was_drawn_in_a_copy_begins_in_the_database(study: optuna.Study, waits: bool) -> None:
    copy = optuna.create_study()
    drawn = copy.ask()
    value = drawn.suggest_float("x", 1e-3, 1.0, log=True)
    drawn.set_user_attr("draw", 0)
    if waits:
        study.enqueue_trial({"x": value})
    begin(study, 0, frozen(drawn))
    (found,) = study.get_trials()
    assert (found.state, found.params, found.user_attrs) == (TrialState.RUNNING, {"x": value}, {"draw": 0})


def test_a_trial_is_added_as_it_is(study: optuna.Study) -> None:
    study.ask()
    added = add(study, optuna.create_trial(value=1.0, user_attrs={"draw": 7}))
    assert (added.number, added.user_attrs) == (1, {"draw": 7})
    assert isinstance(added, Trial) and study.trials[1].state == TrialState.COMPLETE


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
def test_a_trial_that_ended_in_a_copy_ends_in_the_database_once(study: optuna.Study, state: TrialState) -> None:
    copy = optuna.create_study()
    drawn = copy.ask()
    begin(study, 0, frozen(drawn))
    drawn.set_constraint("size_mb", -0.5)
    if state == TrialState.PRUNED:
        drawn.report(0.25, 3)
    copy.tell(drawn, 0.75 if state == TrialState.COMPLETE else None, state)
    ended = frozen(drawn)
    for _ in range(2):
        end(study, 0, ended)
        (found,) = study.get_trials()
        assert (found.state, found.values, found.intermediate_values) == (
            state,
            ended.values,
            ended.intermediate_values,
        )
        assert found.system_attrs == ended.system_attrs and found.datetime_complete is not None


def test_nothing_private_of_optuna_is_used_elsewhere() -> None:
    names = ("._storage", "._study_id", "._trial_id", "fixed_params", "create_new_trial", "Trial(self.study")
    package = Path(inspect.getfile(eicompress)).parent
    allowed = Path(inspect.getfile(optuna_private))
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert path == allowed or not [name for name in names if name in text], path
