"""How long an artifact takes for one text: onnxruntime on the CPU, batch 1, warmed up.

A candidate is timed in turns with the baseline's float file in the same process, since only their ratio can be
compared between machines.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import onnxruntime
from filelock import FileLock
from tokenizers import Tokenizer

from eicompress import runtime
from eicompress.contracts import Examples, Metric, Task
from eicompress.values import Artifact, Json, Measurement, Text

QUICK_SECONDS = 0.3
"""For previews, of which there are many."""
CAREFUL_SECONDS = 2.0
"""For what is kept."""
SHORTEST = 16
"""The least sequence length that latency is measured at, unless another is asked for."""

_WARM_UP = 3
_RUNS_A_TURN = 5
"""Of the model that is timed, for one of the reference, which is the slower one."""
_LEAST_TURNS = 5


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one text, and for the same text on the reference."""

    p50_ms: float
    p95_ms: float
    reference_p50_ms: float | None
    conditions: Json

    @property
    def ratio(self) -> float | None:
        """Share of the reference's time."""
        return None if self.reference_p50_ms is None else self.p50_ms / self.reference_p50_ms

    def measurements(self) -> tuple[Measurement, ...]:
        """`latency_ms`, which budgets speak of, `latency_p95_ms`, and `latency_ratio` where there is a reference."""
        p50, p95 = ({**self.conditions, "percentile": each} for each in (50, 95))
        found = [
            Measurement("latency_ms", self.p50_ms, "ms", p50),
            Measurement("latency_p95_ms", self.p95_ms, "ms", p95),
        ]
        if self.ratio is not None:
            found.append(Measurement("latency_ratio", self.ratio, "", p50))
        return tuple(found)


class LatencyMetric(Metric):
    """p50 on one thread, at the 95th percentile of the texts' tokens."""

    name: ClassVar[str] = "latency_ms"
    unit: ClassVar[str] = "ms"
    direction: ClassVar[Literal["minimize", "maximize"]] = "minimize"

    def measure(self, artifact: Artifact, task: Task, examples: Examples) -> float:
        model = runtime.load(artifact.folder)
        length = usual_length(model.tokenizer, examples.texts)
        return measure_latency(model, None, length, seconds=CAREFUL_SECONDS).p50_ms


def usual_length(tokenizer: Tokenizer, texts: Sequence[Text]) -> int:
    """Tokens that 95 % of the texts do not exceed under this tokenizer, and 16 at least."""
    lengths = [len(each.ids) for each in tokenizer.encode_batch_fast(list(texts))]
    return max(SHORTEST, int(np.ceil(np.percentile(lengths, 95))))


def measure_latency(
    model: runtime.Model,
    reference: runtime.Model | None,
    length: int,
    *,
    seconds: float = QUICK_SECONDS,
    lock: Path | None = None,
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Latency:
    """Time a model in turns with a reference for about so many seconds, while nobody else times anything.

    `length` is the number of tokens, or as many as both models have positions for. `lock` is the file whose lock
    is held meanwhile, by default one for all processes of the user, and `quiet` is entered.
    """
    for each in (model, reference):
        length = min(length, each.positions or length) if each is not None else length
    run = Run(model, length)
    other = None if reference is None else Run(reference, length)
    with FileLock(lock or default_lock()), quiet():
        own, theirs = _take_turns(run, other, seconds)
    conditions = {
        "threads": model.session.get_session_options().intra_op_num_threads,
        "batch": 1,
        "sequence_length": length,
        "runs": len(own),
        "machine": machine(),
        "runtime": f"onnxruntime {onnxruntime.__version__}",
    }
    p50, p95 = (float(each) for each in np.percentile(own, (50, 95)))
    return Latency(p50, p95, float(np.median(theirs)) if theirs else None, conditions)


def _take_turns(run: "Run", other: "Run | None", seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of each run."""
    for _ in range(_WARM_UP):
        run.milliseconds()
        if other is not None:
            other.milliseconds()
    own: list[float] = []
    theirs: list[float] = []
    end = time.perf_counter() + seconds
    while len(own) < _LEAST_TURNS * _RUNS_A_TURN or time.perf_counter() < end:
        own += [run.milliseconds() for _ in range(_RUNS_A_TURN)]
        if other is not None:
            theirs.append(other.milliseconds())
    return own, theirs


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


def default_lock() -> Path:
    """One file for all processes of the user on this machine."""
    return Path(tempfile.gettempdir()) / f"eicompress-{os.getuid()}.lock"


def machine() -> str:
    """The processor's name and how many of them there are."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} CPUs"
