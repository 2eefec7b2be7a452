"""The device that this process runs on: onnxruntime on its CPU."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from eicompress import runtime
from eicompress.deployment import Device, Times
from eicompress.values import Artifact, Text

_WARM_UP = 3
_RUNS_A_TURN, _REFERENCE_RUNS_A_TURN = 5, 2
"""The reference is the slower one."""
_LEAST_TURNS = 5


@dataclass(frozen=True)
class ThisMachine(Device):
    """This machine: onnxruntime on its CPU, in this process. Artifact and reference take turns, five runs to two.

    Each turn begins with a run that is not timed, since the other one has displaced the processor's caches.
    """

    name: ClassVar[str] = "this_machine"
    local: ClassVar[bool] = True
    _references: dict[tuple[Path, int], runtime.Model] = field(default_factory=dict, init=False, repr=False)
    """Loaded references, by folder and threads: large files that are timed beside every candidate."""

    def describe(self) -> Mapping[str, str]:
        return {"machine": machine(), "runtime": f"onnxruntime {onnxruntime.__version__}"}

    def time(
        self, artifact: Artifact, reference: Artifact | None, length: int, *, threads: int, seconds: float
    ) -> Times:
        run = arbitrary(runtime.load(artifact.folder, threads=threads), length)
        other = None if reference is None else arbitrary(self._loaded(reference, threads), length)
        return _take_turns(run, other, seconds)

    def time_texts(
        self, artifact: Artifact, reference: Artifact | None, texts: Sequence[Text], *, threads: int, seconds: float
    ) -> Times:
        run = given(runtime.load(artifact.folder, threads=threads), texts)
        other = [] if reference is None else given(self._loaded(reference, threads), texts)
        return _take_turns_on(run, other, seconds)

    def _loaded(self, reference: Artifact, threads: int) -> runtime.Model:
        key = reference.folder, threads
        if key not in self._references:
            self._references[key] = runtime.load(reference.folder, threads=threads)
        return self._references[key]


def _take_turns(run: "Run", other: "Run | None", seconds: float) -> Times:
    for _ in range(_WARM_UP):
        run.milliseconds()
        if other is not None:
            other.milliseconds()
    own: list[float] = []
    theirs: list[float] = []
    end = time.perf_counter() + seconds
    while len(own) < _LEAST_TURNS * _RUNS_A_TURN or time.perf_counter() < end:
        own += _turn(run, _RUNS_A_TURN)
        if other is not None:
            theirs += _turn(other, _REFERENCE_RUNS_A_TURN)
    return Times(own, theirs)


def _turn(run: "Run", count: int) -> list[float]:
    """Milliseconds of `count` runs, after one that is not timed."""
    run.milliseconds()
    return [run.milliseconds() for _ in range(count)]


def _take_turns_on(run: Sequence["Run"], other: Sequence["Run"], seconds: float) -> Times:
    """Each text once, and then all of them again while there is time; five in a turn, after one that is not timed."""
    own: list[float] = []
    theirs: list[float] = []
    end = time.perf_counter() + seconds
    while not own or time.perf_counter() < end:
        for start in range(0, len(run), _RUNS_A_TURN):
            for timed, texts in ((own, run), (theirs, other)):
                turn = texts[start : start + _RUNS_A_TURN]
                for each in turn[:1]:
                    each.milliseconds()
                timed += [each.milliseconds() for each in turn]
    return Times(own, theirs)


class Run:
    """A text as a model is given it, ready to be run again and again."""

    def __init__(self, session: onnxruntime.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]]) -> None:
        self._session, self._feeds = session, dict(feeds)
        self._outputs = [each.name for each in session.get_outputs() if each.name != runtime.LAYERS]

    def milliseconds(self) -> float:
        start = time.perf_counter()
        self._session.run(self._outputs, self._feeds)
        return 1000 * (time.perf_counter() - start)


def arbitrary(model: runtime.Model, length: int) -> Run:
    """A text of this many arbitrary tokens, which runs through all layers."""
    ids = np.random.default_rng(0).integers(0, model.tokenizer.get_vocab_size(), (1, length))
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    feeds: dict[str, npt.NDArray[Any]] = {each.name: given[each.name] for each in model.session.get_inputs()}
    return Run(model.session, {**feeds, **({} if model.exits is None else runtime.WHOLE_DEPTH)})


def given(model: runtime.Model, texts: Sequence[Text]) -> list[Run]:
    """Each of these texts."""
    return [Run(model.session, feeds) for feeds in model.feeds(texts)]


def machine() -> str:
    """The processor's name and how many of them there are."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} CPUs"
