"""Options that are made from the declared settings, and how commands print."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import wraps
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import click

from eicompress.declaration import declared, flag

if TYPE_CHECKING:
    from rich.console import Console

STDOUT = "eicompress.stdout"
"""Where JSON goes while what else is printed goes to stderr."""
Command = TypeVar("Command", bound=Callable[..., Any])


def options(group: type, **help: str) -> Callable[[Command], Command]:
    """An option for each setting of a group; `help` replaces the help text of a setting."""

    settings = declared(group)
    if not help.keys() <= settings.keys():
        raise TypeError(f"`{group.__name__}` must have each of {', '.join(help)} to replace its help text")

    def decorate(command: Command) -> Command:
        for name, setting in reversed([*settings.items()]):
            command = click.option(
                flag(name),
                name,
                metavar=setting.metavar,
                is_flag=not setting.metavar,
                default=None,
                multiple=setting.repeated,
                callback=_none_if_empty if setting.repeated else None,
                help=help.get(name, setting.explained),
            )(command)
        return command

    return decorate


def _none_if_empty(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    return values or None


def json_option(command: Command) -> Command:
    """The option `--json`. What plug-ins print meanwhile goes to stderr."""

    @wraps(command)
    def run(*arguments: Any, as_json: bool, **written: Any) -> Any:
        if not as_json:
            return command(*arguments, as_json=False, **written)
        click.get_current_context().meta[STDOUT] = sys.stdout
        with redirect_stdout(sys.stderr):
            return command(*arguments, as_json=True, **written)

    return cast(Command, click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(run))


def console_of(to_stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=to_stderr)


def print_json(value: Mapping[str, Any], indent: int | None = 1) -> None:
    """Print a JSON document to stdout, in ASCII where that has no better encoding."""
    stdout: TextIO = click.get_current_context().meta.get(STDOUT) or sys.stdout
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    click.echo(text, file=stdout)
