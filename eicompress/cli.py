"""The command line: parse, call, print."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eicompress.errors import EicompressError, SpecError

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
WRONG = 2
BROKEN = 1

Command = TypeVar("Command", bound=Callable[..., Any])


class InOrder(click.Group):
    """A group that lists its commands in the order in which one comes to need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"max_content_width": 80, "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eicompress")
def cli() -> None:
    """Compress a fine-tuned language model to a 1-2 MB ONNX artifact.

    \b
    eicompress search --model my-model --data my-data --budget 1.91MB
    eicompress predict studies/my-data/artifacts/trial-0007 "book me a flight"
    """


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command; its exit status: 0, 1 for a broken claim, 2 for what is the user's to mend, 130 for a stop."""
    try:
        # With `standalone_mode` off, an early end such as `--help` is a returned status.
        status = cli.main(list(arguments), prog_name="eicompress", standalone_mode=False)
    except EicompressError as error:
        click.echo(f"error: {error}", err=True)
        return WRONG
    except click.ClickException as error:
        error.show()
        return WRONG
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: what was recorded is kept, and the same command goes on", err=True)
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _input_options(command: Command) -> Command:
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


def _build_options(command: Command) -> Command:
    for option in reversed(
        [
            click.option("--threads", metavar="N", help="Threads that latency is measured with.  [1]"),
            click.option("--seq-len", metavar="N", help="Tokens that latency is measured with.  [the 95th percentile]"),
        ]
    ):
        command = option(command)
    return _training_options(command)


def _training_options(command: Command) -> Command:
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


def _plugin_options(command: Command) -> Command:
    for option in (
        click.option(
            "--only-plugins", metavar="NAMES", help='Plug-in packages that may load: a,b; "" for none.  [all]'
        ),
        click.option("--plugin", metavar="FILE", help="A plug-in in one file, for an experiment: my_strategy.py."),
    ):
        command = option(command)
    return command


def _search_options(command: Command) -> Command:
    """What a search is asked for, the same for `plan`."""
    command = _input_options(_build_options(_plugin_options(command)))
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


@cli.command()
@_search_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def search(as_json: bool, **written: Any) -> None:
    """Search for the best artifact within budget.

    Every candidate is previewed first; what is over budget is never trained. The last part of the time goes into
    rebuilding the best at full length. Ctrl-C loses nothing: the same command goes on, and with more --trials or a
    longer --timeout a finished study goes on too.

    \b
    eicompress search --model my-model --data my-data --budget 1.91MB
    eicompress search --model builtin:minilm --data builtin:docstrings \\
                      --budget 2MB --timeout 8m
    eicompress search --study my-data --timeout 4h
    """
    from eicompress import api
    from eicompress.reporting import live_view, tables

    console = _console(as_json)
    plan = api.planned(written)
    spec = plan.spec
    live_view.show_plan(console, spec, plan.space)
    with live_view.Screen(console, f"study {spec.study}", spec.trials, spec.timeout_s) as live:
        result = api.run(plan, live.show, live.preparing)
    if as_json:
        _print_json(result.to_json())
    else:
        tables.show_result(console, result)


@cli.command()
@_search_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def plan(as_json: bool, **written: Any) -> None:
    """Tell what a search can reach, before it runs.

    How many random recipes are within budget, how small an artifact can get, how long a training takes here, and what
    --timeout or --trials will buy. What the model and simple baselines reach stands first. Nothing else is trained but
    a teacher, where the model has no head for the task.

    \b
    eicompress plan --model my-model --data my-data --budget 1.91MB
    eicompress plan --study my-data --timeout 4h
    """
    from eicompress import api
    from eicompress.reporting import live_view

    console = _console(as_json)
    asked = api.planned(written)
    live_view.show_plan(console, asked.spec, asked.space)
    with live_view.Screen(console, f"plan {asked.spec.study}") as live:
        found = api.foreseen(asked, live.preparing, live.show)
    if as_json:
        _print_json(found.to_json())
    else:
        live_view.show_forecast(console, found, asked.spec)


@cli.command()
@click.option("--model", metavar="FOLDER", help="Folder of the model, or builtin:minilm.")
@click.option("--data", metavar="DATA", help="Folder, file (JSONL, CSV, Parquet), hub name or builtin:docstrings.")
@click.option("--output", metavar="FOLDER", default="teacher", help="New folder to write.  [teacher]")
@click.option("--timeout", metavar="TIME", help="Time for everything: 30m, 2h.  [30m]")
@click.option("--members", metavar="N", default=1, help="Teachers that students learn from together.  [1]")
@_input_options
@click.option("--seed", metavar="N", help="Seed of everything that is drawn.  [0]")
@_plugin_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def teach(as_json: bool, **written: Any) -> None:
    """Train the best teacher for the data.

    What comes out of a search is hardly better than its teacher. A linear classifier on the model's states comes
    first, then all weights are trained, at several rates and lengths. What is best on held-out training rows is trained
    again on all of them. Ctrl-C loses nothing that was tried: the same command goes on. Every command takes the folder
    as --model or --teacher.

    \b
    eicompress teach --model builtin:minilm --data my-data --output my-teacher
    eicompress search --model my-teacher --data my-data --budget 1MB
    """
    from eicompress import api
    from eicompress.reporting import live_view, tables

    console = _console(as_json)
    with live_view.Screen(console, "teach") as live:
        lesson = api.teach(**written, on_attempt=live.attempted, on_progress=live.preparing)
    if as_json:
        _print_json(tables.lesson_json(lesson))
    else:
        tables.show_lesson(console, lesson)


@cli.command()
@click.argument("study")
@click.option("--trial", metavar="N", type=int, help="One trial, with its recipe.")
@click.option("--studies", metavar="FOLDER", default="studies", help="Folder of all studies.  [studies]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def show(study: str, trial: int | None, studies: str, as_json: bool) -> None:
    """Show what a study has found, also while it runs.

    \b
    eicompress show my-data
    eicompress show my-data --trial 7
    eicompress show my-data --json
    """
    from eicompress import api
    from eicompress.reporting import tables

    result = api.show(study, studies=studies)
    if trial is None:
        if as_json:
            _print_json(result.to_json())
        else:
            tables.show_study(_console(False), result)
        return
    record = result.promoted.get(trial) or result.records.get(trial)
    if record is None:
        known = len(result.records)
        raise SpecError(f"`--trial` must be the number of a trial that ended, but got {trial}: {known} ended so far")
    if as_json:
        _print_json({"trial": trial, **record.to_json()})
    else:
        tables.show_trial(_console(False), trial, record)


@cli.command()
@click.argument("study")
@click.option("--output", metavar="PATH", help="File to write.  [report.html in the study's folder]")
@click.option("--png", metavar="FOLDER", help="Write each figure as PNG too; needs Chromium.")
@click.option("--studies", metavar="FOLDER", default="studies", help="Folder of all studies.  [studies]")
def report(study: str, output: str | None, png: str | None, studies: str) -> None:
    """Write a study as one HTML file, also while it runs.

    It needs no network and loads no model. A search writes it when it ends.

    \b
    eicompress report my-data
    eicompress report my-data --output my-data.html --png figures
    """
    from eicompress import api

    click.echo(str(api.report(study, output=output, png=png, studies=studies)))


@cli.command()
@click.argument("study")
@click.option("--port", metavar="N", type=int, default=8080, help="Port on this machine; 0 for a free one.  [8080]")
@click.option("--studies", metavar="FOLDER", default="studies", help="Folder of all studies.  [studies]")
def dashboard(study: str, port: int, studies: str) -> None:
    """Look at a study in Optuna's dashboard, also while it runs.

    It serves a copy on 127.0.0.1 and follows the search: nothing that is done
    there changes the study. Each trial has a note, its recipe, and its artifact
    to download. Needs pip install 'eicompress[dashboard]'.

    \b
    eicompress dashboard my-data
    eicompress dashboard my-data --port 8081
    """
    from eicompress import api

    server = api.dashboard(study, port=port, studies=studies)
    click.echo(f"http://127.0.0.1:{server.server_port}/dashboard/studies/0  (Ctrl-C ends it)")
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()


@cli.command()
@click.argument("artifact")
@click.argument("texts", nargs=-1, metavar="TEXT...")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def predict(artifact: str, texts: tuple[str, ...], as_json: bool) -> None:
    """Print the label of each TEXT, or of each line of stdin.

    A line of output is label, confidence and text.
    A pair of texts is one TEXT with a tab between the two.
    A text that is longer than the model reads is cut, with a note on stderr.

    \b
    eicompress predict studies/my-data/artifacts/trial-0007 "book me a flight"
    eicompress predict my-artifact < texts.txt
    """
    from eicompress import api

    model = api.load(artifact)
    if not model.checked:
        click.echo("note: no manifest lies beside the artifact, so its files are unchecked", err=True)
    for place, text in enumerate(texts or (line.rstrip("\r\n") for line in sys.stdin), start=1):
        sides = [_sides(text, model.pairs)]
        (found,), (length,) = model.predict(sides), model.lengths(sides)
        if length.cut:
            click.echo(f"note: text {place} is cut: {length.read} of its {length.tokens} tokens were read", err=True)
        if as_json:
            click.echo(json.dumps({"text": text, **vars(found)}, ensure_ascii=False))
        else:
            click.echo(f"{found.label}\t{found.confidence:.3f}\t{text}")


@cli.command()
@click.argument("artifact")
@click.option("--data", metavar="DATA", help="Data to measure the quality on; its test split if it has one.")
@_input_options
@click.option("--threads", metavar="N", type=int, default=1, help="Threads that latency is measured with.  [1]")
@click.option("--seq-len", metavar="N", type=int, help="Tokens that latency is measured with.  [16, 64 and 128]")
@_plugin_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def measure(artifact: str, as_json: bool, **written: Any) -> None:
    """Measure an artifact: size, latency, and quality on data.

    \b
    eicompress measure my-artifact --data my-data
    eicompress measure my-artifact --seq-len 32 --threads 2 --json
    """
    from eicompress import api
    from eicompress.reporting import tables

    measured = api.measure(artifact, **written)
    if as_json:
        _print_json({"artifact": artifact, "measurements": [vars(each) for each in measured]})
    else:
        tables.show_measurements(_console(False), measured)


@cli.command()
@click.argument("artifacts", nargs=-1, metavar="ARTIFACT...")
@click.option("--data", metavar="DATA", required=True, help="Data to compare on; its test split if it has one.")
@_input_options
@click.option("--threads", metavar="N", type=int, default=1, help="Threads that latency is measured with.  [1]")
@click.option("--seq-len", metavar="N", type=int, help="Tokens that latency is measured with.  [the 95th percentile]")
@click.option("--output", metavar="PATH", help="A page to draw it on, such as comparison.html.")
@_plugin_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def compare(artifacts: tuple[str, ...], as_json: bool, **written: Any) -> None:
    """Compare artifacts with the first one, on the same data.

    Differences in quality have a 95 % interval, from a bootstrap over the texts,
    and the p-value of McNemar's test: how often chance alone does as much.

    \b
    eicompress compare small large --data my-data
    eicompress compare small large --data my-data --output comparison.html
    """
    from eicompress import api
    from eicompress.reporting import tables

    found = api.compare(artifacts, **written)
    if as_json:
        _print_json(found.to_json())
    else:
        tables.show_comparison(_console(False), found)
        if written["output"]:
            click.echo(f"drawn in {written['output']}")


@cli.command()
@click.argument("artifact")
@click.option("--to", metavar="zip|hf", default="zip", help="One zip, or a folder for the model hub.  [zip]")
@click.option("--output", metavar="PATH", help="What to write.  [ARTIFACT.zip or ARTIFACT-hf]")
def export(artifact: str, to: str, output: str | None) -> None:
    """Write an artifact as a checked zip, or for the model hub.

    The zip holds the artifact's files and nothing else. The folder has the model
    card too, README.md with the hub's metadata; its licence is for you to choose.

    \b
    eicompress export studies/my-data/artifacts/trial-0007 --to zip
    eicompress export my-artifact --to hf --output my-model
    """
    from eicompress import api

    path = api.pack(artifact, to=to, output=output)
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    click.echo(f"{path}  {sum(each.stat().st_size for each in files) / 1e6:.3f} MB")


@cli.command()
@click.option("--model", metavar="FOLDER", help="Folder of the fine-tuned model, or builtin:minilm.")
@click.option("--data", metavar="DATA", help="Folder, file (JSONL, CSV, Parquet), hub name or builtin:docstrings.")
@click.option("--recipe", metavar="FILE", help="File with [[steps]]; `show STUDY --trial N` prints one.")
@click.option("--trial", nargs=2, metavar="STUDY NUMBER", help="Build this trial again.")
@click.option("--output", metavar="PATH", default="artifact", help="Folder of the artifact.  [artifact]")
@click.option("--studies", metavar="FOLDER", default="studies", help="Folder of all studies, for --trial.  [studies]")
@_input_options
@_build_options
@_plugin_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def compress(
    recipe: str | None, trial: tuple[str, str] | None, output: str, studies: str, as_json: bool, **written: Any
) -> None:
    """Build one recipe without a search, or a study's trial again.

    \b
    eicompress compress --model my-model --data my-data --recipe recipe.toml
    eicompress compress --trial my-data 7 --output again
    """
    from eicompress import api
    from eicompress.reporting import live_view, tables

    if (recipe is None) == (trial is None):
        raise SpecError("`compress` must be given either `--recipe FILE` or `--trial STUDY NUMBER`")
    console = _console(as_json)
    differences: tuple[str, ...] = ()
    with live_view.Screen(console, "compress") as live:
        if trial is not None:
            replayed = api.replay(
                trial[0],
                _number(trial[1]),
                output=output,
                studies=studies,
                plugin=written["plugin"],
                only_plugins=written["only_plugins"],
                on_progress=live.preparing,
            )
            record, differences = replayed.record, replayed.differences
        elif recipe is not None:
            record = api.compress(recipe=recipe, output=output, on_progress=live.preparing, **written)
    if as_json:
        _print_json({**record.to_json(), "differences": list(differences)})
        return
    tables.show_artifact(console, record)
    if trial is not None:
        console.print("the same bytes as the first time" if not differences else "\n".join(differences))


@cli.command()
@click.option("--model", metavar="FOLDER", help="Folder of the fine-tuned model, or builtin:minilm.")
@click.option("--data", metavar="DATA", help="Folder, file (JSONL, CSV, Parquet), hub name or builtin:docstrings.")
@click.option("--recipe", metavar="FILE", required=True, help="File with [[steps]].")
@click.option("--output", metavar="PATH", required=True, help="New folder to write.")
@_input_options
@_training_options
@_plugin_options
def prepare(**written: Any) -> None:
    """Train a student that studies can start from.

    Studies of the same model, or of one of the same shape that was fine-tuned on another task, start their recipes
    from it, with their own model's head.

    \b
    eicompress prepare --model my-model --data my-data --recipe general.toml \\
                       --unlabelled my-text.txt --output starts/general
    eicompress search --model my-model --data my-data --budget 1MB \\
                      --start starts/general --space after-general.toml
    """
    from eicompress import api
    from eicompress.reporting import live_view

    console = _console(False)
    with live_view.Screen(console, "prepare") as live:
        path = api.prepare(**written, on_progress=live.preparing)
    console.print(f"a starting point lies in {path}", highlight=False, markup=False, soft_wrap=True)


@cli.command()
@click.argument("study", required=False)
@click.argument("trial", required=False, type=int)
@click.option("--recipe", metavar="FILE", help="File with [[steps]], in place of a study's trial.")
@click.option("--model", metavar="FOLDER", help="With --recipe: folder of the model, or builtin:minilm.")
@click.option("--data", metavar="DATA", help="With --recipe: folder, file, hub name or builtin:docstrings.")
@click.option(
    "--knob", multiple=True, metavar="KNOB", help="Also try strategy.knob at its default, or strategy.knob=VALUE."
)
@click.option("--seeds", metavar="N", type=click.IntRange(1), default=3, help="Trainings of each variant.  [3]")
@click.option(
    "--fidelity", metavar="SHARE", type=click.FloatRange(0, 1, min_open=True), help="Share of the full training."
)
@click.option("--output", metavar="PATH", help="File for the table, .md and .json.  [in the study]")
@click.option("--studies", metavar="FOLDER", default="studies", help="Folder of all studies.  [studies]")
@_input_options
@_training_options
@_plugin_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def ablate(knob: tuple[str, ...], as_json: bool, **written: Any) -> None:
    """Tell what each step of a recipe is worth.

    The recipe is built again without each of its steps, with several seeds, and with each --knob at its default or
    at another value. The table says what is lost, with an interval, on the validation split. Ctrl-C loses nothing:
    the same command goes on. A trial is trained as long as in its study, a recipe at full length, unless --fidelity
    says otherwise.

    \b
    eicompress ablate my-data 7
    eicompress ablate my-data 7 --knob distillation.state_weight=1 --seeds 5
    eicompress ablate --model my-model --data my-data --recipe recipe.toml
    """
    from eicompress import api
    from eicompress.reporting import live_view, tables
    from eicompress.study.coordinator import Noticed

    console = _console(as_json)
    with live_view.Screen(console, "ablate") as live:
        found = api.ablate(
            **written,
            knobs=knob,
            on_built=lambda built: live.show(Noticed(built.line())),
            on_progress=live.preparing,
        )
    if as_json:
        _print_json(found.to_json())
    else:
        tables.show_ablation(console, found)


@cli.group()
def plugins() -> None:
    """List, show, check or write plug-ins.

    \b
    eicompress plugins list
    eicompress plugins show distillation
    """


@plugins.command("list")
@_plugin_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_plugins(plugin: str | None, only_plugins: str | None, as_json: bool) -> None:
    """List strategies, tasks, metrics, and broken plug-ins.

    \b
    eicompress plugins list
    """
    from eicompress.plugins import discover
    from eicompress.reporting import tables

    registry = discover(plugin, only_plugins)
    if as_json:
        _print_json(tables.plugins_json(registry))
    else:
        tables.show_plugins(_console(False), registry)


@plugins.command("show")
@click.argument("name")
@_plugin_options
def show_plugin(name: str, plugin: str | None, only_plugins: str | None) -> None:
    """Show a strategy's knobs, domains and defaults, or a task or metric.

    \b
    eicompress plugins show distillation
    """
    from eicompress.plugins import discover
    from eicompress.reporting import tables

    tables.show_plugin(_console(False), discover(plugin, only_plugins), name)


@plugins.command("check")
@click.argument("name")
@click.option("--knob", "knobs", multiple=True, metavar="KNOB=VALUE", help="Value to try a strategy with: layers=1.")
@click.option("--skip", metavar="CLAIM", multiple=True, help="A claim to leave out, and why: CLAIM: REASON.")
@_plugin_options
def check_plugin(
    name: str, knobs: tuple[str, ...], skip: tuple[str, ...], plugin: str | None, only_plugins: str | None
) -> int:
    """Check that a strategy, task or metric keeps its contract.

    Claim by claim, on a tiny model; the exit status is 1 if one is broken.

    \b
    eicompress plugins check distillation
    eicompress plugins check my_strategy --plugin my_strategy.py
    eicompress plugins check svd --knob share=0.5 \\
                             --skip "uses no pickle: its library does"
    """
    from eicompress.plugins import discover
    from eicompress.testing.verdicts import claims_of, read_knobs, read_skip, show_verdicts

    claims = claims_of(discover(plugin, only_plugins), name, knobs=read_knobs(knobs), skip=read_skip(skip))
    return BROKEN if show_verdicts(_console(False), claims) else 0


@plugins.command("new")
@click.argument("name")
@click.option("--into", metavar="FOLDER", default=".", help="Folder to write it in.  [.]")
def new_plugin(name: str, into: str) -> None:
    """Write a plug-in package to start from.

    It has one strategy, its test and its README, and works as it is.

    \b
    eicompress plugins new weak-neurons
    """
    from eicompress.plugins import discover
    from eicompress.testing.template import write_package

    folder = write_package(name, Path(into), discover().strategies)
    for path in sorted(folder.iterdir()):
        click.echo(path)
    click.echo(f"next: cd {folder} && pip install --editable '.[test]' && python -m pytest")


def _console(to_stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=to_stderr)


def _print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


def _sides(text: str, pairs: bool) -> str | tuple[str, str]:
    if not pairs:
        return text
    first, tab, second = text.partition("\t")
    if not tab:
        raise SpecError(f"this artifact reads pairs, so a TEXT must have a tab between its two sides, but got {text!r}")
    return first, second


def _number(written: str) -> int:
    if not written.isdigit():
        raise SpecError(f"`--trial` must be a study and the number of its trial, but got `{written}` for the number")
    return int(written)
