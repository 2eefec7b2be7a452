"""The settings that a user gave, on the command line, in Python or in a `study.toml`, read and checked."""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eicompress.declaration import checked, declared, flag
from eicompress.errors import SpecError, listed, nearest, shortened
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.memory import MEMORY
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.parsing import NAMED, latency_ms, named_texts, seconds, size_mb, study_name
from eicompress.settings import LEAST_WITHIN_NOISE, PROCESSORS, SearchSettings

STUDY_FILE = "study.toml"
"""The file in a study's folder with the settings of the search."""
DEFAULT_TIMEOUT = "2h"
LONGEST_TEACHER_S = 1_800.0
"""Unless another time is named for the training of a teacher."""
TEACHER_S_PER_ROW = 0.6
"""The longest training of a teacher for a first look at some rows, in seconds a row."""
RAY_SETTINGS = ("ray_address", "worker_cpus", "worker_gpus")
"""Settings for a Ray cluster only."""
REQUIRED = {
    "model": "the folder of a model, or `builtin:minilm`",
    "data": "a folder, a file, a data set on the hub, or `builtin:docstrings`",
}
"""Settings that every command that reads data must have, and what they name."""
BY_TASK = ("task", "text", "text_pair", "label")
"""Settings that may be named for one of several tasks, NAME=VALUE."""
SHORT_FORMS = {"budget": SIZE, "latency": LATENCY, "memory": MEMORY, "min_quality": QUALITY}
"""Settings that are limits of a metric, with a unit of the user's choice."""


@dataclass(frozen=True)
class Spec:
    """The settings of one command, made and checked by `read`."""

    settings: SearchSettings
    """In their normal form, with the defaults of those that were not given."""

    @property
    def model(self) -> str:
        return str(self.settings["model"])

    @property
    def data(self) -> str:
        """As it is written; of several data sets all of them."""
        return ", ".join(self._all("data"))

    @property
    def tasks(self) -> dict[str, str]:
        """The data set of each of several tasks, by the task's name; empty where the data has no name."""
        return named_texts(self._all("data"), "--data")

    @property
    def task(self) -> str:
        """The name of the task; empty where the data are to say it."""
        return self._of("task", "")

    def of_task(self, name: str) -> "Spec":
        """The same for one of the tasks alone, with its data, and with what is named for it.

        Raises `SpecError` for a kind of task that is named for all of them.
        """
        if self.task:
            raise SpecError(
                f"`--task` must have the name of one of the tasks, as `--task {name}={self.task}`, where each `--data` "
                f"has one, but got `{self.task}`: write for which task it is, or leave it out"
            )
        own = {setting: self._of(setting, name) for setting in BY_TASK}
        return Spec({**self.settings, **own, "data": self.tasks[name]})  # type: ignore[typeddict-item]

    def _of(self, setting: str, task: str) -> str:
        """What a setting of `BY_TASK` says of a task: under its name, else for all of them; without a name, for all."""
        value: str | tuple[str, ...] = self.settings[setting]  # type: ignore[literal-required]
        if isinstance(value, str) and not self.tasks:
            return value
        given = (value,) if isinstance(value, str) else value
        plain = [each for each in given if not NAMED.fullmatch(each)]
        return named_texts(given, flag(setting)).get(task, "".join(plain))

    def _all(self, setting: str) -> tuple[str, ...]:
        """What a setting that may be repeated says; empty where it is not given."""
        value: str | tuple[str, ...] = self.settings.get(setting, ())  # type: ignore[assignment]
        return (value,) if isinstance(value, str) else tuple(value)

    @property
    def teachers(self) -> tuple[str, ...]:
        """Folders of the models to learn from; empty for the model itself."""
        return self._all("teacher")

    @property
    def teachers_of_tasks(self) -> dict[str, str]:
        """The folder of each task's own teacher, by the task's name; empty where none has a name."""
        return named_texts(self.teachers, "--teacher")

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Where text without labels comes from."""
        return self._all("unlabelled")

    @property
    def start(self) -> str:
        """The starting point of every recipe; empty for the model."""
        return str(self.settings.get("start", ""))

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    @property
    def rows(self) -> int | None:
        """Rows that are drawn of train and of validation; None for all."""
        return self.settings.get("rows")

    @property
    def plugin(self) -> str | None:
        """A plug-in in one file."""
        return str(self.settings.get("plugin", "")) or None

    @property
    def study(self) -> str:
        return self.settings["study"]

    @property
    def studies(self) -> Path:
        return Path(self.settings["studies"])

    @property
    def folder(self) -> Path:
        return self.studies / self.study

    @property
    def timeout_s(self) -> float | None:
        """Seconds for everything except the training of a teacher."""
        timeout = self.settings.get("timeout")
        return None if timeout is None else seconds(timeout)

    @property
    def teacher_s(self) -> float:
        """Most seconds for the training of a teacher."""
        named = self.settings.get("teacher_timeout")
        if named:
            return seconds(named)
        return min(LONGEST_TEACHER_S, TEACHER_S_PER_ROW * (self.rows or math.inf), (self.timeout_s or math.inf) / 2)

    @property
    def columns(self) -> dict[str, str]:
        """Names of the columns, by role."""
        names = {role: self._of(role, "") for role in ("text", "text_pair", "label")}
        return {role: name for role, name in names.items() if name}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the objective: one, or two that are traded."""
        kind, _, traded = self.settings["objective"].partition(":")
        if kind in LEAST_WITHIN_NOISE:
            return QUALITY, LEAST_WITHIN_NOISE[kind]
        return tuple(traded.split(",")) if kind == "pareto" else (QUALITY,) if kind == "reward" else (kind,)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every metric that a limit or the objective names."""
        return tuple(dict.fromkeys((*self.budgets, *self.metrics)))

    @property
    def budgets(self) -> dict[str, float]:
        return budgets_of(self.settings)

    def to_toml(self) -> dict[str, str | int | float | list[str]]:
        """The settings that identify a study, named as the flags are; trials, time, workers and place may change."""
        known = {name for name, setting in declared(SearchSettings).items() if setting.identifies}
        wanted: dict[str, Any] = {name: value for name, value in self.settings.items() if name in known}
        wanted |= {name: list(value) for name, value in wanted.items() if isinstance(value, tuple)}
        return {name: value for name, value in wanted.items() if value not in ("", [])}


def budgets_of(settings: Mapping[str, Any]) -> dict[str, float]:
    """Limits by metric: upper bounds of what is minimised, lower ones of what is maximised. Raises `SpecError` for two
    of one metric.
    """
    size, latency, memory = (settings.get(name) for name in ("budget", "latency", "memory"))
    short = {
        SIZE: None if size is None else size_mb(size),
        LATENCY: None if latency is None else latency_ms(latency),
        MEMORY: None if memory is None else size_mb(memory),
        QUALITY: settings.get("min_quality"),
    }
    named = (each.partition("=") for each in settings.get("limit", ()))
    known = {name: bound for name, bound in short.items() if bound is not None}
    limits = {name: float(bound) for name, _, bound in named}
    for setting, name in SHORT_FORMS.items():
        if name in known and name in limits:
            raise SpecError(f"`{flag(setting)}` must be the only limit of `{name}`, but `--limit` has one too")
    return known | limits


def read(written: Mapping[str, object]) -> Spec:
    """The spec that flags or a file describe; None stands for "not given". Raises `SpecError`."""
    given = {name: value for name, value in written.items() if value is not None}
    settings = checked(SearchSettings, given)
    for name, what in REQUIRED.items():
        if not given.get(name):
            raise SpecError(f"`--{name}` must name {what}, but got none: add it")
    if settings["engine"] == "ray":
        PROCESSORS(settings["workers"], "--workers")
    else:
        for name in RAY_SETTINGS:
            if name in given:
                raise SpecError(f"`{flag(name)}` must come with `--engine ray`, but got none: add it")
    spec = Spec(settings)
    budgets_of(settings)
    _check_tasks(spec)
    settings.setdefault("study", study_name("-".join(spec.tasks)[:100] or _name_of(spec.data)))
    settings.setdefault("space", "start" if settings.get("start") else "edge")
    return spec


def read_search(written: Mapping[str, object]) -> Spec:
    """The spec of a search: it has a budget and an end. Raises `SpecError`."""
    endless = written.get("trials") is None and written.get("timeout") is None
    spec = read({**written, "timeout": DEFAULT_TIMEOUT} if endless else written)
    if spec.settings["objective"] == "reward" and LATENCY not in spec.budgets:
        raise SpecError("`--objective reward` must have a latency to aim at, but got none: add `--latency 2ms`")
    if spec.settings["objective"] in LEAST_WITHIN_NOISE and spec.settings.get("stop_at") is not None:
        raise SpecError(
            f"`--objective {spec.settings['objective']}` must see how good the best is, but `--stop-at` ends the "
            "search at the first candidate that is good enough: leave one of them out"
        )
    if not {*spec.budgets} - {*spec.metrics} and len(spec.metrics) == 1:
        raise SpecError(
            f"a search must have a budget (a limit on something else than {spec.metrics[0]}), but got none: add "
            "`--budget 2MB`, `--latency 2ms` or both"
        )
    return spec


def read_study(folder: Path) -> dict[str, object]:
    """The spec in the `study.toml` of a study's folder. Raises `SpecError`."""
    if not (folder / STUDY_FILE).is_file():
        raise SpecError(f"there is no study in `{folder}` (no `{STUDY_FILE}`): check its name, or start it")
    return {**read_study_file(folder)["asked"], "study": folder.name, "studies": str(folder.parent)}


def read_study_file(folder: Path) -> dict[str, dict[str, Any]]:
    """The tables of a study's `study.toml`: `asked`, `digests` and `study`, empty where they are not there.

    Raises `SpecError`, also for a setting that no study is known by: where a search runs is not the file's to say.
    """
    path = folder / STUDY_FILE
    found = read_toml(path)
    tables = {name: found.get(name, {}) for name in ("asked", "digests", "study")}
    for name, table in tables.items():
        if not isinstance(table, dict):
            came = shortened(repr(table))
            raise SpecError(f"`{path}` must have `[{name}]` as a table, but got {came}: put a copy of the file back")
    settings = declared(SearchSettings)
    for name in tables["asked"]:
        if name not in settings or not settings[name].identifies:
            raise SpecError(
                f"`{path}` must have only settings that a study is known by under `[asked]`, but has `{name}`: remove "
                "it from there, and give it on the command line"
            )
    return tables


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, of texts, finite numbers and truth values. Raises `SpecError` with the line where it
    does not parse."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=_finite)
        json.dumps(tables, default=_no_moment)
        return tables
    except RecursionError as error:
        raise SpecError(f"`{path}` must be TOML, but brackets lie too deep within brackets in it") from error
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise SpecError(f"`{path}` must be TOML in UTF-8, but {error}") from error
    except OSError as error:
        raise SpecError(f"`{path}` must be a readable file, but: {error.strerror}") from error


def _finite(written: str) -> float:
    if not math.isfinite(number := float(written)):
        raise ValueError(f"a number in it is not finite: {written}")
    return number


def _no_moment(value: object) -> None:
    raise ValueError(f"a date or a time has no place in it: {value}")


def _check_tasks(spec: Spec) -> None:
    """Raise `SpecError` for what is named for a task that has no data."""
    for setting in BY_TASK:
        value: str | tuple[str, ...] = spec.settings[setting]  # type: ignore[literal-required]
        if not spec.tasks and not isinstance(value, str):
            raise SpecError(
                f"`{flag(setting)}` must be given once where `--data` has no name of a task, but got {listed(value)}"
            )
        for name in named_texts([value] if isinstance(value, str) else value, flag(setting)) if spec.tasks else ():
            if name not in spec.tasks:
                raise SpecError(
                    f"`{flag(setting)}` must be for one of the tasks, but got `{name}`: {nearest(name, spec.tasks)}"
                )


def _name_of(data: str) -> str:
    """The study's name where none was given: the last part of the data's name."""
    last = re.split(r"[/\\:]", data.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last.split(".")[0]).strip("-.") or "study"
