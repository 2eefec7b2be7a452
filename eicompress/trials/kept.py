"""Stored measurements: records by their conditions, and files by their checksums."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eicompress.answers.entities import NONE
from eicompress.cache import Cache, write_whole
from eicompress.contracts import Array, Examples, Task
from eicompress.deployment import Device
from eicompress.export.folder import versions
from eicompress.measures import Metric
from eicompress.metrics.latency import describe
from eicompress.metrics.this_machine import machine
from eicompress.trials.code import MEASURING, code_version, own_code
from eicompress.values import Record

PACKAGES = ("eicompress", "numpy", "onnx", "onnxruntime", "optuna", "tokenizers", "torch")
"""Packages whose versions a measurement depends on."""


@dataclass(frozen=True)
class Measured:
    """Records of measurements on this machine, timed on one device with `threads` threads and at `seq_len` tokens."""

    cache: Cache
    threads: int
    seq_len: int | None
    device: Device
    metrics: Mapping[str, str]
    """Which metrics are measured, and the code of foreign ones."""

    def remembered(self, key: object, compute: Callable[[], Record]) -> Record:
        """A record that was measured under the same conditions, or a new one."""
        record = self.known(key)
        if record is None:
            record = compute()
            self.cache.store("record", self._under(key), lambda folder: _write(record, folder))
        return record

    def known(self, key: object) -> Record | None:
        """A record that was measured under the same conditions, whose files are there."""
        entry = self.cache.find("record", self._under(key))
        record = Record.from_json(json.loads((entry / "record.json").read_text())) if entry else None
        return record if record and all(Path(file).exists() for file in record.files.values()) else None

    def _under(self, key: object) -> list[object]:
        packages = list(versions(PACKAGES).values())
        return [
            key,
            [own_code(MEASURING), machine(), self.threads, self.seq_len, packages, self._timed_on, dict(self.metrics)],
        ]

    @property
    def _timed_on(self) -> list[object]:
        """The identity of the device."""
        code = code_version(type(self.device).__module__.partition(".")[0])
        return [self.device.name, describe(self.device), code]


def code_of(metrics: Iterable[type[Metric]]) -> dict[str, str]:
    """The code of each metric, by its name; empty for our own, which every key holds already."""
    packages = {each.name: each.__module__.partition(".")[0] for each in metrics}
    return {name: "" if package == "eicompress" else code_version(package) for name, package in packages.items()}


def kept_logits(folder: Path, logits: Mapping[str, Array]) -> dict[str, str]:
    """Logits (n, outputs) in files under `folder` that are named by their checksum, by `<split>_logits`. Compressed,
    since most of those of words only fill up shorter texts."""
    kept = {}
    for split, array in logits.items():
        file = io.BytesIO()
        np.savez_compressed(file, logits=array.astype(np.float32))
        kept[f"{split}_logits"] = _kept(folder, file.getvalue(), ".npz")
    return kept


def kept_examples(folder: Path, task: Task, examples: Examples) -> str:
    """Examples in a file under `folder`: texts, targets and the answer that they are of. What only fills rows of
    targets up, `NONE`, is left out at their ends."""
    targets = [_without_end(row) for row in examples.targets.tolist()]
    value = {"answer": task.answer.to_json(), "targets": targets, "texts": examples.texts}
    return _kept(folder, json.dumps(value, ensure_ascii=False).encode(), ".json")


def _without_end(row: Any) -> Any:
    """A row of targets to its last value that is one; a number, or a row of others, as it is."""
    if not isinstance(row, list) or not row or row[-1] != NONE:
        return row
    return row[: 1 + max((at for at, value in enumerate(row) if value != NONE), default=-1)]


def _kept(folder: Path, data: bytes, suffix: str) -> str:
    """The path of a file that is named by its checksum."""
    path = folder / "files" / f"{hashlib.sha256(data).hexdigest()}{suffix}"
    if not path.is_file():
        write_whole(path, data)
    return str(path)


def _write(record: Record, folder: Path) -> None:
    (folder / "record.json").write_text(json.dumps(record.to_json()))
