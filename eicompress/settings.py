"""Every setting, declared once: its name, type, reader, default and help.

The command line, the arguments of the Python functions, `study.toml`, `Spec` and the reference page are made from it. A
setting is an entry of one of these groups; every command and function that takes the group takes the setting. Its type
is that of the Python argument. Its reader checks a value and returns its normal form, of the same type: `2MiB` as
`2.097152MB`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, TypedDict

from eicompress import parsing
from eicompress.declaration import Setting
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.parsing import LATENCIES, SIZES, TIMES, Bounds, quantities

SAMPLERS = ("tpe", "nsga2", "random")
TEACHER_TRAININGS = ("teach", "probe", "finetune")
ENSEMBLES = ("mean", "weighted", "best")
ENGINES = ("local", "ray")
LEAST_WITHIN_NOISE = {"smallest": SIZE, "fastest": LATENCY}
"""Objectives that hand out the candidate with the least of a metric that is not certainly worse than the best one."""

MOST = 2**31 - 1

TRIALS, ROWS, TRIAL, SEED = (partial(parsing.whole, bounds=Bounds(least, MOST)) for least in (1, 1, 0, 0))
REPEATS, PROCESSORS = (partial(parsing.whole, bounds=Bounds(1, most)) for most in (1_000, 1_024))
WORKERS, PORT = (partial(parsing.whole, bounds=Bounds(0, most)) for most in (1_024, 65_535))
TOKENS = partial(parsing.whole, bounds=Bounds(1, 100_000))
QUALITY_SHARE = partial(parsing.number, bounds=Bounds(0, 1, above=True), what="quality", example="0.95")
LENGTH = partial(parsing.number, bounds=Bounds(0, 1, above=True), what="share of the full training", example="0.25")
GPUS = partial(parsing.gpus, bounds=Bounds(0, 1_024))
BYTES, MEMORY = (partial(read, bounds=quantities(SIZES, "1B", "1000GB")) for read in (parsing.size, parsing.memory))
MILLISECONDS = partial(parsing.latency, bounds=quantities(LATENCIES, "1us", "1000s"))
TIME = partial(parsing.time, bounds=quantities(TIMES, "1s", "366d"))


def of_tasks(help: str, *, metavar: str = "COLUMN", default: str) -> Setting:
    """A setting that may be given for each of several tasks, as `NAME=VALUE`."""
    described = f"{help} NAME={metavar} for that of one of several tasks."
    return Setting(described, metavar, parsing.by_task, default, repeated=True)


class ModelFolder(TypedDict, total=False):
    """The model to compress."""

    model: Annotated[
        str | Path, Setting("Folder of the fine-tuned model, or builtin:minilm.", "FOLDER", parsing.path, is_path=True)
    ]


class Data(TypedDict, total=False):
    """The data."""

    data: Annotated[
        str | Path | Sequence[str | Path],
        Setting(
            "Folder, file (JSONL, CSV, Parquet), hub name or builtin:docstrings; NAME=DATA for each of several tasks.",
            "DATA",
            parsing.data,
            repeated=True,
            is_path=True,
        ),
    ]


class ModelAndData(ModelFolder, Data, total=False):
    """The model to compress, and its data."""


class LimitSettings(TypedDict, total=False):
    """What an artifact may take, and what it must reach."""

    budget: Annotated[str, Setting("Size of the whole artifact: 1.91MB, 2MiB, 500KB.", "SIZE", BYTES)]
    latency: Annotated[str, Setting("Latency (p50, batch 1) of one text: 2ms, 500us.", "TIME", MILLISECONDS)]
    memory: Annotated[str, Setting("Memory that the artifact adds to a process: 80MB.", "SIZE", MEMORY)]
    min_quality: Annotated[float, Setting("Lowest quality allowed on validation: 0.9.", "SHARE", QUALITY_SHARE)]
    limit: Annotated[
        Sequence[str],
        Setting("Limit on any metric, in its unit; may be repeated.", "NAME=VALUE", parsing.limits, repeated=True),
    ]


class GoalSettings(LimitSettings, total=False):
    """The goal of a search, and when it ends."""

    timeout: Annotated[
        str,
        Setting(
            "Time for the whole search: 2h, 30m.",
            "TIME",
            TIME,
            otherwise="2h without --trials",
            identifies=False,
        ),
    ]
    trials: Annotated[int, Setting("Candidates to train.", "N", TRIALS, identifies=False)]
    stop_at: Annotated[
        float,
        Setting("Quality within budget at which the search ends: 0.95.", "SHARE", QUALITY_SHARE, identifies=False),
    ]
    from_: Annotated[str | Path, Setting("Recipes to try first.", "STUDY|FOLDER", parsing.path, identifies=False)]
    promotion_seeds: Annotated[
        int, Setting("Seeds to rebuild the best with.", "N", REPEATS, otherwise="3 if time allows", identifies=False)
    ]
    study: Annotated[str, Setting("Name of the study.", "NAME", parsing.study_name, otherwise="the data's name")]


class StudiesFolder(TypedDict, total=False):
    """The folder of all studies."""

    studies: Annotated[
        str | Path, Setting("Folder of all studies.", "FOLDER", parsing.path, "studies", identifies=False)
    ]
    trust: Annotated[
        bool, Setting("Use plug-in and database of a study from elsewhere.", "", parsing.switch, identifies=False)
    ]


class MethodSettings(TypedDict, total=False):
    """How a search draws and judges candidates."""

    objective: Annotated[
        str,
        Setting(
            f"A metric to optimise, two to trade (pareto:{QUALITY},{SIZE}), or the smallest within noise of the best.",
            "NAME|smallest|fastest|reward|pareto:A,B",
            partial(parsing.objective, usual=(QUALITY, LATENCY)),
            QUALITY,
        ),
    ]
    sampler: Annotated[
        str, Setting("How recipes are drawn.", "tpe|nsga2|random", partial(parsing.choice, known=SAMPLERS), "tpe")
    ]
    space: Annotated[str, Setting("Search space: a name, or a file.toml.", "SPACE", otherwise="edge, or start")]
    storage: Annotated[
        str, Setting("Database, as postgresql://user@host/name.", "URL", parsing.storage, otherwise="a file")
    ]


class WorkerSettings(TypedDict, total=False):
    """Where candidates are trained, with limits of time and memory."""

    workers: Annotated[
        int, Setting("Processes that train; 0 trains in this process.", "N", WORKERS, 1, identifies=False)
    ]
    engine: Annotated[
        str,
        Setting(
            "Where workers run: here, or on a Ray cluster.",
            "local|ray",
            partial(parsing.choice, known=ENGINES),
            "local",
            identifies=False,
        ),
    ]
    ray_address: Annotated[
        str,
        Setting(
            "Address of the cluster: auto, or host:6379.",
            "ADDRESS",
            parsing.ray_address,
            otherwise="starts one",
            identifies=False,
        ),
    ]
    worker_cpus: Annotated[int, Setting("CPUs that Ray keeps for a worker.", "N", PROCESSORS, 1, identifies=False)]
    worker_gpus: Annotated[
        float, Setting("GPUs that Ray keeps for a worker; may be a fraction.", "N", GPUS, 0, identifies=False)
    ]
    trial_timeout: Annotated[
        str,
        Setting(
            "Time limit of a candidate: 20m.",
            "TIME",
            TIME,
            otherwise="half of --timeout, or 2h",
            identifies=False,
        ),
    ]
    trial_memory: Annotated[
        str,
        Setting(
            "Memory limit of a candidate: 4GB.",
            "SIZE",
            BYTES,
            otherwise="80 % of all, divided",
            identifies=False,
        ),
    ]


class TaskSettings(TypedDict, total=False):
    """How the data are read."""

    task: Annotated[
        str | Sequence[str], of_tasks("Task; by default chosen from columns and labels.", metavar="TASK", default="")
    ]
    text: Annotated[str | Sequence[str], of_tasks("Column of the text.", default="text")]
    text_pair: Annotated[str | Sequence[str], of_tasks("Column of the second text of a pair.", default="")]
    label: Annotated[str | Sequence[str], of_tasks("Column of the label.", default="label")]
    quality: Annotated[
        str, Setting("Quality to maximise, where the task has several: macro_f1, exact_match.", "NAME", default="")
    ]


class Rows(TypedDict, total=False):
    """How many rows are used."""

    rows: Annotated[
        int, Setting("Rows of train, and of validation, for a first look at large data.", "N", ROWS, otherwise="all")
    ]


class LatencySettings(TypedDict, total=False):
    """How latency is measured."""

    threads: Annotated[int, Setting("Threads that latency is measured with.", "N", PROCESSORS, 1)]
    seq_len: Annotated[
        int, Setting("Tokens that latency is measured with.", "N", TOKENS, otherwise="the 95th percentile")
    ]
    device: Annotated[str, Setting("Device that latency is measured on.", "NAME", default="this_machine")]


class Seed(TypedDict, total=False):
    """The seed."""

    seed: Annotated[int, Setting("Seed of all random numbers.", "N", SEED, 0)]


class TeacherSettings(TypedDict, total=False):
    """Teachers of the students, their text, and their starting point."""

    teacher_training: Annotated[
        str,
        Setting(
            "How a head is trained if the model has none.",
            "teach|probe|finetune",
            partial(parsing.choice, known=TEACHER_TRAININGS),
            "teach",
        ),
    ]
    teacher_timeout: Annotated[
        str,
        Setting(
            "Longest training of a teacher, besides --timeout.",
            "TIME",
            TIME,
            otherwise="30m, half of --timeout, or 0.6s for each of --rows, whichever is least",
            identifies=False,
        ),
    ]
    teacher: Annotated[
        str | Path | Sequence[str | Path],
        Setting(
            "Folder of a fine-tuned classifier to learn from; may be repeated. NAME=FOLDER for that of a task.",
            "FOLDER",
            parsing.texts,
            otherwise="the model",
            repeated=True,
            is_path=True,
        ),
    ]
    ensemble: Annotated[
        str,
        Setting(
            "How several teachers are combined.", "mean|weighted|best", partial(parsing.choice, known=ENSEMBLES), "mean"
        ),
    ]
    unlabelled: Annotated[
        str | Path | Sequence[str | Path],
        Setting(
            "Text without labels to learn from: file, folder or hub name; may be repeated.",
            "SOURCE",
            parsing.texts,
            repeated=True,
            is_path=True,
        ),
    ]
    start: Annotated[
        str | Path,
        Setting(
            "Folder from `prepare`, or builtin:minilm-1.", "FOLDER", parsing.path, otherwise="the model", is_path=True
        ),
    ]


class PluginSettings(TypedDict, total=False):
    """Which plug-ins load."""

    plugin: Annotated[
        str | Path,
        Setting("A plug-in in one file, for an experiment: my_strategy.py.", "FILE", parsing.path, is_path=True),
    ]
    only_plugins: Annotated[
        str, Setting('Plug-in packages that may load: a,b; "" for none.', "NAMES", otherwise="all", identifies=False)
    ]


class AblationSettings(TypedDict, total=False):
    """The variants of an ablation."""

    knob: Annotated[
        Sequence[str],
        Setting("Also try strategy.knob at its default, or strategy.knob=VALUE.", "KNOB", parsing.texts, repeated=True),
    ]
    seeds: Annotated[int, Setting("Trainings of each variant.", "N", REPEATS, 3)]
    fidelity: Annotated[float, Setting("Share of the full training: 0.25.", "SHARE", LENGTH)]


class PrepareSettings(TaskSettings, Rows, Seed, TeacherSettings, PluginSettings, total=False):
    """Settings of `prepare`."""


class CompressSettings(TaskSettings, Rows, Seed, TeacherSettings, LatencySettings, PluginSettings, total=False):
    """Settings of `compress`."""


class TeachSettings(TaskSettings, Rows, Seed, PluginSettings, total=False):
    """Settings of `teach`."""


class MeasureSettings(TaskSettings, LatencySettings, PluginSettings, total=False):
    """Settings of `measure` and `compare`."""


class ReplaySettings(StudiesFolder, PluginSettings, total=False):
    """Settings of `replay`."""


class PickSettings(LimitSettings, StudiesFolder, PluginSettings, total=False):
    """Settings of `pick`."""

    finish: Annotated[bool, Setting("Train the sub-network by itself, as `[[finish]]` says.", "", parsing.switch)]


class AblateSettings(AblationSettings, ModelAndData, StudiesFolder, PrepareSettings, total=False):
    """Settings of `ablate`."""


class SearchSettings(
    ModelAndData, GoalSettings, StudiesFolder, MethodSettings, WorkerSettings, CompressSettings, total=False
):
    """Settings of `search` and `plan`, which a study remembers."""
