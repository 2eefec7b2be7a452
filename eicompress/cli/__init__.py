"""The command line: parse, call, print. One file a group of commands."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from io import StringIO, TextIOWrapper
from types import FrameType

import click

from eicompress.cache import is_disk_error
from eicompress.cli.artifact import compare, export, measure, predict
from eicompress.cli.model import ablate, compress, pick, prepare, teach
from eicompress.cli.plugin import plugins
from eicompress.cli.study import dashboard, plan, report, search, show
from eicompress.errors import EicompressError, SpecError, is_panic, shortened

WRONG = 2
SIGNALLED = 128
"""Added to the number of the signal that ended a command, as shells do."""


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP came, which end a command as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


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
    pick,
    prepare,
    ablate,
    plugins,
):
    cli.add_command(command)


def main() -> None:
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started the command
            setattr(sys, name, StringIO())
        elif isinstance(stream, TextIOWrapper):
            # A terminal that has no letter for something still shows the rest, and bytes that are no text are read so.
            stream.reconfigure(errors="replace")
    _end_as_interrupted()
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        # Said already; Python would flush once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status: 0; 1 for a broken claim; 2 for a user's error; 130 for Ctrl-C, and so
    for SIGTERM and SIGHUP with 128 and their number."""
    try:
        _check_text(arguments)
        # With `standalone_mode` off, an early end such as `--help` is a returned status.
        status = cli.main(list(arguments), prog_name="eicompress", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        came = _interruption(error)
        return _say_wrong(error) if came is None else _say_interrupted(came)
    return status if isinstance(status, int) else 0


def _interruption(error: BaseException) -> KeyboardInterrupt | None:
    """What interrupted a command, also where it came out as another error: click raises it as an `Abort`, and Python
    3.11 as a `RuntimeError` where a class was being made."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt):
        if isinstance(found, click.Abort) and found.__cause__ is None:
            return KeyboardInterrupt()
        found = found.__cause__
    return found


def _say_interrupted(came: KeyboardInterrupt) -> int:
    how = f"ended by {came}" if isinstance(came, Ended) else "interrupted"
    with suppress(OSError):  # the terminal may be gone
        click.echo(f"{how}: what was recorded is kept, and the same command continues", err=True)
    return SIGNALLED + (came.number if isinstance(came, Ended) else signal.SIGINT)


def _say_wrong(error: BaseException) -> int:
    """Say in one line what is for the user to mend; what is a fault of ours is raised again."""
    if isinstance(error, click.ClickException):
        error.show()
        return WRONG
    if isinstance(error, EicompressError):
        said = str(error)
    elif isinstance(error, SystemExit):
        # No command of ours ends so: what a plug-in's code raises where no strategy is applied.
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = (
            f"no code may end the command, but line {last.lineno} of `{last.filename}` did, with SystemExit({error}): "
            "let it raise an error"
        )
    elif is_panic(error):
        said = f"a file of the model must be readable by a library in Rust, but it gave up: {error}"
    elif is_disk_error(error):
        assert isinstance(error, OSError)
        place = f"`{error.filename}`" if error.filename else "the output"
        said = f"{place} must be a place to write to, but: {error.strerror}: choose another"
    else:
        raise error
    click.echo(f"error: {said}", err=True)
    return WRONG


def _check_text(arguments: Sequence[str]) -> None:
    """Raise `SpecError` for an argument that no file in UTF-8 can hold, as Python gives bytes that are no text."""
    for each in arguments:
        try:
            each.encode()
        except UnicodeEncodeError:
            raise SpecError(
                f"every argument must be text in UTF-8, but got {shortened(each)}: write it, or rename the file, so"
            ) from None


def _end_as_interrupted() -> None:
    """Let what ends a process end a command in order; what is ignored, as under `nohup`, stays ignored."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
