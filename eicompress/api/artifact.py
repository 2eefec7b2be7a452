"""What is done with an artifact: load, pack, measure and compare."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from eicompress.api.opening import registry_of
from eicompress.declaration import checked
from eicompress.errors import SpecError
from eicompress.parsing import choice
from eicompress.settings import MeasureSettings
from eicompress.spec import read
from eicompress.values import Artifact

if TYPE_CHECKING:
    from eicompress.reporting.comparison import Comparison
    from eicompress.runtime import Model
    from eicompress.values import Measurement

PACKAGES = ("zip", "hf")
"""What `pack` writes."""
LENGTHS = (16, 64, 128)
"""Tokens at which `measure` takes a latency unless it is told."""


def load(artifact: str | Path, *, threads: int = 1) -> "Model":
    """An artifact, ready to predict; no torch is imported. Raises `ModelError`."""
    from eicompress import runtime

    return runtime.load(artifact, threads=threads)


def pack(artifact: str | Path, *, to: str = "zip", output: str | Path | None = None) -> Path:
    """Write an artifact as it is handed on, and return where: `zip`, one file for a device, or `hf`, a folder for the
    model hub with its model card. By default it lies beside the artifact, as `<artifact>.zip` or `<artifact>-hf`.

    The files are checked against the manifest first. Raises `ModelError`, `SpecError` and `ExportError`.
    """
    from eicompress import runtime
    from eicompress.export.package import to_hub, to_zip
    from eicompress.reporting.model_card import card_of

    choice(to, "--to", PACKAGES)
    source = Artifact(Path(os.path.abspath(artifact)))
    runtime.load(source.folder)
    if to == "zip":
        return to_zip(source, Path(output or f"{source.folder}.zip"))
    return to_hub(source, card_of(source), Path(output or f"{source.folder}-hf"))


def measure(
    artifact: str | Path, *, data: str | None = None, **settings: Unpack[MeasureSettings]
) -> "tuple[Measurement, ...]":
    """Size and latency of an artifact, and its quality on data: on the test split, or on all rows of one file.

    Latency is taken at `seq_len` tokens, or at 16, 64 and 128. Raises `SpecError`, `ModelError`, `DataError` and
    `MeasureError`.
    """
    from eicompress.metrics.bench import Bench, download, quality, size
    from eicompress.metrics.latency import CAREFUL_SECONDS
    from eicompress.trials.evaluation import rows_for

    asked = checked(MeasureSettings, settings)
    folder = Artifact(Path(artifact))
    bench = Bench((), asked["threads"])
    model = bench.load(folder)
    found = [*size(folder), *download(folder)]
    for length in (asked["seq_len"],) if "seq_len" in asked else LENGTHS:
        found += bench.latency(model, seconds=CAREFUL_SECONDS, seq_len=length).measurements()
    if data is not None:
        spec = read({"model": str(artifact), "data": data, **asked})
        split, task, examples = rows_for(model, spec, registry_of(spec))
        found += quality(model, task, {split: examples})[0]
    return tuple(found)


def compare(
    artifacts: Sequence[str | Path],
    *,
    data: str,
    output: str | Path | None = None,
    **settings: Unpack[MeasureSettings],
) -> "Comparison":
    """Two artifacts or more on the same data: bytes, milliseconds, and quality against that of the first one.

    Latency is taken at `seq_len` tokens, or at the first one's 95th percentile. `output` is a page to write. Raises
    `SpecError`, `ModelError` and `DataError`.
    """
    from eicompress.metrics.bench import Bench
    from eicompress.metrics.latency import CAREFUL_SECONDS, usual_length
    from eicompress.reporting.comparison import Comparison, Measured, against, comparison_page
    from eicompress.reporting.files import write_page
    from eicompress.trials.evaluation import rows_for

    if len(artifacts) < 2:
        raise SpecError(f"`compare` must be given two artifacts or more, but got {len(artifacts)}")
    spec = read({"model": str(artifacts[0]), "data": data, **checked(MeasureSettings, settings)})
    registry, bench, found = registry_of(spec), Bench((), spec.settings["threads"]), []
    length = spec.settings.get("seq_len")
    for each, name in zip(artifacts, _told_apart(artifacts), strict=True):
        model = bench.load(Artifact(Path(each)))
        split, task, examples = rows_for(model, spec, registry)
        length = length or usual_length(model.tokenizer, examples.texts)
        latency = bench.latency(model, seconds=CAREFUL_SECONDS, seq_len=length)
        correct = task.correct(model.logits(examples.texts), examples.targets)
        found.append(Measured(name, Artifact(Path(each)).size_mb, latency.p50_ms, correct))
    first, *others = found
    compared = tuple(against(first, other) for other in others)
    comparison = Comparison(data, split, task.quality, length or 0, first, compared)
    if output is not None:
        write_page(Path(output), comparison_page(comparison))
    return comparison


def _told_apart(artifacts: Sequence[str | Path]) -> list[str]:
    """As many last parts of each path as it takes to tell them apart."""
    parts = [Path(os.path.abspath(each)).parts for each in artifacts]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len({*names}) == len({*parts}):
            break
    return names
