"""The milliseconds of an artifact by operator, from onnxruntime's profiler."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import onnxruntime
from filelock import FileLock

from eicompress import runtime
from eicompress.metrics.latency import lock_of
from eicompress.metrics.this_machine import Run, ThisMachine
from eicompress.values import Artifact

RUNS = 30
MICROSECONDS = 1000.0
"""In a millisecond."""


def milliseconds_by_operator(artifact: Artifact, length: int, runs: int = RUNS) -> dict[str, float]:
    """Milliseconds of each kind of operator for one text of `length` tokens on one thread here, the slowest first.

    The median of the runs, node by node, summed up by kind. A profile writes down every node, which takes time of its
    own: the sum is more than the latency.
    """
    model = runtime.load(artifact.folder)
    length = min(length, model.positions or length)
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(artifact.onnx), options, providers=["CPUExecutionProvider"])
        run = Run(replace(model, session=session), length)
        with FileLock(lock_of(ThisMachine())):
            for _ in range(runs):
                run.milliseconds()
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: dict[tuple[str, str], list[float]] = {}
    for each in events:
        if each.get("cat") == "Node" and str(each["name"]).endswith("_kernel_time"):
            nodes.setdefault((each["args"]["op_name"], each["name"]), []).append(each["dur"] / MICROSECONDS)
    found: dict[str, float] = {}
    for (operator, _), durations in nodes.items():
        found[operator] = found.get(operator, 0.0) + median(durations)
    return dict(sorted(found.items(), key=lambda each: -each[1]))
