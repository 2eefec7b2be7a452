"""Run the metrics on an artifact: bytes, milliseconds, and quality from the ONNX file."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from eicompress import runtime
from eicompress.contracts import Array, Device, Examples, Task
from eicompress.metrics.latency import Latency, measure_latency, usual_length
from eicompress.metrics.memory import TEXTS, measure_memory
from eicompress.metrics.quality import score
from eicompress.metrics.size import download_mb
from eicompress.metrics.this_machine import ThisMachine
from eicompress.values import Artifact, Measurement, Text


@dataclass(frozen=True)
class Bench:
    """How latency is taken: on `device`, in turns with `reference`, on `threads`, at `seq_len` tokens or as many as are
    usual.

    `usual` are the texts whose 95th percentile of tokens, under the artifact's own tokenizer, is meant by "usual".
    `quiet` is entered meanwhile.
    """

    usual: tuple[Text, ...]
    threads: int = 1
    seq_len: int | None = None
    reference: Artifact | None = None
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext
    device: Device = field(default_factory=ThisMachine)

    def load(self, artifact: Artifact) -> runtime.Model:
        return runtime.load(artifact.folder, threads=self.threads)

    def latency(self, artifact: Artifact, *, seconds: float, seq_len: int | None = None) -> Latency:
        """Raises `MeasureError`."""
        length = seq_len or self.seq_len or usual_length(runtime.tokenizer(artifact), self.usual)
        return measure_latency(
            self.device, artifact, self.reference, length, threads=self.threads, seconds=seconds, quiet=self.quiet
        )

    def memory(self, artifact: Artifact) -> tuple[Measurement, ...]:
        """`memory_mb`, in processes of its own. Raises `MeasureError`."""
        value = measure_memory(artifact, self.usual, threads=self.threads)
        return (Measurement("memory_mb", value, "MB", {"texts": min(TEXTS, len(self.usual)), "threads": self.threads}),)


def size(artifact: Artifact) -> tuple[Measurement, ...]:
    """`size_mb`, every byte of the folder."""
    return (Measurement("size_mb", artifact.size_mb, "MB"),)


def download(artifact: Artifact) -> tuple[Measurement, ...]:
    """`download_mb`, the folder zipped."""
    return (Measurement("download_mb", download_mb(artifact), "MB"),)


def quality(
    model: runtime.Model, task: Task, splits: Mapping[str, Examples]
) -> tuple[tuple[Measurement, ...], dict[str, Array]]:
    """The task's quality on each split, by split named in the conditions, and the logits it was computed from.

    The validation split's is called `quality`, another's `quality_<split>`; so is what the task says beside it.
    """
    measurements, logits = [], {}
    for name, examples in splits.items():
        value, logits[name] = score(model, task, examples)
        end = "" if name == "validation" else f"_{name}"
        measurements.append(_quality(f"quality{end}", value, task, name, examples, batch=1))
        for other, beside in task.beside(logits[name], examples.targets).items():
            conditions = {"metric": other, "split": name, "examples": len(examples), "batch": 1}
            measurements.append(Measurement(f"{other}{end}", beside, "", conditions))
    return tuple(measurements), logits


def quality_of(logits: Array, task: Task, validation: Examples) -> Measurement:
    """`quality` of logits for the validation split that no ONNX file gave."""
    return _quality("quality", task.score(logits, validation.targets), task, "validation", validation)


def _quality(name: str, value: float, task: Task, split: str, examples: Examples, **how: int) -> Measurement:
    return Measurement(name, value, "", {"metric": task.quality, "split": split, "examples": len(examples), **how})
