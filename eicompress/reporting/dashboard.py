"""A study in Optuna's dashboard: a copy that is served, so that looking at a search cannot disturb it.

The dashboard writes to the storage that it is given and reads infeasibility from an attribute that Optuna 5 no longer
writes. So it never gets the study's database: what that holds is read, copied into memory in the dashboard's own
terms, and read again after it has changed.
"""

import io
import json
import math
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, BinaryIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from eicompress.errors import EicompressError, SpecError
from eicompress.export.zip import zipped
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY, QUALITY_TEST
from eicompress.metrics.size import SIZE
from eicompress.recipe import recipe_toml
from eicompress.reporting import figures
from eicompress.reporting.answer import cost, more, sentence, simple, spoken
from eicompress.reporting.data import Numbers, in_words
from eicompress.study.importance import TRIALS_FOR_IMPORTANCE
from eicompress.study.objective import REWARD, SHOWN, Objective
from eicompress.study.optuna_private import add
from eicompress.study.outcomes import share_text
from eicompress.study.ranking import heaviest_parts
from eicompress.study.result import REPORT, Result
from eicompress.values import Artifact, Record, counted

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
LAST_PORT = 65_535
REST = 10.0
"""Seconds between two readings of the database at least."""
UNBROKEN = 10_000
"""Characters of a line of a note; the page wraps it."""
CONSTRAINTS = "constraints"
"""Where dashboards up to 0.21 look for constraint values, in one list; Optuna 5 writes an attribute for each."""
UNKNOWN = re.compile(r"(^|/)\.\.(/|$)|^/artifacts/(?!0/)")
"""Invalid paths on which the dashboard fails: out of a folder, and to another study's files."""
FILE = "artifacts:"
"""What Optuna's names of a trial's files begin with."""


@dataclass(frozen=True)
class File:
    """Something to download; its bytes are made when they are asked for."""

    name: str
    kind: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class ArtifactFiles:
    """Optuna's artifact store, only to be read."""

    files: Mapping[str, File] = field(default_factory=dict)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        if artifact_id not in self.files:
            raise ArtifactNotFound(artifact_id)
        return io.BytesIO(self.files[artifact_id].read())

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        raise NotImplementedError("the copy of a study is not written to")

    def remove(self, artifact_id: str) -> None:
        raise NotImplementedError("the copy of a study is not written to")


class Copy(InMemoryStorage):
    """Optuna's storage in memory, in which the best trial is one within budget."""

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        if len(self.get_study_directions(study_id)) > 1:
            return super().get_best_trial(study_id)
        complete = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
        within = [each for each in complete if all(value <= 0 for value in each.system_attrs[CONSTRAINTS])]
        best = max if self.get_study_directions(study_id) == [StudyDirection.MAXIMIZE] else min
        return best(within, key=lambda each: each.value or 0.0) if within else super().get_best_trial(study_id)


def copied(numbers: Numbers, trials: Sequence[FrozenTrial]) -> tuple[Copy, ArtifactFiles]:
    """The study as the dashboard reads it: outcomes, constraints, notes, figures, and files to download."""
    from optuna_dashboard import save_note, save_plotly_graph_object

    result, storage = numbers.result, Copy()
    every: dict[str, File] = {}
    study = optuna.create_study(
        storage=storage,
        study_name=numbers.name,
        directions=result.objective.directions,
        sampler=RandomSampler(seed=0),
    )
    with warnings.catch_warnings():
        # Marked experimental, and the only way to name what is maximised.
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(_names(numbers))
    save_note(study, _study_note(numbers))
    for trial in trials:
        record, rebuild = result.records.get(trial.number), result.promoted.get(trial.number)
        files = {f"{trial.number:x}-{place:x}": file for place, file in enumerate(_files(result, record, rebuild))}
        template = _shown(trial, record, numbers, files)
        copy = add(study, template)
        every |= files
        if record is not None:
            save_note(copy, note(record, rebuild, numbers))
    for name, figure in figures.drawn(numbers).items():
        # Nothing stands around it there, so it says itself what it is.
        title = name[:1].upper() + name[1:].replace("-", " ")
        titled = figure.update_layout(title={"text": title}, margin={"t": 64})
        save_plotly_graph_object(study, titled, graph_object_id=name)
    return storage, ArtifactFiles(every)


def note(record: Record, rebuild: Record | None, numbers: Numbers) -> str:
    """The outcome of a trial in sentences, in Markdown."""
    lines = [_outcome(record)]
    if record.measurements:
        lines.append(_measured(record, numbers))
    if rebuild is not None:
        length = share_text(rebuild.fidelity)
        lines.append(f"Handed out after {length} of the full training: {_measured(rebuild, numbers)}")
    if record.bytes_by_group:
        lines.append(f"Most of its bytes are {heaviest_parts(rebuild or record, 3)}.")
    if record.recipe:
        lines.append("\n".join(f"- {line}" for line in in_words(record.recipe, width=UNBROKEN).splitlines()))
    if record.outcome == "failed":
        lines.append("\n".join(["```", record.reason.strip(), "```"]))
    return "\n\n".join(lines)


def _outcome(record: Record) -> str:
    if record.repeat_of is not None:
        return f"**A repeat** of trial {record.repeat_of}, whose record is reused."
    if record.outcome == "failed":
        return "**It crashed**, and the search continued."
    if record.outcome == "inapplicable":
        return f"**Not possible on this model**: {record.reason}"
    took = sum(record.seconds_by_phase.values())
    trained = f"Trained at {share_text(record.fidelity)} of the full length in {spoken(took)}."
    if record.outcome == "over budget":
        return f"**Over budget**: {record.reason}. {trained if record.trained else 'Over budget in its preview.'}"
    if record.outcome == "stopped early":
        return f"**Stopped early**: {record.reason}."
    return f"**Within budget.** {trained}"


def _measured(record: Record, numbers: Numbers) -> str:
    size, latency, quality = (record.value(name) for name in (SIZE, LATENCY, QUALITY))
    parts = [f"{size:.3f} MB"] if size is not None else []
    parts += [f"{latency:.2f} ms for a text"] if latency is not None else []
    said = numbers.quality.text
    if quality is not None:
        share = numbers.result.share(record)
        parts.append(f"{said(quality)} {numbers.quality.name}" + (f" ({share:.1%} of the baseline's)" if share else ""))
    test = record.value(QUALITY_TEST)
    parts += [f"{said(test)} on test"] if test is not None else []
    for each in numbers.result.objective.extra:
        value = record.value(each.name)
        parts += [f"{each.label} {each.text(value)}"] if value is not None else []
    return ", ".join(parts) + "."


def _study_note(numbers: Numbers) -> str:
    """The study's own note."""
    asked = {"Simple baselines": simple(numbers), "Cost": cost(numbers), "One more MB": more(numbers)}
    parts = [sentence(numbers), *(f"**{name}.** {text}" for name, text in asked.items() if text)]
    if numbers.effort.trained < TRIALS_FOR_IMPORTANCE:
        parts.append(
            f"**Hyperparameter importance.** {counted(numbers.effort.trained, 'trained trial')} are too few to rank "
            f"knobs: what is drawn below {TRIALS_FOR_IMPORTANCE} is chance."
        )
    parts.append(f"*A copy of the study to look at: changing it is not possible here. Read again every {REST:.0f} s.*")
    return "\n\n".join(part for part in parts if part)


def _names(numbers: Numbers) -> list[str]:
    """What each of the objective's numbers is."""
    name = f"{numbers.quality.name} on validation"
    if numbers.result.objective.name == REWARD:
        return [f"reward of {name}"]
    objective = numbers.result.objective
    return [name if metric == QUALITY else objective.known[metric].axis for metric in objective.metrics]


def _shown(trial: FrozenTrial, record: Record | None, numbers: Numbers, files: Mapping[str, File]) -> FrozenTrial:
    """A trial as the dashboard understands it.

    Its plots show as infeasible what is complete and breaks a constraint, and nothing else. Its list shows the state
    alone, so the note and the attribute `outcome` say it there. What was over budget in its preview has no quality, and
    counts as infinitely bad here, as it does for the objective.
    """
    repeat = record is not None and record.repeat_of is not None
    objective, state, values = numbers.result.objective, trial.state, trial.values
    attrs: dict[str, Any] = {f"{FILE}{name}": _meta(name, file) for name, file in files.items()}
    attrs[CONSTRAINTS] = list(objective.constraints(record).values()) if record else []
    over = record is not None and not repeat and record.outcome in ("over budget", "inapplicable")
    if over and state == TrialState.PRUNED:
        worst = {"maximize": -math.inf, "minimize": math.inf}
        state, values = TrialState.COMPLETE, [worst[direction] for direction in objective.directions]
    elif repeat:
        state = TrialState.PRUNED
    made = create_trial(
        state=state,
        values=values if state == TrialState.COMPLETE else None,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=_attributes(record, objective) if record else {},
        system_attrs=attrs,
    )
    made.datetime_start, made.datetime_complete = trial.datetime_start, trial.datetime_complete
    return made


def _attributes(record: Record, objective: Objective) -> dict[str, Any]:
    found: dict[str, Any] = {"outcome": "repeat" if record.repeat_of is not None else record.outcome}
    shown = {name: objective.known[name].axis for name in SHOWN} | {QUALITY_TEST: f"{QUALITY} on test"}
    shown |= {each.name: each.axis for each in objective.extra}
    return found | {said: value for name, said in shown.items() if (value := record.value(name)) is not None}


def _files(result: Result, record: Record | None, rebuild: Record | None) -> Iterator[File]:
    """The artifact, the rebuild's where there is one, the recipe, and the study's report."""
    if record is None:
        return
    artifact = Artifact(Path((rebuild or record).files.get("artifact", "")))
    if artifact.onnx.is_file():
        yield File("artifact.zip", "application/zip", lambda: zipped(artifact))
    if record.recipe:
        yield File("recipe.toml", "text/plain", lambda: recipe_toml(record.recipe).encode())
    report = result.folder / REPORT
    if report.is_file():
        yield File(REPORT, "text/html", report.read_bytes)


def _meta(name: str, file: File) -> str:
    return json.dumps({"artifact_id": name, "filename": file.name, "mimetype": file.kind, "encoding": None})


def served(storage: Copy, files: ArtifactFiles) -> "WSGIApplication":
    """The dashboard of a copy. By itself it names the best of the complete trials, feasible or not; here it names none
    that breaks a constraint."""
    from optuna_dashboard import wsgi

    def feasible(view: Callable[..., Any]) -> Callable[..., Any]:
        def answered(*given: Any, **named: Any) -> Any:
            body = view(*given, **named)
            if isinstance(body, dict) and "best_trials" in body:
                best = body["best_trials"]
                body["best_trials"] = [each for each in best if all(value <= 0 for value in each["constraints"])]
            return body

        return answered

    application: Any = wsgi(storage, files)
    application.install(feasible)
    made: WSGIApplication = application
    return made


@dataclass
class Mirror:
    """The dashboard of a study that may still be written, as a WSGI application. It answers GET alone.

    `read` reads the study; `version` changes when there is something new to read.
    """

    read: Callable[[], tuple[Numbers, Sequence[FrozenTrial]]]
    version: Callable[[], object]
    clock: Callable[[], float] = time.monotonic
    _application: "WSGIApplication | None" = None
    _version: object = None
    _read_at: float = -math.inf
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Content-Type", "application/json")])
            return [json.dumps({"reason": "This is a copy of the study: it cannot be changed here."}).encode()]
        if environ.get("HTTP_HOST", "").partition(":")[0] not in (HOST, "localhost"):
            # A page elsewhere whose name was made to mean this machine.
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"Open it as 127.0.0.1."]
        if UNKNOWN.search(environ.get("PATH_INFO", "")):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"There is no such page."]
        try:
            application = self._current()
        except EicompressError as error:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"error: {error}".encode()]
        return application(environ, start_response)

    def _current(self) -> "WSGIApplication":
        """The dashboard of the newest copy. While one thread reads, the others go on with the one before."""
        if self._reading.acquire(blocking=self._application is None):
            try:
                version = self.version()
                due = self._application is None or self.clock() - self._read_at >= REST
                if due and (self._application is None or version != self._version):
                    storage, files = copied(*self.read())
                    self._application, self._version, self._read_at = served(storage, files), version, self.clock()
            finally:
                self._reading.release()
        assert self._application is not None
        return self._application


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def serving(mirror: Mirror, port: int) -> WSGIServer:
    """A server on this machine alone; port 0 means a free one. Raises `SpecError` without the dashboard or the port."""
    try:
        import optuna_dashboard  # noqa: F401
    except ImportError as error:
        raise SpecError("the dashboard is an extra: pip install 'eicompress[dashboard]'") from error
    if not 0 <= port <= LAST_PORT:
        raise SpecError(f"`--port` must be a number from 0 to {LAST_PORT}, but got {port}: give 0 for a free one")
    try:
        return make_server(HOST, port, mirror, _Server, _Quiet)
    except OSError as error:
        raise SpecError(f"`--port` must be free, but {port} is not ({error.strerror}): choose another") from error
