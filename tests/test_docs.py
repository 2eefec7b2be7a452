"""The documentation says what the code says."""

import inspect
import re
import shlex
from pathlib import Path

import click
import pytest

from eicompress import cli, hookspecs
from eicompress.template import FILES, template_folder

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = (DOCS / "write-a-plugin.md").read_text()
BLOCKS = re.findall(r"^```(?:python|toml)\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^eicompress (.*)$", TUTORIAL, re.MULTILINE)
HOOKS = [
    each for name, each in vars(hookspecs).items() if inspect.isfunction(each) and hasattr(each, "eicompress_spec")
]


def test_the_tutorial_has_code() -> None:
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_the_tutorials_code_is_cut_from_the_template(block: str) -> None:
    assert any(block in (template_folder() / name).read_text() for name in FILES)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_tutorials_commands_can_be_typed(line: str) -> None:
    command: click.Command = cli.cli
    arguments = shlex.split(line)
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    assert command.make_context("eicompress", arguments)


def shown(hook: object) -> str:
    """A hook's name and arguments, as the reference writes them."""
    assert inspect.isfunction(hook)
    signature = inspect.signature(hook)
    arguments = [f"{name}: {each.annotation.__name__}" for name, each in signature.parameters.items()]
    returned = signature.return_annotation
    answer = "None" if returned is None else re.sub(r"eicompress\.\w+\.", "", str(returned))
    return f"{hook.__name__}({', '.join(arguments)}) -> {answer}"


def test_every_hook_stands_in_the_reference_with_its_arguments() -> None:
    reference = (DOCS / "reference" / "hooks.md").read_text()
    headings = re.findall(r"^## `(.*)`\n\n(.*)$", reference, re.MULTILINE)
    assert headings == [(shown(hook), inspect.getdoc(hook)) for hook in HOOKS]
    assert len(HOOKS) == 4
