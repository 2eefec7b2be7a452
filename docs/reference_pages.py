"""Pages of the reference that are made from the code: commands, settings, strategies, search spaces, errors.

A new command, setting, strategy, search space or error is in them by itself. They are written when the site is built,
and are no files of the repository.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
from click.testing import CliRunner

from eicompress import cli, errors
from eicompress.declaration import Setting, declared, flag
from eicompress.plugins import discover
from eicompress.recipe import knobs
from eicompress.reporting.knobs import domain, meanings
from eicompress.settings import (
    AblationSettings,
    GoalSettings,
    LatencySettings,
    MethodSettings,
    ModelAndData,
    PluginSettings,
    Rows,
    SearchSettings,
    Seed,
    StudiesFolder,
    TaskSettings,
    TeacherSettings,
    WorkerSettings,
)
from eicompress.study.space_file import known_spaces, read_space
from eicompress.study.space_words import slots_in_words

NOTE = "*This page is made from the code.*"
GROUPS = (
    ModelAndData,
    GoalSettings,
    StudiesFolder,
    MethodSettings,
    WorkerSettings,
    TaskSettings,
    Rows,
    Seed,
    TeacherSettings,
    LatencySettings,
    PluginSettings,
    AblationSettings,
)
"""The settings, in the order of the page."""


def commands() -> str:
    """Every command's help, as the terminal shows it."""
    parts = ["# Commands", NOTE]
    for name, _ in every_command(cli.cli, "eicompress"):
        parts += [f"## `{name}`", f"```text\n{help_of(name)}\n```"]
    return "\n\n".join(parts) + "\n"


def every_command(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """The command and all below it, by what is typed."""
    yield name, command
    if isinstance(command, click.Group):
        for below, each in command.commands.items():
            yield from every_command(each, f"{name} {below}")


def help_of(name: str) -> str:
    """What the terminal shows at 80 columns."""
    # Click leaves two of them empty.
    shown = CliRunner().invoke(cli.cli, [*name.split()[1:], "--help"], prog_name="eicompress", terminal_width=78)
    return shown.output.strip()


def settings() -> str:
    """Every setting, group by group, with what takes the group."""
    parts = ["# Settings", NOTE]
    parts.append(
        "A setting has the same name everywhere: `min_quality` in Python and in `study.toml` is `--min-quality` on the "
        "command line, and `from_` is `--from`. What a study is *known by* is kept in its `study.toml`, and must be "
        "the same when the study goes on; the rest may change."
    )
    every = [*every_command(cli.cli, "eicompress")]
    for group in GROUPS:
        names = declared(group)
        takes = [name for name, command in every if names.keys() <= {each.name for each in command.params}]
        rows = [_setting_row(name, group.__annotations__[name].__origin__, each) for name, each in names.items()]
        heads = ["| setting | type | command line | default | meaning | known by |", "|---|---|---|---|---|---|"]
        parts += [f"## {str(group.__doc__).rstrip('.')}", f"Taken by `{'`, `'.join(takes)}`."]
        parts += ["\n".join([*heads, *rows])]
    return "\n\n".join(parts) + "\n"


def _setting_row(name: str, kind: object, setting: Setting) -> str:
    written = kind.__name__ if isinstance(kind, type) and kind is not Sequence[str] else str(kind)
    kinds = written.replace("collections.abc.", "").replace("pathlib.", "")
    default = setting.otherwise or ("" if setting.default in (None, "") else f"`{setting.default}`")
    cells = (
        f"`{name}`",
        f"`{kinds}`",
        f"`{flag(name)} {setting.metavar}".rstrip() + "`",
        default,
        setting.help,
        "yes" if setting.identifies and name in declared(SearchSettings) else "no",
    )
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def strategies() -> str:
    """Every built-in strategy, with knobs and papers, and all else that is built in."""
    registry = discover(only="")
    parts = ["# Strategies, tasks, metrics, targets and devices", NOTE]
    parts.append(
        "A recipe is a list of strategies, each with its knobs. `eicompress plugins show NAME` prints the same, also "
        "of strategies that other packages bring."
    )
    for name, strategy in sorted(registry.strategies.items()):
        parts += [f"## `{name}`", _told(strategy)]
        parts += [f"Paper: {_linked(strategy.paper)}."] if strategy.paper else []
        meant = meanings(strategy)
        rows = [
            f"| `{knob.name}` | `{knob.default}` | {domain(knob.domain)} | {meant[knob.name]} |"
            for knob in knobs(strategy).values()
        ]
        parts += ["\n".join(["| knob | default | domain | meaning |", "|---|---|---|---|", *rows])] if rows else []
    parts.append("## Tasks")
    parts += [f"`{name}`\n: {_told(task, ': ')}" for name, task in sorted(registry.tasks.items())]
    parts.append("## Metrics")
    for name, metric in sorted(registry.metrics.items()):
        unit = f" ({metric.unit})" if metric.unit else ""
        parts.append(f"`{name}`{unit}\n: {_told(metric, ': ')}")
    parts.append("## Targets")
    parts += [f"`{name}`\n: {_told(target, ': ')}" for name, target in sorted(registry.targets.items())]
    parts.append("## Devices")
    parts += [f"`{name}`\n: {_told(device, ': ')}" for name, device in sorted(registry.devices.items())]
    return "\n\n".join(parts) + "\n"


def spaces() -> str:
    """Every search space that comes with eicompress, as a file and in words."""
    registry = discover(only="")
    parts = ["# Search spaces", NOTE, f"```text\n{_usage(read_space)}\n```"]
    for name, path in sorted(known_spaces().items()):
        space = read_space(name, registry)
        parts += [f"## `{name}`", "\n".join(f"- {line}" for line in slots_in_words(space))]
        parts += [
            f"A trial gets {space.fidelity:.0%} of the full training; {len(space.known)} recipes are tried first."
        ]
        parts += [f"```toml\n{path.read_text(encoding='utf-8').strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def error_classes() -> str:
    """Every error that a user can meet, as a tree and one by one."""
    tree = inspect.cleandoc(errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    parts = ["# Errors", NOTE, f"```text\n{tree}\n```"]
    for each in every_error(errors.EicompressError):
        parts += [f"## `{each.__name__}`", _told(each)]
    return "\n\n".join(parts) + "\n"


def every_error(error: type[Exception]) -> Iterator[type[Exception]]:
    yield error
    for each in error.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from every_error(each)


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "settings.md": settings,
    "strategies.md": strategies,
    "search-spaces.md": spaces,
    "errors.md": error_classes,
}


def write(folder: Path) -> None:
    """Write the pages that have changed, so that an unchanged one is not built again."""
    for name, made in PAGES.items():
        path, text = folder / name, made()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _told(thing: type, indent: str = "") -> str:
    lines = inspect.cleandoc(thing.__doc__ or "").splitlines()
    return f"\n{' ' * len(indent)}".join(lines)


def _linked(paper: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)


def _usage(function: Callable[..., object]) -> str:
    """The example in the docstring of the function's module."""
    return inspect.cleandoc(inspect.getmodule(function).__doc__ or "")  # type: ignore[union-attr]
