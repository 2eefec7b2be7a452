"""The milliseconds of an artifact by operator, from onnxruntime's profiler."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import onnxruntime
from filelock import FileLock

from eicompress import runtime
from eicompress.metrics.latency import lock_of
from eicompress.metrics.this_machine import ThisMachine, arbitrary, given
from eicompress.values import Artifact, Text

RUNS = 30
MICROSECONDS = 1000.0
"""In a millisecond."""


def milliseconds_by_operator(
    artifact: Artifact, length: int, texts: Sequence[Text] = (), runs: int = RUNS
) -> dict[str, float]:
    """Milliseconds of each kind of operator for one text of `length` tokens on one thread here, the slowest first; or,
    where the artifact's time depends on the text, for one of these texts, on average.

    The median of a node's runs, times the share of the texts that run it, summed up by kind. A profile writes down
    every node, which takes time of its own: the sum is more than the latency.
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
        model = replace(model, session=session)
        read = given(model, texts) if model.depends_on_text and texts else [arbitrary(model, length)] * runs
        with FileLock(lock_of(ThisMachine())):
            for each in read:
                each.milliseconds()
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: dict[tuple[str, str], list[float]] = {}
    for each in events:
        if each.get("cat") == "Node" and str(each["name"]).endswith("_kernel_time"):
            nodes.setdefault((each["args"]["op_name"], each["name"]), []).append(each["dur"] / MICROSECONDS)
    found: dict[str, float] = {}
    for (operator, _), durations in nodes.items():
        if operator != "If":  # its time is that of the nodes in its branches
            found[operator] = found.get(operator, 0.0) + median(durations) * len(durations) / len(read)
    return dict(sorted(found.items(), key=lambda each: -each[1]))
