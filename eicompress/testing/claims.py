"""A claim: one promise of a plug-in's contract, checked by a call; and watchers that run meanwhile."""

import copy
import os
import pickle
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import SkipTest
from unittest.mock import patch

import numpy as np
import torch

from eicompress.contracts import Candidate
from eicompress.errors import SpecError, nearest

_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
_PATHS = {"os.mkdir": 1, "os.remove": 1, "os.rename": 2, "os.rmdir": 1, "shutil.rmtree": 1}
"""Audit events that change files, and how many of their first arguments are paths."""
_PICKLING = ((pickle, ("dump", "dumps", "load", "loads", "Pickler", "Unpickler")), (torch, ("save", "load")))
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Claim:
    """One promise. Calling it raises `AssertionError` if it is broken, and `SkipTest` if it is declared as missed."""

    subject: str
    text: str
    check: Callable[[Path], None]
    """Is handed an empty folder."""
    missed: str = ""
    """Why the plug-in does not keep it."""

    def __call__(self) -> None:
        if self.missed:
            raise SkipTest(f"missed: {self.missed}")
        with tempfile.TemporaryDirectory() as folder:
            self.check(Path(folder).resolve())

    def __str__(self) -> str:
        return f"{self.subject} {self.text}"


def with_missed(claims: Sequence[Claim], skip: Mapping[str, str]) -> list[Claim]:
    """The claims, those that `skip` names marked with its reasons. Raises `SpecError` for an unknown one."""
    known = [claim.text for claim in claims]
    for name, reason in skip.items():
        if name not in known:
            raise SpecError(f"`skip` must name claims, but there is no `{name}`: {nearest(name, known)}")
        if not reason.strip():
            raise SpecError(f"`skip` must give a reason for each claim that is missed, but gives none for `{name}`")
    return [replace(claim, missed=skip.get(claim.text, "")) for claim in claims]


def hold(condition: bool, message: str) -> None:
    """Raise `AssertionError` with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def contents(path: Path) -> dict[str, bytes]:
    """What a file, or each file of a folder, holds, by its name from there."""
    files = [each for each in (path, *sorted(path.rglob("*"))) if each.is_file()]
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in files}


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Fails if the global random state of Python, numpy or torch is another one afterwards."""
    before = _random_states()
    yield
    for (name, state), (_, after) in zip(before, _random_states(), strict=True):
        hold(state == after, f"the global random state must stay as it is, but that of {name} changed: {_GENERATORS}")


_GENERATORS = "draw from a generator made with `context.seed`"


def _random_states() -> list[tuple[str, object]]:
    numpy = [each.tolist() if isinstance(each, np.ndarray) else each for each in np.random.get_state()]
    return [("random", random.getstate()), ("numpy", numpy), ("torch", torch.get_rng_state().tolist())]


@contextmanager
def baseline_kept(baseline: Candidate) -> Iterator[None]:
    """Fails if the weights or the tokenizer of the baseline are others afterwards."""
    before, tokenizer = copy.deepcopy(baseline.model.state_dict()), baseline.tokenizer.to_str()
    yield
    after = baseline.model.state_dict()
    same = before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    hold(same, "`context.baseline` must not be changed, but its weights are others: copy what you edit")
    hold(baseline.tokenizer.to_str() == tokenizer, "the baseline's tokenizer must not be changed, but was")


@contextmanager
def pickle_refused() -> Iterator[None]:
    """Fails if anything is pickled: what is unpickled later could run any code."""

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("pickle must not be used, but was: keep arrays in `context.cache`, and values as JSON")

    with ExitStack() as patches:
        for module, names in _PICKLING:
            for name in names:
                patches.enter_context(patch.object(module, name, refuse))
        yield


@contextmanager
def network_refused() -> Iterator[None]:
    """Fails if a connection is asked for."""

    def see(event: str, arguments: tuple[Any, ...]) -> str:
        if event not in _NETWORK:
            return ""
        return f"the network must not be used, but `{event}` was asked for: it belongs into a package's set-up"

    with _watched(see):
        yield


@contextmanager
def written_only_in(folder: Path) -> Iterator[None]:
    """Fails if a file outside of `folder` is written or removed; temporary files go into it."""

    def see(event: str, arguments: tuple[Any, ...]) -> str:
        for path in _written(event, arguments):
            if not (path.is_relative_to(folder) or path == Path(os.devnull) or "__pycache__" in path.parts):
                return f"nothing must be written outside of a temporary folder, but `{path}` was: use `context.cache`"
        return ""

    with _watched(see), patch.object(tempfile, "tempdir", str(folder)):
        yield


def _written(event: str, arguments: tuple[Any, ...]) -> list[Path]:
    """The paths that an audit event changes. Those relative to an open folder come from an event before."""
    if event == "open":
        named = arguments[:1] if isinstance(arguments[2], int) and arguments[2] & _WRITING else ()
    elif event in _PATHS and arguments[-1] in (-1, None):
        named = arguments[: _PATHS[event]]
    else:
        return []
    return [Path(os.path.realpath(os.fsdecode(each))) for each in named if isinstance(each, str | bytes | os.PathLike)]


Watcher = Callable[[str, tuple[Any, ...]], str]


@contextmanager
def _watched(see: Watcher) -> Iterator[None]:
    """Stops what `see` complains of, and fails at the end even where the plug-in has swallowed the error."""
    complaints: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> str:
        complaint = see(event, arguments)
        if complaint:
            complaints.append(complaint)
        return complaint

    watchers = _watchers()
    watchers.append(watch)
    try:
        yield
    finally:
        watchers.remove(watch)
    hold(not complaints, "\n".join(complaints))


@lru_cache
def _watchers() -> list[Watcher]:
    """The current receivers of Python's audit events. An audit hook cannot be removed, so one serves all of them."""
    watchers: list[Watcher] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        for watcher in tuple(watchers):
            complaint = watcher(event, arguments)
            if complaint:
                raise AssertionError(complaint)

    sys.addaudithook(hook)
    return watchers
