"""Builds candidates in a worker process, or in this one.

A process makes the coordinator's builder once more, from the same inputs, and then builds one job after the other, or
answers one question after the other. `processes` and `previews` are the coordinator's ends, and tell what they say to
each other.
"""

import ctypes
import faulthandler
import json
import math
import os
import platform
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

from eicompress.cache import disk_errors, is_disk_error
from eicompress.errors import EicompressError, Inapplicable, StudyError
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.spec import Spec
from eicompress.trials.builder import Builder, open_builder
from eicompress.trials.candidate import reason_of
from eicompress.trials.code import code_version
from eicompress.trials.processes import Tell
from eicompress.trials.watched import OWN_LIMIT, TRIALS_LIMIT, WHERE
from eicompress.values import OUT_OF_TIME, Done, Job, Json, Progress, Record

FIRST_TO_GO = 500
"""What the kernel adds to a worker's badness when memory runs out, so that it does not choose the coordinator."""
PR_SET_PDEATHSIG = 1


class CanBuild(Protocol):
    """The builder that workers need."""

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        """Trained, exported, checked and scored; the artifact's folder is `files["artifact"]`."""


def perform(job: Job, builder: CanBuild, registry: Registry, progress: Callable[[Progress], None]) -> Done:
    """Build a job. Failures are returned; only errors that every other job would meet are raised."""
    try:
        recipe = registry.recipe(job.recipe)
        record = builder.build(recipe, fidelity=job.fidelity, seed=job.seed, progress=progress)
    except Inapplicable as error:
        return Done(job, "inapplicable", reason=str(error))
    except (Exception, SystemExit) as error:
        if is_disk_error(error) or isinstance(error, StudyError):
            raise
        return Done(job, "failed", reason=reason_of(error))
    return Done(job, "built", record)


def answered(question: Json, builder: Builder, registry: Registry) -> Json:
    """The answer to what `Previews` asks. Failures are returned, as those of `perform`."""
    try:
        recipe = registry.recipe(question["recipe"])
        if question["ask"] == "time":
            return {"answer": asdict(builder.estimate_time(recipe))}
        if question["ask"] == "steps":
            return {"answer": builder.count_steps(recipe)}
        how = {name: question[name] for name in ("size_only", "careful")}
        return {"answer": builder.exported(recipe, **how).to_json()}
    except Inapplicable as error:
        return {"inapplicable": str(error)}
    except (Exception, SystemExit) as error:
        if is_disk_error(error) or isinstance(error, StudyError):
            raise
        return {"failed": reason_of(error)}


@dataclass
class InProcess:
    """Builds in this process, one job at a time and unwatched: for a debugger."""

    builder: CanBuild
    registry: Registry
    _jobs: list[Job] = field(default_factory=list)

    @property
    def free(self) -> bool:
        return not self._jobs

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self, progress: Tell, within_s: float = math.inf) -> Done:
        """What became of the job; it is stopped where it reports its progress after `within_s` seconds."""
        job, end = self._jobs.pop(), time.monotonic() + within_s

        def watched(each: Progress) -> None:
            progress(job.number, each)
            if time.monotonic() > end:
                raise _OutOfTime

        try:
            return perform(job, self.builder, self.registry, watched)
        except _OutOfTime:
            return Done(job, "out of time", reason=OUT_OF_TIME)


class _OutOfTime(BaseException):
    """No `Exception`, so that no strategy takes it for an error of its own."""


def serve(setup: Json) -> None:
    """A watched process: make the builder, then do what is asked, until the coordinator closes stdin."""
    faulthandler.enable()
    faulthandler.register(WHERE)
    _end_with(setup["parent"])
    asked: queue.Queue[Json] = queue.Queue()
    threading.Thread(target=_read, args=(asked,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: Json) -> None:
        print(json.dumps(message), file=answers, flush=True)

    def progress(each: Progress) -> None:
        say({"doing": asdict(each)})

    @contextmanager
    def statistics() -> Iterator[None]:
        say(TRIALS_LIMIT)
        try:
            yield
        finally:
            say(OWN_LIMIT)

    spec, folder, head = Spec(setup["settings"]), Path(setup["folder"]), Path(setup["head"]) if setup["head"] else None
    try:
        registry = discover(spec.plugin, spec.settings.get("only_plugins"))
        builder = open_builder(spec, registry, folder=folder, head=head, progress=progress)
        _check_same(made_of(builder), setup["digests"])
        builder = replace(builder, statistics=statistics)
        while True:
            with disk_errors(folder):
                message = asked.get()
                say(OWN_LIMIT)
                if "job" in message:
                    done = perform(Job.from_json(message["job"]), builder, registry, progress)
                    say({"done": done.to_json()})
                else:
                    say(answered(message, builder, registry))
    except EicompressError as error:
        say({"refused": str(error)})


def made_of(builder: Builder) -> dict[str, str]:
    """The digest of a builder's inputs and of eicompress's own code."""
    return {**builder.digests, "code": code_version("eicompress")}


def _check_same(here: Json, there: Json) -> None:
    """Raise `StudyError` unless a worker's builder has the same inputs as the coordinator's."""
    meant = {"inputs": "model or data", "teachers": "a teacher", "unlabelled": "the unlabelled text"}
    meant |= {"start": "the starting point", "code": "eicompress's own code"}
    changed = [meant.get(name, name) for name, digest in there.items() if here.get(name) != digest]
    if changed:
        raise StudyError(
            f"a worker must have what the coordinator began with, but on {platform.node()} another is "
            f"{' and '.join(changed)}: let nothing change while a search runs, install the same versions on all "
            "machines, and give a file or a folder for what is read from elsewhere"
        )


def _read(asked: "queue.Queue[Json]") -> None:
    for line in sys.stdin:
        asked.put(json.loads(line))
    os._exit(0)


def _end_with(parent: int) -> None:
    """End when the coordinator does, even while standing still: on Linux the kernel sees to it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO))
    if os.getppid() != parent:
        os._exit(0)
