"""The command line: parse, call, print. One file a group of commands."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import click

from eicompress.cache import is_disk_error
from eicompress.cli.artifact import compare, export, measure, predict
from eicompress.cli.model import ablate, compress, prepare, teach
from eicompress.cli.plugin import plugins
from eicompress.cli.study import dashboard, plan, report, search, show
from eicompress.errors import EicompressError, is_panic

INTERRUPTED = 130
WRONG = 2


class InOrder(click.Group):
    """A group that lists its commands in the order in which a user needs them."""

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


for command in (
    search,
    plan,
    teach,
    show,
    report,
    dashboard,
    predict,
    measure,
    compare,
    export,
    compress,
    prepare,
    ablate,
    plugins,
):
    cli.add_command(command)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that has no letter for something still shows the rest.
            stream.reconfigure(errors="replace")
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        # Said already; Python would flush once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status: 0; 1 for a broken claim; 2 for a user's error; 130 for Ctrl-C."""
    try:
        # With `standalone_mode` off, an early end such as `--help` is a returned status.
        status = cli.main(list(arguments), prog_name="eicompress", standalone_mode=False)
        sys.stdout.flush()
    except EicompressError as error:
        click.echo(f"error: {error}", err=True)
        return WRONG
    except click.ClickException as error:
        error.show()
        return WRONG
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: what was recorded is kept, and the same command continues", err=True)
        return INTERRUPTED
    except BaseException as error:
        if is_panic(error):
            click.echo(
                f"error: a file of the model must be readable by a library in Rust, but it gave up: {error}", err=True
            )
        elif is_disk_error(error):
            assert isinstance(error, OSError)
            place = f"`{error.filename}`" if error.filename else "the output"
            click.echo(f"error: {place} must be a place to write to, but: {error.strerror}: choose another", err=True)
        else:
            raise
        return WRONG
    return status if isinstance(status, int) else 0
