"""The only door for what the user wrote, on the command line, in Python or in a `study.toml`."""

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from eicompress.errors import SpecError, nearest
from eicompress.values import MEGABYTE

SIZES = {"B": 1, "KB": 1_000, "MB": MEGABYTE, "GB": 10**9, "KiB": 1_024, "MiB": 1_048_576, "GiB": 2**30}
"""Bytes of each unit of size."""
LATENCIES = {"us": 0.001, "ms": 1.0, "s": 1_000.0}
"""Milliseconds of each unit of latency."""
TIMES = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
"""Seconds of each unit of time."""

DEFAULT_TIMEOUT = "2h"
TEACHER_TIMEOUT = 1_800.0
"""Seconds for training a teacher, where none is given."""
OBJECTIVES = ("quality", "reward", "pareto")
DEFAULT_FRONT = ("quality", "latency_ms")
UNITS = {"quality": "", "size_mb": "MB", "download_mb": "MB", "latency_ms": "ms", "memory_mb": "MB"}
"""Metrics that a search may trade, with their units."""
SAMPLERS = ("tpe", "random")
TEACHER_TRAININGS = ("teach", "probe", "finetune")
ENSEMBLES = ("mean", "weighted", "best")
ENGINES = ("local", "ray")
RAY_FLAGS = ("ray_address", "worker_cpus", "worker_gpus")
"""What only a Ray cluster is asked for."""
FLAGS = {"size_mb": "budget", "latency_ms": "latency", "memory_mb": "memory"}
"""What users call the metrics that have a budget."""
ROLES = ("text", "text_pair", "label")

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]+)")
_ADDRESS = re.compile(r"[\w.-]+:[0-9]{1,5}")
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Spec:
    """What a search was asked for, in plain units. Made by `read`, which checks it."""

    model: str
    data: str
    study: str
    studies: Path = Path("studies")
    size_mb: float | None = None
    latency_ms: float | None = None
    memory_mb: float | None = None
    min_quality: float | None = None
    objective: str = "quality"
    """`quality`, `reward`, or `pareto:` with the two metrics that are traded."""
    stop_at: float | None = None
    """Quality at which the search ends."""
    promotion_seeds: int | None = None
    from_: str = ""
    """A study, or a folder of recipes, to begin with; empty for none."""
    sampler: str = "tpe"
    trials: int | None = None
    timeout_s: float | None = None
    space: str = "edge"
    task: str = ""
    """Name of the task; empty to go by the columns."""
    text: str = "text"
    text_pair: str = ""
    label: str = "label"
    seed: int = 0
    seq_len: int | None = None
    threads: int = 1
    teacher_training: str = "teach"
    """How a model without a head for the task gets one."""
    teacher_timeout_s: float = TEACHER_TIMEOUT
    """For that, apart from `timeout_s`."""
    plugin: str = ""
    """A plug-in in one file; empty for none."""
    teacher: tuple[str, ...] = ()
    """Folders of the teachers; none for the model itself."""
    ensemble: str = "mean"
    """How several teachers speak as one."""
    unlabelled: tuple[str, ...] = ()
    """Files, folders and hub names of unlabelled text."""
    start: str = ""
    """A starting point: a folder that was prepared, or built in; empty for the model itself."""
    engine: str = "local"
    """Where workers run: `local`, or `ray`."""
    ray_address: str = ""
    """Of a Ray cluster; empty for one that is started here."""
    workers: int = 1
    worker_cpus: int = 1
    """What Ray keeps for each worker."""
    worker_gpus: float = 0.0
    trial_timeout_s: float | None = None
    trial_memory_mb: float | None = None
    storage: str = ""
    """URL of the database; empty for a file in the study's folder."""

    @property
    def folder(self) -> Path:
        return self.studies / self.study

    @property
    def task_name(self) -> str:
        return self.task or ("pair_classification" if self.text_pair else "classification")

    @property
    def columns(self) -> dict[str, str]:
        """Names of the columns, by role."""
        return {role: getattr(self, role) for role in ROLES if getattr(self, role)}

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is traded, or quality alone."""
        return (
            tuple(self.objective.partition(":")[2].split(",")) if self.objective.startswith("pareto") else ("quality",)
        )

    @property
    def budgets(self) -> dict[str, float]:
        """Upper bounds, by metric."""
        bounds = {"size_mb": self.size_mb, "latency_ms": self.latency_ms, "memory_mb": self.memory_mb}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    def to_toml(self) -> dict[str, str | int | float | list[str]]:
        """What a study is known by, in the words of the flags; trials, time, workers and place may change."""
        wanted = {each.name: getattr(self, each.name) for each in fields(self)}
        ends = ("trials", "timeout_s", "teacher_timeout_s", "stop_at", "promotion_seeds")
        place = ("engine", *RAY_FLAGS, "workers", "trial_timeout_s", "trial_memory_mb")
        for name in ("studies", "from_", *ends, *place, *FLAGS):
            wanted.pop(name)
        for name, flag in FLAGS.items():
            value = getattr(self, name)
            if value is not None:
                wanted[flag] = f"{_plain(value)}{UNITS[name]}"
        wanted["storage"] = without_password(self.storage)
        wanted |= {"teacher": list(self.teacher), "unlabelled": list(self.unlabelled)}
        return {name: value for name, value in wanted.items() if value not in (None, "", [])}


def read(written: Mapping[str, object]) -> Spec:
    """The spec that flags or a file describe; None stands for "not given". Raises `SpecError`."""
    given = {name: value for name, value in written.items() if value is not None}
    known = {each.name for each in fields(Spec)}
    known -= {*FLAGS, "timeout_s", "teacher_timeout_s", "trial_timeout_s", "trial_memory_mb"}
    known |= {*FLAGS.values(), "timeout", "teacher_timeout", "trial_timeout", "trial_memory"}
    for name in given:
        if name not in known:
            raise SpecError(f"there is no setting `{name}`: {nearest(name, known)}")
    for name in ("model", "data"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise SpecError(f"`--{name}` must name a {name}, but got {given.get(name)!r}: give a folder or a name")
    model, data = str(given["model"]), str(given["data"])
    if "teacher_training" in given:
        choice("--teacher-training", given["teacher_training"], TEACHER_TRAININGS)
    engine = choice("--engine", given.get("engine", "local"), ENGINES)
    for name in RAY_FLAGS:
        if name in given and engine != "ray":
            raise SpecError(f"`--{name.replace('_', '-')}` must come with `--engine ray`, but got none: add it")
    return Spec(
        model=model,
        data=data,
        study=study_name(given.get("study", _name_of(data))),
        studies=Path(str(given.get("studies", "studies"))),
        size_mb=_maybe(given, "budget", size_mb),
        latency_ms=_maybe(given, "latency", latency_ms),
        memory_mb=_maybe(given, "memory", memory_mb),
        min_quality=_maybe(given, "min_quality", lambda value: share("--min-quality", value)),
        objective=objective(given.get("objective", "quality")),
        stop_at=_maybe(given, "stop_at", lambda value: share("--stop-at", value)),
        promotion_seeds=_maybe(given, "promotion_seeds", lambda value: whole("--promotion-seeds", value, 1)),
        from_=_text(given, "from_", ""),
        sampler=choice("--sampler", given.get("sampler", "tpe"), SAMPLERS),
        trials=_maybe(given, "trials", lambda value: whole("--trials", value, 1)),
        timeout_s=_maybe(given, "timeout", seconds),
        space=_text(given, "space", "start" if given.get("start") else "edge"),
        task=_text(given, "task", ""),
        text=_text(given, "text", "text"),
        text_pair=_text(given, "text_pair", ""),
        label=_text(given, "label", "label"),
        seed=whole("--seed", given.get("seed", 0), 0),
        seq_len=_maybe(given, "seq_len", lambda value: whole("--seq-len", value, 1)),
        threads=whole("--threads", given.get("threads", 1), 1),
        teacher_training=_text(given, "teacher_training", "teach"),
        teacher_timeout_s=seconds(given.get("teacher_timeout", f"{TEACHER_TIMEOUT}s"), "--teacher-timeout"),
        plugin=_text(given, "plugin", ""),
        teacher=_texts(given, "teacher"),
        ensemble=choice("--ensemble", given.get("ensemble", "mean"), ENSEMBLES),
        unlabelled=_texts(given, "unlabelled"),
        start=_text(given, "start", ""),
        engine=engine,
        ray_address=ray_address(given.get("ray_address", "")),
        workers=whole("--workers", given.get("workers", 1), 1 if engine == "ray" else 0),
        worker_cpus=whole("--worker-cpus", given.get("worker_cpus", 1), 1),
        worker_gpus=gpus(given.get("worker_gpus", 0)),
        trial_timeout_s=_maybe(given, "trial_timeout", lambda value: seconds(value, "--trial-timeout")),
        storage=_text(given, "storage", ""),
        trial_memory_mb=_maybe(given, "trial_memory", lambda value: size_mb(value, "--trial-memory")),
    )


def read_search(written: Mapping[str, object]) -> Spec:
    """The spec of a search: it has a budget and an end. Raises `SpecError`."""
    endless = written.get("trials") is None and written.get("timeout") is None
    spec = read({**written, "timeout": DEFAULT_TIMEOUT} if endless else written)
    if spec.objective == "reward" and spec.latency_ms is None:
        raise SpecError("`--objective reward` must have a latency to aim at, but got none: add `--latency 2ms`")
    if not spec.budgets and len(spec.metrics) == 1:
        raise SpecError("a search must have a budget, but got none: add `--budget 2MB`, `--latency 2ms` or both")
    return spec


def read_study(folder: Path) -> dict[str, object]:
    """What a study was asked for, as `study.toml` in its folder says. Raises `SpecError`."""
    path = folder / "study.toml"
    if not path.is_file():
        raise SpecError(f"there is no study in `{folder}` (no `study.toml`): check its name, or start it")
    asked = read_toml(path).get("asked", {})
    assert isinstance(asked, dict)
    return {**asked, "study": folder.name, "studies": str(folder.parent)}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `SpecError` with the line where it does not parse."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"`{path}` must be TOML in UTF-8, but {error}") from error
    except OSError as error:
        raise SpecError(f"`{path}` must be a readable file, but {error.strerror}") from error


def size_mb(value: object, flag: str = "--budget") -> float:
    """Megabytes (10^6 bytes) of a size such as `1.91MB`, `2MiB` or `500KB`."""
    return _quantity(flag, value, SIZES, "1.91MB, 2MiB or 500KB") / MEGABYTE


def latency_ms(value: object) -> float:
    """Milliseconds of a latency such as `2ms`, `500us` or `1s`."""
    return _quantity("--latency", value, LATENCIES, "2ms, 500us or 1s")


def memory_mb(value: object) -> float:
    """Megabytes (10^6 bytes) of a size such as `80MB`."""
    return _quantity("--memory", value, SIZES, "80MB, 64MiB or 900KB") / MEGABYTE


def objective(value: object) -> str:
    """`quality`, `reward`, or `pareto:` with two metrics, quality first."""
    name, _, written = str(value).partition(":")
    choice("--objective", name, OBJECTIVES)
    if name != "pareto":
        return choice("--objective", value, OBJECTIVES)
    metrics = [each.strip() for each in written.split(",")] if written else list(DEFAULT_FRONT)
    for metric in metrics:
        choice("--objective", metric, tuple(UNITS))
    if len(set(metrics)) != 2 or len(metrics) != 2:
        raise SpecError(
            f"`--objective` must name two metrics to trade, but got `{value}`: write for example pareto:quality,size_mb"
        )
    return "pareto:" + ",".join(sorted(metrics, key=lambda metric: metric != "quality"))


def seconds(value: object, flag: str = "--timeout") -> float:
    """Seconds of a time such as `2h`, `30m`, `90s` or `1h30m`."""
    example = "2h, 30m, 90s or 1h30m"
    parts = _QUANTITY.findall(str(value))
    if len(parts) < 2 or "".join("".join(part) for part in parts) != str(value).replace(" ", ""):
        return _quantity(flag, value, TIMES, example)
    return sum(_quantity(flag, "".join(part), TIMES, example) for part in parts)


def study_name(value: object) -> str:
    """A name that is one folder and no path."""
    name = str(value)
    if not _STUDY_NAME.fullmatch(name):
        raise SpecError(
            "`--study` must be a name of letters, digits, `.`, `_` and `-`, without a path, "
            f"but got `{name}`: choose a name, and give the folder with `--studies`"
        )
    return name


def without_password(url: str) -> str:
    """The URL as it may be shown and kept: its driver looks for the password elsewhere too, as in `PGPASSWORD`."""
    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1@", url)


def choice(flag: str, value: object, known: tuple[str, ...]) -> str:
    if value not in known:
        raise SpecError(f"`{flag}` must be one of {', '.join(known)}, but got {value!r}: {nearest(str(value), known)}")
    return str(value)


def share(flag: str, value: object) -> float:
    """A number above 0 and at most 1, as a quality is."""
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 < number <= 1:
        raise SpecError(f"`{flag}` must be a quality above 0 and at most 1, but got `{value}`: write for example 0.95")
    return number


def ray_address(value: object) -> str:
    """`auto`, or host and port; empty for none."""
    if value and value != "auto" and not _ADDRESS.fullmatch(str(value)):
        raise SpecError(
            "`--ray-address` must be `auto`, or the host and port of a cluster that this machine is a node of, "
            f"but got `{value}`: write for example 10.0.0.1:6379"
        )
    return str(value)


def gpus(value: object) -> float:
    """How many GPUs: a whole number, or a share of one."""
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not (0 <= number <= 1 or (number > 1 and number.is_integer())):
        raise SpecError(f"`--worker-gpus` must be a whole number or a share of one GPU, but got `{value}`")
    return number


def whole(flag: str, value: object, least: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise SpecError(f"`{flag}` must be a whole number of at least {least}, but got `{value}`")
    return number


def _quantity(flag: str, value: object, units: Mapping[str, float], example: str) -> float:
    match = _QUANTITY.fullmatch(str(value).strip())
    by_lower = {unit.lower(): factor for unit, factor in units.items()}
    if not match or match[2].lower() not in by_lower:
        raise SpecError(
            f"`{flag}` must be a number above zero with a unit ({', '.join(units)}), but got `{value}`: "
            f"write for example {example}"
        )
    number = float(match[1]) * by_lower[match[2].lower()]
    if not (0 < number < math.inf):
        raise SpecError(f"`{flag}` must be above zero, but got `{value}`: write for example {example}")
    return number


def _maybe(given: Mapping[str, object], name: str, parse: Callable[[object], Parsed]) -> Parsed | None:
    return parse(given[name]) if name in given else None


def _text(given: Mapping[str, object], name: str, default: str) -> str:
    value = given.get(name, default)
    if not isinstance(value, str):
        raise SpecError(f"`{name}` must be a text, but got {value!r}")
    return value


def _texts(given: Mapping[str, object], name: str) -> tuple[str, ...]:
    """One text, or a list of them."""
    value = given.get(name, ())
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(each, str) and each for each in texts):
        raise SpecError(f"`{name}` must be a text or a list of texts, but got {value!r}")
    return tuple(texts)


def _name_of(data: str) -> str:
    """The study's name where none was given: the last part of the data's name."""
    last = re.split(r"[/\\:]", data.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last.split(".")[0]).strip("-.") or "study"


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
