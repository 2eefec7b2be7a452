"""Options that are made from the declared settings, and how commands print."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eicompress.declaration import declared, flag

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


def options(group: type, **help: str) -> Callable[[Command], Command]:
    """An option for each setting of a group; `help` is what a command says of one in other words."""

    settings = declared(group)
    if not help.keys() <= settings.keys():
        raise TypeError(f"`{group.__name__}` must have each of {', '.join(help)}, to say something else of it")

    def decorate(command: Command) -> Command:
        for name, setting in reversed([*settings.items()]):
            command = click.option(
                flag(name),
                name,
                metavar=setting.metavar,
                multiple=setting.repeated,
                callback=_none_if_empty if setting.repeated else None,
                help=help.get(name, setting.explained),
            )(command)
        return command

    return decorate


def _none_if_empty(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    return values or None


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def console_of(to_stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=to_stderr)


def print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))
