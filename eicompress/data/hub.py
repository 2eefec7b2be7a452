"""Data sets on the hub; from its local cache where the hub cannot be reached."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eicompress.errors import DataError

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")
"""`owner/name`, perhaps with the name of a configuration behind a colon."""
REACHED_S = 5.0
"""Seconds within which the hub must begin to answer."""


def from_hub(source: str, what: str, **more: Any) -> Any:
    """The data set of a name, as `datasets.load_dataset` gives it with what is given `more`.

    Raises `DataError`, which begins with `what` the data is.
    """
    import datasets

    name, _, config = source.partition(":")
    reason = _out_of_reach(name)
    try:
        with _offline(bool(reason)):
            return datasets.load_dataset(name, config or None, **more)
    except Exception as error:  # the hub's client raises whatever its transport raises
        reason = reason or str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{what} must be a folder, a file or a data set on the hub, but there is no `{source}` here and the hub "
            f"did not give it: {reason}. Check the name (`owner/name`, or `owner/name:config`)."
        ) from error


def _out_of_reach(name: str) -> str:
    """Why the hub cannot be asked for a data set; empty where it answers, whatever that is.

    `load_dataset` asks six times, and gives up after half a minute.
    """
    from huggingface_hub import constants, get_session

    try:
        get_session().head(f"{constants.ENDPOINT}/datasets/{name}", timeout=REACHED_S)
    except Exception as error:  # as above
        return f"it cannot be reached ({str(error).strip() or type(error).__name__})"
    return ""


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """Let `datasets` look only at what it has stored before."""
    import datasets.config

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
