"""The memory of an artifact: the peak of a fresh process that runs texts, minus that of one that does not."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import ClassVar

from eicompress.errors import MeasureError
from eicompress.measures import Metric, Subject
from eicompress.values import MEGABYTE, Artifact, Direction, Measurement, Text

MEMORY = "memory_mb"

TEXTS = 100
"""Texts that are read."""

_PROCESS = """
import json, resource, sys
from eicompress import runtime

folder, threads, texts = json.load(sys.stdin)
if folder:
    pairs = [text if isinstance(text, str) else tuple(text) for text in texts]
    runtime.load(folder, threads=threads).predict(pairs)
try:
    # What getrusage says includes the process that this one was started from.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(1024 * int(status["VmHWM"].split()[0]))
except OSError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


class MemoryMetric(Metric):
    """Peak memory of a process that loads the artifact and reads 100 texts, above that of onnxruntime itself, in MB."""

    name: ClassVar[str] = MEMORY
    unit: ClassVar[str] = "MB"
    direction: ClassVar[Direction] = "minimize"
    label: ClassVar[str] = "memory"
    preview: ClassVar[bool] = True
    promoted: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        texts, threads = subject.examples.texts[:TEXTS], subject.conditions.threads
        value = measure_memory(subject.artifact, texts, threads=threads)
        return (self.measurement(value, texts=len(texts), threads=threads),)


def measure_memory(artifact: Artifact, texts: Sequence[Text], *, threads: int = 1) -> float:
    """MB that the artifact adds to a process that has imported the runtime. Raises `MeasureError`."""
    peak = _peak_bytes(str(artifact.folder.resolve()), threads, texts[:TEXTS])
    return max(0, peak - _empty_bytes()) / MEGABYTE


@lru_cache
def _empty_bytes() -> int:
    """Of a process that imports what an artifact needs, and loads none."""
    return _peak_bytes("", 1, ())


def _peak_bytes(folder: str, threads: int, texts: Sequence[Text]) -> int:
    given = json.dumps([folder, threads, list(texts)])
    done = subprocess.run([sys.executable, "-c", _PROCESS], input=given, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise MeasureError(
            f"the memory of `{folder}` must be measured in a process of its own, but that failed: {last}"
        )
    return int(done.stdout)
