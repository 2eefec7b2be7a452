"""Commands about plug-ins: list, show, check and new."""

from pathlib import Path
from shlex import quote

import click

from eicompress.cli.options import console_of, json_option, options, print_json
from eicompress.settings import PluginSettings

BROKEN = 1
"""The exit status where a claim is broken."""


@click.group()
def plugins() -> None:
    """List, show, check or write plug-ins.

    \b
    eicompress plugins list
    eicompress plugins show distillation
    """


@plugins.command("list")
@options(PluginSettings)
@json_option
def list_plugins(plugin: str | None, only_plugins: str | None, as_json: bool) -> None:
    """List plug-ins with what they provide, and broken ones.

    \b
    eicompress plugins list
    """
    from eicompress.plugins import discover
    from eicompress.reporting import tables

    registry = discover(plugin, only_plugins)
    if as_json:
        print_json(tables.plugins_json(registry))
    else:
        tables.show_plugins(console_of(False), registry)


@plugins.command("show")
@click.argument("name")
@options(PluginSettings)
def show_plugin(name: str, plugin: str | None, only_plugins: str | None) -> None:
    """Show what a plug-in provides, with the knobs of a strategy.

    \b
    eicompress plugins show distillation
    """
    from eicompress.plugins import discover
    from eicompress.reporting import tables

    tables.show_plugin(console_of(False), discover(plugin, only_plugins), name)


@plugins.command("check")
@click.argument("name")
@click.option("--knob", "knobs", multiple=True, metavar="KNOB=VALUE", help="Value to try a strategy with: layers=1.")
@click.option("--data", metavar="DATA", help="Data to try a task with; the first 64 training rows are read.")
@click.option("--skip", metavar="CLAIM", multiple=True, help="A claim to leave out, and why: CLAIM: REASON.")
@options(PluginSettings)
def check_plugin(
    name: str,
    knobs: tuple[str, ...],
    data: str | None,
    skip: tuple[str, ...],
    plugin: str | None,
    only_plugins: str | None,
) -> int:
    """Check what a plug-in provides against its contract.

    Each claim is checked on a tiny model; the exit status is 1 if one is broken.

    \b
    eicompress plugins check distillation
    eicompress plugins check my_strategy --plugin my_strategy.py
    eicompress plugins check my_task --data my-rows.jsonl
    eicompress plugins check svd --knob share=0.5 \\
                             --skip "uses no pickle: its library does"
    """
    from eicompress.plugins import discover
    from eicompress.testing.verdicts import claims_of, read_knobs, read_skip, read_task_rows, show_verdicts

    registry, rows = discover(plugin, only_plugins), read_task_rows(data)
    claims = claims_of(registry, name, knobs=read_knobs(knobs), rows=rows, skip=read_skip(skip))
    return BROKEN if show_verdicts(console_of(False), claims) else 0


@plugins.command("new")
@click.argument("name")
@click.option("--kind", metavar="KIND", default="strategy", help="strategy|task|metric|target|device.  [strategy]")
@click.option("--into", metavar="FOLDER", default=".", help="Folder to write it in.  [.]")
def new_plugin(name: str, kind: str, into: str) -> None:
    """Write a plug-in package to start from.

    It has one strategy, task, metric, target or device, with its test and its README,
    and works without changes.

    \b
    eicompress plugins new weak-neurons
    eicompress plugins new my-phone --kind device
    """
    from eicompress.plugins import discover
    from eicompress.testing.template import write_package

    folder = write_package(name, Path(into), discover(), kind)
    for path in sorted(folder.iterdir()):
        click.echo(path)
    click.echo(f"next: cd {quote(str(folder))} && pip install --editable '.[test]' && python -m pytest")
