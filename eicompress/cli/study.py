"""Commands about a study: search, plan, show, report and dashboard."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from eicompress.cli.options import console_of, json_option, options, print_json
from eicompress.errors import SpecError, StudyError
from eicompress.settings import PORT, TRIAL, SearchSettings, StudiesFolder

if TYPE_CHECKING:
    from eicompress.study.result import Result


@click.command()
@options(SearchSettings)
@json_option
def search(as_json: bool, **written: Any) -> None:
    """Search for the best artifact within budget.

    Every candidate is previewed first; one over budget is never trained. In the last part of the time the best
    candidate is rebuilt with the full training. Ctrl-C loses nothing: the same command continues, and with more
    --trials or a longer --timeout a finished study continues too.

    \b
    eicompress search --model my-model --data my-data --budget 1.91MB
    eicompress search --model builtin:minilm --data builtin:docstrings \\
                      --budget 2MB --timeout 8m
    eicompress search --study my-data --timeout 4h
    """
    from eicompress import api
    from eicompress.reporting import live_view, plan_text, tables
    from eicompress.study.plan import planned

    console = console_of(as_json)
    plan = planned(written)
    spec = plan.spec
    plan_text.show_plan(console, spec, plan.space, plan.objective)
    with live_view.Screen(console, f"study {spec.study}", spec.settings.get("trials"), spec.timeout_s) as live:
        result = api.run(plan, live.show, live.preparing)
    if as_json:
        print_json(result.to_json())
    else:
        tables.show_result(console, result)
    _check_handed_out(result)


def _check_handed_out(result: "Result") -> None:
    """Raise `StudyError` where an artifact that the study has handed out is gone."""
    from eicompress.study.kept_artifacts import gone

    missing = gone(result)
    if missing:
        lines = "; ".join(f"that of {_named(name)}: {remedy}" for name, remedy in missing.items())
        raise StudyError(
            f"the artifacts of study `{result.folder.name}` must be in its folder, but some are gone: {lines}"
        )


def _named(name: int | str) -> str:
    return f"trial {name}" if isinstance(name, int) else name


@click.command()
@options(SearchSettings)
@json_option
def plan(as_json: bool, **written: Any) -> None:
    """Forecast what a search can reach, before it runs.

    It prints the quality of the model and of simple baselines, how many random recipes are within budget, how small an
    artifact can get, how long a training takes here, and how many candidates fit into --timeout or --trials. It trains
    only the simple baselines, and a teacher if the model has no head for the task.

    \b
    eicompress plan --model my-model --data my-data --budget 1.91MB
    eicompress plan --study my-data --timeout 4h
    """
    from eicompress import api
    from eicompress.reporting import live_view, plan_text
    from eicompress.study.plan import planned

    console = console_of(as_json)
    asked = planned(written)
    plan_text.show_plan(console, asked.spec, asked.space, asked.objective)
    with live_view.Screen(console, f"plan {asked.spec.study}") as live:
        found = api.foreseen(asked, live.preparing, live.show)
    if as_json:
        print_json(found.to_json())
    else:
        plan_text.show_forecast(console, found, asked.spec)


@click.command()
@click.argument("study")
@click.option("--trial", metavar="N", help="One trial, with its recipe.")
@options(StudiesFolder)
@json_option
def show(study: str, trial: str | None, as_json: bool, **where: Any) -> None:
    """Show the results of a study, also while it runs.

    It ends with status 2 if an artifact that the study has handed out is gone, and says what builds it again.

    \b
    eicompress show my-data
    eicompress show my-data --trial 7
    eicompress show my-data --json
    """
    from eicompress import api
    from eicompress.reporting import tables

    number = None if trial is None else TRIAL(trial, "--trial")
    result = api.show(study, **where)
    if number is None:
        if as_json:
            print_json(result.to_json())
        else:
            tables.show_study(console_of(False), result)
        _check_handed_out(result)
        return
    record = result.promoted.get(number) or result.records.get(number)
    if record is None:
        known = len(result.records)
        raise SpecError(f"`--trial` must be the number of a trial that ended, but got {number}: {known} ended so far")
    if as_json:
        print_json({"trial": number, **record.to_json()})
    else:
        tables.show_trial(console_of(False), number, record)


@click.command()
@click.argument("study")
@click.option("--output", metavar="PATH", help="File to write.  [report.html in the study's folder]")
@click.option("--png", metavar="FOLDER", help="Write each figure as PNG too; needs Chromium.")
@options(StudiesFolder)
def report(study: str, output: str | None, png: str | None, **where: Any) -> None:
    """Write the report of a study as HTML, also while it runs.

    It needs no network and loads no model. A search writes it when it ends.

    \b
    eicompress report my-data
    eicompress report my-data --output my-data.html --png figures
    """
    from eicompress import api

    click.echo(str(api.report(study, output=output, png=png, **where)))


@click.command()
@click.argument("study")
@click.option("--port", metavar="N", default="8080", help="Port on this machine; 0 for a free one.  [8080]")
@options(StudiesFolder)
def dashboard(study: str, port: str, **where: Any) -> None:
    """Show a study in Optuna's dashboard, also while it runs.

    It serves a copy on 127.0.0.1 and follows the search: changes made there do
    not change the study. Each trial has a note, its recipe, and its artifact
    to download. Needs pip install 'eicompress[dashboard]'.

    \b
    eicompress dashboard my-data
    eicompress dashboard my-data --port 8081
    """
    from eicompress import api

    server = api.dashboard(study, port=PORT(port, "--port"), **where)
    click.echo(f"http://127.0.0.1:{server.server_port}/dashboard/studies/0  (Ctrl-C ends it)")
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
