"""A worker on a node of a Ray cluster: an actor, and behind it one watched process.

Files and folders that a setting names are sent to a node once, as bytes; the node checks them and keeps them in its
user's cache. An actor returns plain values and the bytes of the files that a build wrote. It imports neither torch nor
optuna; its process does.
"""

import json
import platform
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from eicompress.cache import Cache, default_folder
from eicompress.errors import EicompressError, StudyError
from eicompress.trials.processes import Processes
from eicompress.trials.shipping import Files, files_digest, files_in, keep_trained, trained_in, unpacked, write_files
from eicompress.trials.watched import Limits, Setup
from eicompress.values import SHARED, Job, Json, Progress, Record


class Actor:
    """A worker on its node: one watched process. Ray calls it from two threads: one for `build`, one for the rest."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._still = ExitStack()
        self._doing: Progress | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="eicompress-")).resolve()
        self._workers: Processes | None = None
        self._kept: set[str] = set()
        """Shared trainings that this node has received."""

    def open(self, opening: str, sent: list[Any]) -> Json:
        """Start the process; return the node it runs on. `sent` holds a Ray reference to the files that were sent."""
        self._opening, self._sent = json.loads(opening), sent
        return _or_refused(self._open)

    def build(self, job: str, trained: list[Any]) -> Json:
        """Run a job; return its outcome as JSON and the bytes of the files it wrote. `trained` holds a Ray reference to
        the weights of its shared training; where it is empty, the weights trained here are returned too."""
        return _or_refused(lambda: self._build(Job.from_json(json.loads(job)), trained))

    def doing(self) -> Json | None:
        """The progress of the current job."""
        return None if self._doing is None else asdict(self._doing)

    def pause(self) -> None:
        """Pause; a job that arrives meanwhile begins after the pause."""
        assert self._workers is not None
        self._starting.acquire()
        self._still.enter_context(self._workers.paused())

    def go_on(self) -> None:
        self._still.close()
        self._starting.release()

    def close(self) -> None:
        if self._workers is not None:
            self._workers.__exit__(None, None, None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self) -> Json:
        import ray

        received, opening = self._received(), self._opening
        setup = Setup(**{**unpacked(opening["setup"], received), "folder": str(self._folder)})
        limits = Limits(**opening["limits"]).shared(opening["neighbours"])
        self._workers = Processes(setup, limits, threads=opening["threads"])
        return {"node": ray.get_runtime_context().get_node_id(), "host": platform.node()}

    def _build(self, job: Job, trained: list[Any]) -> Json:
        assert self._workers is not None
        self._doing = None
        self._received()
        self._receive_trained(job, trained)
        with self._starting:
            self._workers.submit(job)
        done = self._workers.wait(self._receive)
        files = files_in(self._folder) if done.record is not None else {}
        for each in self._folder.iterdir():
            shutil.rmtree(each)
        if done.record is not None:
            named = {name: str(Path(path).relative_to(self._folder)) for name, path in done.record.files.items()}
            done = replace(done, record=replace(done.record, files=named))
        made = {} if trained or done.record is None else _trained(done.record)
        return {"done": json.dumps(done.to_json()), "files": files, "trained": made}

    def _receive_trained(self, job: Job, trained: list[Any]) -> None:
        """Keep the weights that another node trained, once."""
        import ray

        if trained and job.shared not in self._kept:
            keep_trained(Cache(default_folder()), ray.get(trained[0]))
            self._kept.add(job.shared)

    def _receive(self, number: int, progress: Progress) -> None:
        self._doing = progress

    def _received(self) -> Path:
        """The folder of the files that were sent, in this machine's cache, verified by their checksums."""
        digest = self._opening["digest"]

        def write(folder: Path) -> None:
            import ray

            files = ray.get(self._sent[0])
            if files_digest(files) != digest:
                raise StudyError("what is sent to a worker must arrive as it is, but did not: give the command again")
            write_files(files, folder)

        return Cache(default_folder()).kept("sent", digest, write)


def _trained(record: Record) -> Files:
    """The weights that this node keeps of a candidate's shared training; none where it has no such training."""
    shared = record.facts.get(SHARED)
    return trained_in(Cache(default_folder()), shared["key"]) if shared else {}


def _or_refused(call: Callable[[], Json]) -> Json:
    """The call's answer, or the reason why every other job would fail on this node too."""
    try:
        return call()
    except EicompressError as error:
        reason = str(error)
    except OSError as error:
        reason = f"`{error.filename}` must be a place to write to, but: {error.strerror}"
    return {"refused": f"on {platform.node()}: {reason}"}
