"""The device that this process runs on: onnxruntime on its CPU."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime

from eicompress import runtime
from eicompress.deployment import Device, Times
from eicompress.values import Artifact

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
        run = Run(runtime.load(artifact.folder, threads=threads), length)
        other = None if reference is None else Run(self._loaded(reference, threads), length)
        return _take_turns(run, other, seconds)

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


class Run:
    """One text of a given length, ready to be run again and again."""

    def __init__(self, model: runtime.Model, length: int) -> None:
        self._session = model.session
        ids = np.random.default_rng(0).integers(0, model.tokenizer.get_vocab_size(), (1, length))
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        self._feeds = {each.name: given[each.name] for each in self._session.get_inputs()}

    def milliseconds(self) -> float:
        start = time.perf_counter()
        self._session.run(["logits"], self._feeds)
        return 1000 * (time.perf_counter() - start)


def machine() -> str:
    """The processor's name and how many of them there are."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} CPUs"
