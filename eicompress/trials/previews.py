"""Applies the recipes that are not trained in a watched process, so that no strategy can hold up or end a search.

To the process goes `{"ask": "preview", "recipe": ...}`, or another `ask`. What comes back is `{"answer": ...}`,
`{"inapplicable": reason}`, `{"failed": reason}`, or `{"refused": reason}` where no other recipe would fare better.
Before that it says from when on which limit counts: to load model and data, and to compute the statistics that
`context.cache` keeps for all trials, may take as long as a trial. A process that exceeds a limit is killed, and the
next recipe gets a new one. What ended a process once is not tried again.
"""

import select
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eicompress.errors import Crashed, Inapplicable, PluginError, StudyError
from eicompress.recipe import Recipe
from eicompress.trials.training_time import TimeEstimate
from eicompress.trials.watched import OWN_LIMIT, POLL_SECONDS, Limits, Setup, Watched
from eicompress.values import Json, Record

PREVIEWS = "previews"
"""The folder of the artifacts of previews, which are removed when they are measured."""
PREVIEW_SECONDS = 60.0
"""Time limit of a preview."""
TRIES = 3
"""How often a recipe is tried whose process is killed from outside."""


@dataclass
class Previews:
    """Previews, and counts and times steps, in one process that is started when it is first needed. A context manager.

    All of it raises `Inapplicable`, `PluginError` for what a strategy raised, and `Crashed` where it ended the process
    or exceeded a limit.
    """

    setup: Setup
    limits: Limits
    """Of a trial; the time of a preview is shorter."""
    seconds: float = PREVIEW_SECONDS
    _process: Watched | None = None
    _crashed: dict[str, Crashed] = field(default_factory=dict)
    """What recipes did that have ended a process, by their digests."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.end()
        self._clear()

    def exported(self, recipe: Recipe, *, size_only: bool, careful: bool) -> Record:
        """As `Builder.exported`."""
        question = {"ask": "preview", "size_only": size_only, "careful": careful}
        return Record.from_json(self._answer(question, recipe, self._short))

    def estimate_time(self, recipe: Recipe) -> TimeEstimate:
        """As `Builder.estimate_time`."""
        return TimeEstimate(**self._answer({"ask": "time"}, recipe, self.limits))

    def count_steps(self, recipe: Recipe) -> int:
        """As `Builder.count_steps`."""
        return int(self._answer({"ask": "steps"}, recipe, self._short))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the process while latency is measured."""
        process = self._process
        if process is not None:
            process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if process is not None:
                process.signal(signal.SIGCONT)

    @property
    def _short(self) -> Limits:
        return replace(self.limits, seconds=self.seconds, what="preview", flag="")

    def _answer(self, question: Json, recipe: Recipe, limits: Limits) -> Any:
        if recipe.digest in self._crashed:
            raise self._crashed[recipe.digest]
        for tried in range(1, TRIES + 1):
            try:
                return self._asked({**question, "recipe": recipe.to_json()}, limits)
            except Crashed as error:
                self._process = None
                self._clear()
                if not error.outside or tried == TRIES:
                    self._crashed[recipe.digest] = error
                    raise
        raise AssertionError("a try ends with an answer or an error")

    def _asked(self, question: Json, own: Limits) -> Any:
        if self._process is None:
            self._process = Watched(self.setup)
        process, limits = self._process, self.limits
        process.send(question)
        while True:
            select.select([process], [], [], POLL_SECONDS)
            for message in process.received():
                if "limit" in message:
                    process.restart_clock()
                    limits = own if message == OWN_LIMIT else self.limits
                elif "answer" in message:
                    return message["answer"]
                elif "inapplicable" in message:
                    raise Inapplicable(message["inapplicable"])
                elif "failed" in message:
                    raise PluginError(message["failed"])
                elif "refused" in message:
                    process.end()
                    self._process = None
                    raise StudyError(message["refused"])
            process.check(limits)

    def _clear(self) -> None:
        """Remove what a process leaves that is killed."""
        shutil.rmtree(Path(self.setup.folder) / PREVIEWS, ignore_errors=True)
