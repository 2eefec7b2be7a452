"""A study: its lock, what it was asked for, and its records in Optuna's database.

studies/<name>/lock         held by the one coordinator; names its owner
studies/<name>/study.toml   what was asked, with the digests of model, data and search space
studies/<name>/study.db     Optuna's tables, unless a server has them; `user_attrs["record"]` of a trial is its record
studies/<name>/records/     records that are too long for a database field
"""

import fcntl
import json
import math
import os
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy as shallow_copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from eicompress.cache import disk_errors
from eicompress.errors import StudyError
from eicompress.recipe import Recipe
from eicompress.spec import read_toml
from eicompress.study.database import FILE, connect, lasting, leave, why
from eicompress.study.halving import rungs_of
from eicompress.study.objective import Direction, Objective
from eicompress.study.space import SearchSpace, sampler
from eicompress.values import Json, Record, digest_of, seed_of

RECORD_BYTES = 64_000
"""MySQL's `Text`, which holds a user attribute, ends at 64 KB."""
TRIALS_FOR_IMPORTANCE = 10
"""With fewer complete trials the importance of a knob is chance."""
VARIANTS = 8
"""Recipes that are tried on one training, where its last steps need none."""
RESTARTS = 2
"""How often a trial is started again whose process ended in the middle of it."""

_SIMPLE = "simple:"


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
class Recovered:
    """What became of trials whose process had ended: told from their record, put back, or given up."""

    told: int
    again: int
    given_up: int


@dataclass(frozen=True)
class Ledger:
    """A study's database. Every trial that ended has a record.

    Trials are drawn in a copy in memory, since reading those of a long study takes longer than drawing one, and nobody
    else writes to the database. It gets a trial whole before it is built, and its record before it is told.
    """

    study: optuna.Study
    folder: Path

    def records(self) -> dict[int, Record]:
        """The record of each trial that ended, by its number."""
        trials = self.study.get_trials(deepcopy=False)
        return {
            trial.number: self._read(trial)
            for trial in trials
            if "record" in trial.user_attrs and trial.state.is_finished()
        }

    def version(self) -> object:
        """Changes whenever the database does, and costs next to nothing to ask for."""
        files = sorted(self.folder.glob(f"{FILE}*"))
        if files:
            return [(file.name, file.stat().st_mtime_ns) for file in files if file.is_file()]
        return self._storage.get_n_trials(self.study._study_id), self.seconds()

    def drawn(self) -> dict[str, int]:
        """The first trial that ended of each recipe, by the digest of the recipe before it was filled."""
        found: dict[str, int] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if "record" in trial.user_attrs and trial.state.is_finished() and "variant_of" not in trial.user_attrs:
                found.setdefault(digest_of(trial.user_attrs.get("drawn")), trial.number)
        return found

    def enqueue_known(self, space: SearchSpace) -> None:
        """Queue the space's known-good recipes, once in a study's life."""
        enqueued = [trial.user_attrs.get("known") for trial in self.study.get_trials(deepcopy=False)]
        for parameters in space.known:
            digest = digest_of(parameters)
            if digest not in enqueued:
                self.study.enqueue_trial(dict(parameters), user_attrs={"known": digest})

    def enqueue_variants(self, space: SearchSpace, number: int) -> None:
        """Queue the recipes that share a trial's training, once."""
        known = {trial.user_attrs.get("waits as") for trial in self._copy.get_trials(deepcopy=False)}
        for waiting in lasting(lambda: self._variants(space, number)):
            if waiting.number not in known:
                attrs = {**waiting.user_attrs, "waits as": waiting.number}
                self._copy.enqueue_trial(waiting.system_attrs["fixed_params"], user_attrs=attrs)

    def _variants(self, space: SearchSpace, number: int) -> list[FrozenTrial]:
        """What waits in the database to share a trial's training; bears repetition."""

        def queued() -> list[FrozenTrial]:
            trials = self.study.get_trials(deepcopy=False)
            return [trial for trial in trials if trial.user_attrs.get("variant_of") == number]

        known = [trial.system_attrs["fixed_params"] for trial in queued()]
        drawn = self._storage.get_trial(self._row(number)).params
        for parameters in space.variants(drawn, VARIANTS):
            if parameters not in known:
                self.study.enqueue_trial(parameters, user_attrs={"variant_of": number})
        return [trial for trial in queued() if trial.state == TrialState.WAITING]

    def variant_waits(self) -> bool:
        """Whether the next trial is one that shares another's training."""
        trials = self._copy.get_trials(deepcopy=False)
        waiting = next((trial for trial in trials if trial.state == TrialState.WAITING), None)
        return waiting is not None and "variant_of" in waiting.user_attrs

    def ask(self, kind: str, seed: int, *, beside: bool = False) -> Draw:
        """The next trial: one that waits, or a new draw by a kind of sampler, `beside` others that are not told yet."""
        left_out, trials = self._left_out, self._copy.get_trials(deepcopy=False)
        waiting = next((trial for trial in trials if trial.state == TrialState.WAITING), None)
        index = waiting.user_attrs.get("draw") if waiting else None
        if index is None:
            index = 1 + max((trial.user_attrs.get("draw", -1) for trial in trials), default=-1)
        self._copy.sampler = sampler(kind, seed_of(seed, index), beside=beside)
        trial = self._copy.ask()
        trial.set_user_attr("draw", index)
        attrs = trial.user_attrs
        number = attrs.get("waits as", trial.number + left_out)
        return Draw(number, index, trial, bool(attrs.get("known")), attrs.get("variant_of"), attrs.get("passed", 0))

    def note(self, draw: Draw, recipe: Recipe) -> None:
        """Enter into the database what was drawn, before anything is built."""
        draw.trial.set_user_attr("drawn", recipe.to_json())
        drawn = _frozen(draw.trial)
        lasting(lambda: self._enter(draw.number, drawn))

    def interrupt(self, draw: Draw) -> None:
        """Remember that nothing is done for the trial now, so that starting it again is not held against it."""
        self._set(draw.number, "interrupted", True)

    def passes(self, draw: Draw, rungs: int) -> None:
        """Remember that the trial goes on after so many trainings, whatever it is compared with later."""
        self._set(draw.number, "passed", rungs)
        self._set(draw.number, "interrupted", False)

    def restart(self, draw: Draw) -> bool:
        """Remember that the trial's process was lost; false if it was lost too often to be started again."""
        restarts = int(draw.trial.user_attrs.get("restarts", 0)) + 1
        draw.trial.set_user_attr("restarts", restarts)
        self._set(draw.number, "restarts", restarts)
        return restarts <= RESTARTS

    def write(self, draw: Draw, record: Record) -> None:
        """Store the record. A trial that has one is never run again."""
        self._write(draw.number, record)

    def tell(self, draw: Draw, record: Record, objective: Objective) -> None:
        """Tell database and sampler what became of a trial."""
        lasting(lambda: _tell(Trial(self.study, self._row(draw.number)), record, objective))
        _tell(draw.trial, record, objective)

    def recover(self, objective: Objective) -> Recovered:
        """Finish the trials whose process ended: tell those with a record, put back the others."""
        told = again = given_up = 0
        put_back = {trial.user_attrs.get("restart_of") for trial in self.study.get_trials(deepcopy=False)}
        for stale in self.study.get_trials(states=(TrialState.RUNNING,)):
            trial = Trial(self.study, stale._trial_id)
            if "record" in stale.user_attrs:
                _tell(trial, self._read(stale), objective)
                told += 1
                continue
            restarts = stale.user_attrs.get("restarts", 0) + (not stale.user_attrs.get("interrupted", False))
            if restarts > RESTARTS:
                self._write(stale.number, _given_up(stale))
                given_up += 1
            elif stale.number not in put_back:
                attrs = {"restarts": restarts, "restart_of": stale.number}
                kept = ("draw", "known", "variant_of", "passed")
                attrs |= {name: stale.user_attrs[name] for name in kept if name in stale.user_attrs}
                fixed = stale.system_attrs.get("fixed_params", {})
                self.study.enqueue_trial({**fixed, **stale.params}, user_attrs=attrs)
                again += 1
            self.study.tell(trial, state=TrialState.FAIL)
        return Recovered(told, again, given_up)

    def seconds(self) -> float:
        """Wall-clock seconds that the study has taken so far."""
        return float(self.study.user_attrs.get("seconds", 0.0))

    def set_seconds(self, seconds: float) -> None:
        lasting(lambda: self.study.set_user_attr("seconds", seconds))

    def baseline(self) -> Record | None:
        """The baseline's record, for those who look at the study later."""
        value = self.study.user_attrs.get("baseline")
        return Record.from_json(value) if value else None

    def set_baseline(self, record: Record) -> None:
        value = self._shortened(record).to_json()
        lasting(lambda: self.study.set_user_attr("baseline", value))

    def simple(self) -> dict[str, Record]:
        """The records of the simple baselines, by their names."""
        found = sorted((name, value) for name, value in self.study.user_attrs.items() if name.startswith(_SIMPLE))
        return {name.removeprefix(_SIMPLE): Record.from_json(value) for name, value in found}

    def set_simple(self, name: str, record: Record) -> None:
        value = self._shortened(record).to_json()
        lasting(lambda: self.study.set_user_attr(f"{_SIMPLE}{name}", value))

    def ended(self) -> Json:
        """Why the search ended and what it had been asked for then; empty while it goes on."""
        found: Json = self.study.user_attrs.get("ended", {})
        return found

    def set_ended(self, ended: Json) -> None:
        lasting(lambda: self.study.set_user_attr("ended", dict(ended)))

    def importance(self) -> dict[str, float]:
        """How much each knob tells good trials from the others, in shares; empty for too few complete trials."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < TRIALS_FOR_IMPORTANCE or len({trial.values[0] for trial in complete}) < 2:
            return {}
        # Of two numbers the first is judged; the evaluator looks for what makes it small, and warns that it does.
        sign = -1 if self.study.directions[0].name == "MAXIMIZE" else 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = optuna.importance.get_param_importances(
                self.study,
                # Optuna's default evaluator needs scikit-learn.
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=lambda trial: sign * trial.values[0],
            )
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def rebuilds(self) -> dict[int, tuple[Record, ...]]:
        """The records of rebuilds at full fidelity, one for each seed, by the number of the trial that was rebuilt."""
        found: dict[int, tuple[Record, ...]] = {}
        for (number, *_), record in self._records_named("promoted"):
            found[number] = (*found.get(number, ()), record)
        return found

    def promote(self, number: int, record: Record) -> None:
        """Store the record of the rebuild of a trial."""
        self._set_of_study(f"promoted:{number}:{record.seed}", self._shortened(record).to_json())

    def kept(self) -> dict[int, Record]:
        """The records of trials that are handed out as the search had made them."""
        return {number: record for (number, *_), record in self._records_named("kept")}

    def keep(self, number: int, record: Record) -> None:
        """Store the record of a trial that is handed out as the search had made it."""
        self._set_of_study(f"kept:{number}", self._shortened(record).to_json())

    def rungs(self) -> Json:
        """The lengths of the study's trainings, `shares` of the full one and its `steps`; empty before they are set."""
        found: Json = self.study.user_attrs.get("rungs", {})
        return found

    def set_rungs(self, shares: Sequence[float], steps: int | None) -> None:
        self._set_of_study("rungs", {"shares": list(shares), "steps": steps})

    def given(self) -> set[int]:
        """The trials of recipes that were given, and not drawn."""
        return {trial.number for trial in self.study.get_trials(deepcopy=False) if "known" in trial.user_attrs}

    def promotion(self) -> Json:
        """Which trials were to be compared after the search, at which length, and for which goal; empty before."""
        found: Json = self.study.user_attrs.get("promotion", {})
        return found

    def set_promotion(self, promotion: Json) -> None:
        self._set_of_study("promotion", dict(promotion))

    def compared(self, length: float) -> dict[int, Record]:
        """The records of trials that were trained for this share of the full training to be compared."""
        found = self._records_named("compared")
        return {number: record for (number, *_), record in found if record.fidelity == length}

    def compare(self, number: int, record: Record) -> None:
        """Store the record of the longer training that a trial got to be compared."""
        name = f"compared:{number}:{round(100 * record.fidelity)}"
        self._set_of_study(name, self._shortened(record).to_json())

    def forget_kept(self, number: int) -> None:
        """Let what was kept of a trial be decided anew."""
        if number in self.kept():
            self._set_of_study(f"kept:{number}", None)

    def _records_named(self, kind: str) -> Iterator[tuple[list[int], Record]]:
        """The records that the study itself holds under `kind:...`, with the numbers in their names."""
        for name, value in sorted(self.study.user_attrs.items()):
            if name.startswith(f"{kind}:") and value:
                yield [int(each) for each in name.split(":")[1:]], Record.from_json(value)

    def _set_of_study(self, name: str, value: object) -> None:
        lasting(lambda: self.study.set_user_attr(name, value))

    @cached_property
    def _copy(self) -> optuna.Study:
        """The trials in the order of their draws, as if none had ever been interrupted and put back."""
        copy = optuna.create_study(storage=InMemoryStorage(), directions=self.study.directions, sampler=RandomSampler())
        trials = [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if "record" in trial.user_attrs or trial.state == TrialState.WAITING
        ]
        for trial in sorted(trials, key=lambda each: (each.user_attrs.get("draw", math.inf), each.number)):
            light = shallow_copy(trial)
            light.user_attrs = {name: value for name, value in trial.user_attrs.items() if name != "record"}
            if trial.state == TrialState.WAITING:
                light.user_attrs["waits as"] = trial.number
            copy.add_trial(light)
        return copy

    @cached_property
    def _left_out(self) -> int:
        """How many trials of the database the copy did not take over; the same from then on."""
        return len(self.study.get_trials(deepcopy=False)) - len(self._copy.get_trials(deepcopy=False))

    @property
    def _storage(self) -> BaseStorage:
        return self.study._storage

    def _row(self, number: int) -> int:
        """The database's name for a trial."""
        return self._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)

    def _write(self, number: int, record: Record) -> None:
        self._set(number, "record", self._shortened(record).to_json())

    def _set(self, number: int, name: str, value: object) -> None:
        lasting(lambda: self._storage.set_trial_user_attr(self._row(number), name, value))

    def _enter(self, number: int, drawn: FrozenTrial) -> None:
        """A trial that is new to the database, or that waited there for being drawn."""
        storage = self._storage
        try:
            row = self._row(number)
        except KeyError:
            storage.create_new_trial(self.study._study_id, template_trial=drawn)
            return
        for name, distribution in drawn.distributions.items():
            storage.set_trial_param(row, name, distribution.to_internal_repr(drawn.params[name]), distribution)
        for name, value in drawn.user_attrs.items():
            storage.set_trial_user_attr(row, name, value)
        storage.set_trial_state_values(row, TrialState.RUNNING)

    def _read(self, trial: FrozenTrial) -> Record:
        return Record.from_json(trial.user_attrs["record"])

    def _shortened(self, record: Record) -> Record:
        text = json.dumps(record.to_json())
        if len(text.encode()) <= RECORD_BYTES:
            return record
        path = self.folder / "records" / f"{digest_of(record.to_json())}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        reason = record.reason[: RECORD_BYTES // 8]
        return replace(record, facts={}, reason=reason, files={**record.files, "record": str(path)})


@contextmanager
def opened(
    folder: Path,
    asked: Mapping[str, Any],
    digests: Mapping[str, str],
    directions: Sequence[Direction] = ("maximize",),
    storage: str = "",
) -> Iterator[Ledger]:
    """The ledger of a study that is made here or goes on, held alone; `storage` is the URL of its database.

    Raises `StudyError` if another process holds it, if something else was asked, or if disk or database refuse.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            identity = _claim(folder / "study.toml", asked, digests)
            connected = connect(folder, storage)
            try:
                ledger = _ledger(folder, connected, directions)
                if storage:
                    _check_identity(ledger, identity)
                yield ledger
            finally:
                leave(connected)


def check(folder: Path, asked: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Compare what is asked with what the study was made for, as far as the digests are known by now.

    Raises `StudyError` with the difference. Without a digest of the inputs their names are not compared: another
    path may lead to the same bytes.
    """
    path = folder / "study.toml"
    if path.is_file():
        was = read_toml(path)
        known = {name: was.get("digests", {}).get(name, "") for name in was.get("digests", {})}
        _refuse(folder, _differences(was.get("asked", {}), asked, known, {**known, **digests}))


def read_ledger(folder: Path) -> Ledger:
    """The ledger of a study to look at; no lock is taken. Raises `StudyError`."""
    path = folder / "study.toml"
    storage = str(read_toml(path)["asked"].get("storage", "")) if path.is_file() else ""
    if not storage and not (folder / FILE).is_file():
        raise StudyError(f"there is no study in `{folder}` (no `{FILE}`): check its name")
    with storage_errors(folder):
        return _ledger(folder, connect(folder, storage, once=True))


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what a full or read-only disk, or a damaged database, does to us into a `StudyError`."""
    try:
        with disk_errors(folder):
            yield
    except (SQLAlchemyError, StorageInternalError) as error:
        path = folder / FILE
        if not path.is_file():
            raise StudyError(
                f"the database of the study in `{folder}` must answer, but: {why(error)}. What is recorded is kept: "
                "see to it, and give the same command again"
            ) from error
        if any(word in why(error) for word in ("malformed", "not a database", "corrupt")):
            raise StudyError(
                f"`{path}` is damaged: {why(error)}. Put a copy of it back, or move it away: the same command then "
                "draws the same trials again, and takes from the cache what was trained"
            ) from error
        raise StudyError(f"`{path}` must be a place to write to, but: {why(error)}") from error


def _ledger(folder: Path, storage: BaseStorage, directions: Sequence[Direction] = ()) -> Ledger:
    """`directions` are those of the objective where the study may not be there yet."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if directions:
        study = optuna.create_study(
            storage=storage, study_name=folder.name, directions=directions, load_if_exists=True, sampler=RandomSampler()
        )
    else:
        known = optuna.get_all_study_names(storage)
        if folder.name not in known:
            raise StudyError(
                f"a study's folder must keep its name, but the database in `{folder}` holds {' and '.join(known)}"
            )
        study = optuna.load_study(storage=storage, study_name=folder.name, sampler=RandomSampler())
    return Ledger(study, folder)


def _tell(trial: Trial, record: Record, objective: Objective) -> None:
    """Constraints first, all at once.

    Told FAIL, a trial teaches the sampler nothing: that is for crashes alone.
    """
    study = trial.study
    if record.outcome == "failed":
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        return
    known = trial.constraints
    for name, value in objective.constraints(record).items():
        if name not in known:
            trial.set_constraint(name, value)
    if record.trained and record.outcome != "stopped early":
        study.tell(trial, list(objective.values(record)), skip_if_finished=True)
        return
    step = len(rungs_of(record))
    if record.trained and len(objective.metrics) == 1 and step not in _frozen(trial).intermediate_values:
        # TPE ranks what was stopped below what was not, the longer trained first and then by this number.
        trial.report(objective.values(record)[0], step)
    study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)


def _frozen(trial: Trial) -> FrozenTrial:
    return trial.storage.get_trial(trial._trial_id)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel frees when the process ends, however it ends."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "an unknown process"
            raise StudyError(
                f"a study has one coordinator, but `{path.parent}` is held by {owner}: wait for it, or end it"
            ) from error
        file.truncate(0)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        file.write(f"process {os.getpid()} on {platform.node()} since {now}\n")
        file.flush()
        yield
        file.truncate(0)


def _claim(path: Path, asked: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Write what is asked, or compare it with what was asked; the study's identity.

    Raises `StudyError` with the difference.
    """
    if not path.is_file():
        identity = uuid4().hex
        draft = path.with_suffix(".draft")
        tables = {"asked": asked, "digests": digests, "study": {"identity": identity}}
        draft.write_text(_toml(tables), encoding="utf-8")
        draft.replace(path)
        return identity
    was = read_toml(path)
    _refuse(path.parent, _differences(was.get("asked", {}), asked, was.get("digests", {}), digests))
    return str(was.get("study", {}).get("identity", ""))


def _check_identity(ledger: Ledger, identity: str) -> None:
    """Refuse a study of the same name on a server that belongs to another folder."""
    if ledger.study.user_attrs.setdefault("identity", identity) != identity:
        raise StudyError(
            f"the database of `--storage` has a study `{ledger.folder.name}` already, which is not the one in "
            f"`{ledger.folder}`: give another `--study`"
        )
    ledger.study.set_user_attr("identity", identity)


def _refuse(folder: Path, changed: list[str]) -> None:
    if changed:
        listed = "\n".join(f"  {each}" for each in changed)
        raise StudyError(
            f"the study in `{folder}` was made with other inputs:\n{listed}\n"
            "Give the same ones to go on with it, or another `--study` to start anew."
        )


def _differences(was: Json, now: Mapping[str, Any], was_digests: Json, digests: Mapping[str, str]) -> list[str]:
    same = {name for name, digest in digests.items() if was_digests.get(name) == digest}
    # Another path to the same bytes is the same input.
    ignored = ({"model", "data"} if "inputs" in same else set()) | ({"space", "plugin"} & same)
    ignored |= {"teacher"} if "teachers" in same else set()
    ignored |= {"unlabelled", "start"} & same
    found = [
        f"`{name}` was {_shown(was.get(name))}, and is {_shown(now.get(name))}"
        for name in sorted({*was, *now} - ignored)
        if was.get(name) != now.get(name)
    ]
    meant = {
        "inputs": "the contents of model or data",
        "teachers": "what the teachers answer",
        "unlabelled": "the contents of the unlabelled text",
        "start": "the contents of the starting point",
        "space": "the contents of the search space",
        "plugin": "the contents of the plug-in",
    }
    for name in sorted({*was_digests} & {*digests} - same):
        found.append(f"{meant.get(name, name)}: digest was {_shown(was_digests.get(name))}, and is `{digests[name]}`")
    return found


def _shown(value: object) -> str:
    return "not given" if value is None else f"`{value}`"


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["# What this study was asked for. The same command goes on with it."]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        # A JSON string, number or boolean is one of TOML too.
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _given_up(trial: FrozenTrial) -> Record:
    return Record(
        recipe=tuple(trial.user_attrs.get("drawn", ())),
        draw=trial.user_attrs.get("draw", -1),
        outcome="failed",
        reason=f"its process ended {RESTARTS + 1} times during it: out of memory, or a crash in native code",
    )
