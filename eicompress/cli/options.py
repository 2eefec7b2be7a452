"""Options that several commands share, and how they print."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


def input_options(command: Command) -> Command:
    """How a data set and a task are named, the same for every command that reads them."""
    for option in reversed(
        [
            click.option("--task", metavar="NAME", help="Task; by default single texts, or pairs with --text-pair."),
            click.option("--text", metavar="COLUMN", help="Column of the text.  [text]"),
            click.option("--text-pair", metavar="COLUMN", help="Column of the second text of a pair."),
            click.option("--label", metavar="COLUMN", help="Column of the label.  [label]"),
        ]
    ):
        command = option(command)
    return command


def build_options(command: Command) -> Command:
    for option in reversed(
        [
            click.option("--threads", metavar="N", help="Threads that latency is measured with.  [1]"),
            click.option("--seq-len", metavar="N", help="Tokens that latency is measured with.  [the 95th percentile]"),
        ]
    ):
        command = option(command)
    return training_options(command)


def training_options(command: Command) -> Command:
    for option in reversed(
        [
            click.option("--seed", metavar="N", help="Seed of everything that is drawn.  [0]"),
            click.option(
                "--teacher-training",
                metavar="teach|probe|finetune",
                help="How a model without a head for the task gets one.  [teach]",
            ),
            click.option("--teacher-timeout", metavar="TIME", help="Time for that, apart from --timeout.  [30m]"),
            click.option(
                "--teacher",
                metavar="FOLDER",
                multiple=True,
                callback=lambda _, __, folders: folders or None,
                help="Folder of a fine-tuned classifier to learn from; may be repeated.  [the model]",
            ),
            click.option(
                "--ensemble",
                metavar="mean|weighted|best",
                help="How several teachers are combined.  [mean]",
            ),
            click.option(
                "--unlabelled",
                metavar="SOURCE",
                multiple=True,
                callback=lambda _, __, sources: sources or None,
                help="Text without labels to learn from: file, folder or hub name; may be repeated.",
            ),
            click.option("--start", metavar="FOLDER", help="What `prepare` wrote, or builtin:minilm-1.  [the model]"),
        ]
    ):
        command = option(command)
    return command


def plugin_options(command: Command) -> Command:
    for option in (
        click.option(
            "--only-plugins", metavar="NAMES", help='Plug-in packages that may load: a,b; "" for none.  [all]'
        ),
        click.option("--plugin", metavar="FILE", help="A plug-in in one file, for an experiment: my_strategy.py."),
    ):
        command = option(command)
    return command


def search_options(command: Command) -> Command:
    """What a search is asked for, the same for `plan`."""
    command = input_options(build_options(plugin_options(command)))
    for option in reversed(
        [
            click.option("--model", metavar="FOLDER", help="Folder of the fine-tuned model, or builtin:minilm."),
            click.option(
                "--data", metavar="DATA", help="Folder, file (JSONL, CSV, Parquet), hub name or builtin:docstrings."
            ),
            click.option("--budget", metavar="SIZE", help="Size of the whole artifact: 1.91MB, 2MiB, 500KB."),
            click.option("--latency", metavar="TIME", help="Latency (p50, batch 1) of one text: 2ms, 500us."),
            click.option("--memory", metavar="SIZE", help="Memory that the artifact adds to a process: 80MB."),
            click.option("--min-quality", metavar="SHARE", help="The least quality on validation: 0.9."),
            click.option("--timeout", metavar="TIME", help="Time for everything: 2h, 30m.  [2h without --trials]"),
            click.option("--trials", metavar="N", help="Candidates to train."),
            click.option("--stop-at", metavar="SHARE", help="Quality within budget at which the search ends: 0.95."),
            click.option("--from", "from_", metavar="STUDY|FOLDER", help="Recipes to try first."),
            click.option("--promotion-seeds", metavar="N", help="Seeds to rebuild the best with.  [3 if time allows]"),
            click.option("--study", metavar="NAME", help="Name of the study.  [the data's name]"),
            click.option("--studies", metavar="FOLDER", help="Folder of all studies.  [studies]"),
            click.option(
                "--objective",
                metavar="quality|reward|pareto:A,B",
                help="What is maximised, or two metrics to trade: pareto:quality,size_mb.  [quality]",
            ),
            click.option("--sampler", metavar="tpe|random", help="How recipes are drawn.  [tpe]"),
            click.option("--space", metavar="SPACE", help="Search space: a name, or a file.toml.  [edge, or start]"),
            click.option("--storage", metavar="URL", help="Database, as postgresql://user@host/name.  [a file]"),
            click.option("--workers", metavar="N", help="Processes that train; 0 for none but this one.  [1]"),
            click.option("--engine", metavar="local|ray", help="Where they run: here, or on a Ray cluster.  [local]"),
            click.option("--ray-address", metavar="ADDRESS", help="Of the cluster: auto, or host:6379.  [starts one]"),
            click.option("--worker-cpus", metavar="N", help="CPUs that Ray keeps for a worker.  [1]"),
            click.option("--worker-gpus", metavar="N", help="GPUs that Ray keeps for it, or a share of one.  [0]"),
            click.option(
                "--trial-timeout", metavar="TIME", help="Time for a candidate: 20m.  [half of --timeout, or 2h]"
            ),
            click.option("--trial-memory", metavar="SIZE", help="Memory for a candidate: 4GB.  [80 % of all, divided]"),
        ]
    ):
        command = option(command)
    return command


def console_of(to_stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=to_stderr)


def print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))
