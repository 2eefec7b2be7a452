"""Builds candidates on other machines: in watched processes, each behind an actor of a Ray cluster.

Ray finds a node for an actor and reports when an actor is lost; it restarts nothing by itself. Jobs, limits and reasons
of failures are the same as on one machine. A job whose actor or node is lost may be tried again, by any free actor.

A training that jobs share is run on one node, which returns the weights. The coordinator keeps them in its own cache
and sends them to the other nodes, each of which keeps them in the cache of its worker. A node of another kind, such as
one with a GPU among nodes without, trains its own.
"""

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eicompress.cache import Cache, default_folder
from eicompress.errors import StudyError
from eicompress.trials.processes import Tell, next_job
from eicompress.trials.ray_actor import Actor
from eicompress.trials.ray_connection import answers, connect, first_line
from eicompress.trials.shipping import (
    Files,
    arrived,
    files_digest,
    files_of_entry,
    packed_setup,
    trained_in,
    write_files,
)
from eicompress.trials.watched import Limits, Setup
from eicompress.values import OUT_OF_TIME, SHARED, Done, Job, Json, Progress, counted

POLL_SECONDS = 0.5
"""Time between two questions for the workers' progress."""
PATIENCE_SECONDS = 600.0
"""How long the search waits without any worker, as while a cluster is busy or its nodes come back."""
FALSE_STARTS = 3
"""Workers that may be lost in a row before they start; after that, the search ends with an error."""
CLOSING_SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """The address of a cluster, empty for one that is started here, and the cores of each worker."""

    address: str = ""
    cpus: int = 1
    gpus: float = 0.0

    def room(self, resources: Mapping[str, float]) -> int:
        """How many workers a node has room for."""
        workers = int(resources.get("CPU", 0.0) // self.cpus)
        return min(workers, int(resources.get("GPU", 0.0) / self.gpus)) if self.gpus else workers

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" + "s" * (self.gpus > 1) if self.gpus else ""
        return counted(self.cpus, "CPU") + gpus


def check_room(nodes: Iterable[Json], place: Place, count: int) -> int:
    """The most workers that one node has room for. Raises `StudyError` if the cluster has no room for all of them."""
    room = [place.room(node["Resources"]) for node in nodes if node["Alive"]]
    if sum(room) < count:
        raise StudyError(
            f"the Ray cluster must have room for {count} workers of {place} each, but has it for {sum(room)}: give a "
            "smaller `--workers`, `--worker-cpus` or `--worker-gpus`, or add nodes"
        )
    return max(room)


def new_actor(ray: Any, place: Place) -> Any:
    """A worker in a process of its own, on any node with room for it; Ray never restarts it."""
    options = {"num_cpus": place.cpus, "num_gpus": place.gpus, "max_restarts": 0, "max_concurrency": 2}
    return ray.remote(Actor).options(**options, scheduling_strategy="SPREAD").remote()


def check_installed() -> None:
    """Raise `StudyError` unless Ray is installed."""
    try:
        metadata.version("ray")
    except metadata.PackageNotFoundError as error:
        raise StudyError(
            "`--engine ray` must have Ray, which is not installed: pip install 'eicompress[ray]'"
        ) from error


@dataclass
class Cluster:
    """Builds with `count` workers on a Ray cluster. A context manager."""

    setup: Setup
    limits: Limits
    count: int
    place: Place
    _ray: Any = None
    _own: bool = False
    """Whether the connection to Ray is ended by `__exit__`."""
    _seats: "list[_Seat]" = field(default_factory=list)
    _waiting: list[Job] = field(default_factory=list)
    _false_starts: int = 0
    _opening: str = ""
    """The arguments of an actor's `open`, as JSON."""
    _sent: list[Any] = field(default_factory=list)
    """A Ray reference to the files that are sent; in a list, so that a node fetches it only when it reads it."""
    _trained: dict[str, list[Any]] = field(default_factory=dict)
    """Of each shared training that has ended, a Ray reference to its files."""

    def __enter__(self) -> Self:
        check_installed()
        setup, files = packed_setup(self.setup)
        try:
            sent_bytes = sum(map(len, files.values()))
            self._ray, self._own = connect(self.place.address, self.count * self.place.cpus, sent_bytes)
            most = check_room(self._ray.nodes(), self.place, self.count)
            opening = {"setup": setup, "limits": asdict(self.limits), "threads": self.place.cpus}
            self._opening = json.dumps({**opening, "neighbours": min(most, self.count), "digest": files_digest(files)})
            self._sent = [self._ray.put(files)]
            self._seats = [self._seat() for _ in range(self.count)]
            self._wait_until_open()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ray is None:
            return
        answers(self._ray, (seat.actor for seat in self._seats), "close", CLOSING_SECONDS)
        for seat in self._seats:
            self._ray.kill(seat.actor)
        self._seats.clear()
        if self._own:
            self._ray.shutdown()

    @property
    def free(self) -> bool:
        return len(self._waiting) + len(self._busy) < self.count

    def submit(self, job: Job) -> None:
        if job.shared and job.shared not in self._trained:
            cache = Cache(default_folder())
            files = files_of_entry(cache, SHARED, job.shared) or trained_in(cache, job.shared)
            if files:
                self._trained[job.shared] = [self._ray.put(files)]
        self._waiting.append(job)
        self._hand_out()

    def wait(self, progress: Tell, within_s: float = math.inf) -> Done:
        """The outcome of the job that ends next, or of one that is stopped where none ended within `within_s` seconds.
        Raises `StudyError` if every other job would fail too."""
        stop, end = time.monotonic() + within_s, time.monotonic() + PATIENCE_SECONDS
        while True:
            self._hand_out()
            done = self._receive()
            if done is not None:
                return done
            if self._busy:
                end = time.monotonic() + PATIENCE_SECONDS
                self._tell(progress)
            if time.monotonic() > stop:
                return self._stopped()
            _check_patience(end, self.place)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the workers on this machine while latency is measured."""
        here = self._ray.get_runtime_context().get_node_id()
        actors = [seat.actor for seat in self._seats if seat.node == here]
        answers(self._ray, actors, "pause")
        try:
            yield
        finally:
            answers(self._ray, actors, "go_on")

    @property
    def _busy(self) -> "list[_Seat]":
        return [seat for seat in self._seats if seat.job is not None]

    def _seat(self) -> "_Seat":
        actor = new_actor(self._ray, self.place)
        return _Seat(actor, actor.open.remote(self._opening, self._sent))

    def _wait_until_open(self) -> None:
        """Wait until all workers have started, so that none of them starts while latency is measured."""
        end = time.monotonic() + PATIENCE_SECONDS
        while any(not seat.node for seat in self._seats):
            self._receive()
            # A dead node counts as alive until its heartbeats are missed.
            check_room(self._ray.nodes(), self.place, self.count)
            _check_patience(end, self.place)

    def _hand_out(self) -> None:
        if not self._waiting:
            return
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        for place, seat in enumerate(self._seats):
            if seat.idle and seat.node not in alive:
                # An idle worker is replaced before it gets a job, so that a dead node is no failure of a job.
                self._seats[place] = self._seat()
            elif seat.idle and (
                job := next_job(self._waiting, [seat.job for seat in self._busy if seat.job], self._trained)
            ):
                self._waiting.remove(job)
                seat.begin(job, self._trained.get(job.shared, []))

    def _receive(self) -> Done | None:
        """The outcome of a job, if one ends within `POLL_SECONDS`."""
        seats = {seat.answer: seat for seat in self._seats if seat.answer is not None}
        ready, _ = self._ray.wait(list(seats), timeout=POLL_SECONDS)
        return self._answer_of(seats[ready[0]]) if ready else None

    def _answer_of(self, seat: "_Seat") -> Done | None:
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(seat.answer)
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            return self._lost(seat, error)
        seat.answer = None
        if "refused" in answer:
            raise StudyError(answer["refused"])
        if seat.job is None:
            seat.node, seat.host, self._false_starts = answer["node"], answer["host"], 0
            return None
        seat.job, done = None, Done.from_json(json.loads(answer["done"]))
        if answer["trained"]:
            self._keep_trained(done.job.shared, answer["trained"])
        if done.record is None:
            return done
        return replace(done, record=arrived(done.record, answer["files"], Path(self.setup.folder)))

    def _keep_trained(self, name: str, files: Files) -> None:
        """Keep the weights of a shared training here, for all nodes and for a search that is resumed later."""
        Cache(default_folder()).kept(SHARED, name, lambda folder: write_files(files, folder))
        self._trained[name] = [self._ray.put(files)]

    def _lost(self, seat: "_Seat", error: Exception) -> Done | None:
        """Give up a worker, and start another in its place."""
        self._ray.kill(seat.actor)
        self._seats.remove(seat)
        self._false_starts += not seat.node
        if self._false_starts == FALSE_STARTS:
            raise StudyError(
                f"a worker of the Ray cluster must begin, but {FALSE_STARTS} in a row were lost: {first_line(error)}. "
                "Every node must have the same eicompress, with its plug-ins, in the Python that Ray was started with"
            )
        self._seats.append(self._seat())
        if seat.job is None:
            return None
        return Done(seat.job, "lost", reason=f"its worker on {seat.host} was lost: {first_line(error)}")

    def _stopped(self) -> Done:
        """Stop a job, with its worker."""
        lost = next((self._lost(seat, StudyError(OUT_OF_TIME)) for seat in self._busy), None)
        return Done(lost.job if lost else self._waiting.pop(), "out of time", reason=OUT_OF_TIME)

    def _tell(self, progress: Tell) -> None:
        seats = self._busy
        doings = answers(self._ray, (seat.actor for seat in seats), "doing", POLL_SECONDS)
        for seat, doing in zip(seats, doings, strict=True):
            if doing and seat.job is not None and doing != seat.doing:
                seat.doing = doing
                progress(seat.job.number, Progress(**doing))


def _check_patience(end: float, place: Place) -> None:
    if time.monotonic() > end:
        raise StudyError(
            f"the Ray cluster must give a worker {place} within {PATIENCE_SECONDS:.0f} s, but did not: it is busy, or "
            "its nodes are gone. What is recorded is kept: see to it, and give the same command again"
        )


@dataclass(eq=False)
class _Seat:
    """A worker as the coordinator knows it."""

    actor: Any
    answer: Any = None
    """Ray reference to the answer of its current call, `open` or `build`; None where it is idle."""
    node: str = ""
    """Ray's name for its machine, once it has started."""
    host: str = ""
    job: Job | None = None
    doing: Json = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        return self.answer is None

    def begin(self, job: Job, trained: list[Any]) -> None:
        self.job, self.doing, self.answer = job, {}, self.actor.build.remote(json.dumps(asdict(job)), trained)
