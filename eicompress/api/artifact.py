"""What is done with an artifact: load, pack, measure and compare."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from eicompress.api.opening import artifact_at, check_new, registry_of
from eicompress.declaration import checked, declared, flag
from eicompress.errors import MeasureError, SpecError
from eicompress.parsing import text, texts
from eicompress.settings import PROCESSORS, MeasureSettings, PluginSettings, TaskSettings
from eicompress.spec import read
from eicompress.values import Artifact

if TYPE_CHECKING:
    from eicompress.contracts import Task
    from eicompress.export.package import Package
    from eicompress.reporting.comparison import Comparison
    from eicompress.runtime import Model
    from eicompress.values import Measurement

LENGTHS = (16, 64, 128)
"""Tokens at which `measure` takes a latency where no `seq_len` is given."""


def load(artifact: str | Path, *, threads: int = 1, task: str | None = None) -> "Model":
    """An artifact, ready to predict; no torch is imported. Raises `ModelError`.

    `artifact` is a folder, or `STUDY:7` for that of trial 7 of a study, here and in the other functions. `task` is the
    one that is answered, of an artifact of several; by default all that read such a text.
    """
    from eicompress import runtime

    model = runtime.load(artifact_at(artifact), threads=PROCESSORS(threads, "threads"))
    return model if task is None else model.of_task(task)


def pack(
    artifact: str | Path, *, to: str = "zip", output: str | Path | None = None, **settings: Unpack[PluginSettings]
) -> "Package":
    """Write an artifact for a target: `zip`, one file to send, `hf`, a folder for the model hub with its model card, or
    one that a plug-in brings. By default it lies beside the artifact, as `<artifact>.zip` or `<artifact>-hf`.

    The files are checked against the manifest first, and nothing is overwritten. Raises `ModelError`, `SpecError`,
    `PluginError` and `ExportError`.
    """
    from eicompress import runtime
    from eicompress.export.package import write_package
    from eicompress.plugins import discover
    from eicompress.reporting.model_card import card_of

    asked = checked(PluginSettings, settings)
    target = discover(asked.get("plugin"), asked.get("only_plugins")).target(text(to, "--to"))()
    source = Artifact(Path(os.path.abspath(artifact_at(artifact))))
    runtime.load(source.folder)
    return write_package(target, source, card_of(source), Path(output or f"{source.folder}{target.suffix}"))


def measure(
    artifact: str | Path, *, data: str | Path | Sequence[str | Path] | None = None, **settings: Unpack[MeasureSettings]
) -> "tuple[Measurement, ...]":
    """Size and latency of an artifact, and on data its quality and all other metrics: on the test split, or on all rows
    of one file.

    Latency is taken on `device`, at `seq_len` tokens, or at 16, 64 and 128, through all layers; of an artifact with
    early exits also on the texts, where there are data and no `seq_len`. Raises `SpecError`, `PluginError`,
    `ModelError`, `DataError` and `MeasureError`.
    """
    from eicompress import runtime
    from eicompress.measures import Conditions
    from eicompress.metrics.latency import CAREFUL_SECONDS, LatencyMetric, measure_latency
    from eicompress.metrics.measure import measure
    from eicompress.metrics.size import DownloadMetric, SizeMetric, download_mb
    from eicompress.plugins import discover
    from eicompress.trials.evaluation import rows_for, subject_of

    asked = checked(MeasureSettings, settings)
    if data is None and (given := [flag(name) for name in declared(TaskSettings) if settings.get(name) is not None]):
        raise SpecError(f"`{given[0]}` must come with data to read, but there is no `--data`: add it, or leave it out")
    folder, registry = Artifact(artifact_at(artifact)), discover(asked.get("plugin"), asked.get("only_plugins"))
    device, threads = registry.device(asked["device"])(), asked["threads"]
    model = runtime.load(folder.folder, threads=threads)
    found = [SizeMetric.measurement(folder.size_mb), DownloadMetric.measurement(download_mb(folder))]
    limit = runtime.positions(folder)
    if limit is not None and asked.get("seq_len", 0) > limit:
        raise SpecError(f"`--seq-len` must be at most {limit}, the artifact's positions, but got {asked['seq_len']}")
    for length in (asked["seq_len"],) if "seq_len" in asked else sorted({min(each, limit or each) for each in LENGTHS}):
        latency = measure_latency(device, folder, None, length, threads=threads, seconds=CAREFUL_SECONDS)
        found += latency.measurements()
    if data is not None:
        spec = read({"model": str(folder.folder), "data": data, **asked})
        rows = rows_for(model, spec, registry)
        known = {each.name for each in found}
        if model.depends_on_text and "seq_len" not in asked:
            known.remove(LatencyMetric.name)
        others = [metric for name, metric in registry.metrics.items() if name not in known]
        conditions = Conditions(threads, asked.get("seq_len"), device=device)
        taken = measure(others, subject_of(folder, rows, conditions))
        for name, why in taken.unmeasured.items():
            raise MeasureError(f"`{name}` must be measured, or left out with `--only-plugins`, but could not be: {why}")
        found += taken.measurements
    return tuple(found)


def compare(
    artifacts: Sequence[str | Path],
    *,
    data: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    **settings: Unpack[MeasureSettings],
) -> "Comparison":
    """Two artifacts or more on the same data: bytes, milliseconds, and quality against that of the first one.

    Latency is taken on `device` in turns with the first one, at `seq_len` tokens or the first one's 95th
    percentile, or at as many as all of them have positions for; without `seq_len`, where the time of one depends on the
    text, on the texts. `output` is a page to write. Raises `SpecError`,
    `PluginError`, `ModelError`, `DataError` and `MeasureError`.
    """
    from eicompress import runtime
    from eicompress.measures import Conditions
    from eicompress.metrics.latency import CAREFUL_SECONDS, measure_latency, measure_text_latency
    from eicompress.metrics.quality import difference_of
    from eicompress.reporting.comparison import Comparison, Measured, against, comparison_page
    from eicompress.reporting.files import write_page
    from eicompress.study.quality_words import QualityWords
    from eicompress.trials.evaluation import rows_for, subject_of

    if output is not None:
        check_new(output)
    given = texts(artifacts, "artifacts")
    if len(given) < 2:
        raise SpecError(f"`compare` must be given two artifacts or more, but got {len(given)}")
    folders = [Artifact(artifact_at(each)) for each in given]
    spec = read({"model": str(folders[0].folder), "data": data, **checked(MeasureSettings, settings)})
    registry, settings, found, logits = registry_of(spec), spec.settings, [], []
    device, threads = registry.device(settings["device"])(), settings["threads"]
    reference, length, compared_as = None, 0, None
    by_text = "seq_len" not in settings and any(runtime.load(each.folder).depends_on_text for each in folders)
    for each, name in zip(folders, _distinct_names(given), strict=True):
        model = runtime.load(each.folder, threads=threads)
        rows = rows_for(model, spec, registry)
        task, examples = rows.task, rows.examples
        compared_as = compared_as or task
        _check_alike(compared_as, task, given[0], name)
        if reference is None:
            wanted = settings.get("seq_len") or runtime.usual_length(model.tokenizer, examples.texts)
            length = min(wanted, *(runtime.positions(one) or wanted for one in folders))
        conditions = Conditions(threads, seconds=CAREFUL_SECONDS, reference=reference)
        subject = subject_of(each, rows, conditions)
        if by_text:
            of_texts = measure_text_latency(device, subject)
            taken, ratio = of_texts.mean_ms, of_texts.ratio
        else:
            timed = measure_latency(device, each, reference, length, threads=threads, seconds=CAREFUL_SECONDS)
            taken, ratio = timed.p50_ms, timed.ratio
        logits.append(subject.logits)
        measured = Measured(
            name,
            each.size_mb,
            taken,
            quality=task.score(logits[-1], examples.targets),
            correct=task.correct(logits[-1], examples.targets),
            beside=subject.beside(),
            latency_ratio=ratio,
        )
        found.append(measured)
        reference = reference or each
    first, *others = found
    apart = [None if task.averaged else difference_of(task, each, logits[0], examples.targets) for each in logits[1:]]
    compared = tuple(against(first, *each) for each in zip(others, apart, strict=True))
    named = [name for name in first.beside if all(name in each.beside for each in others)]
    comparison = Comparison(
        spec.data,
        rows.split,
        QualityWords.of(task),
        None if by_text else length,
        device.name,
        first,
        compared,
        tuple(QualityWords.of(task, name) for name in named),
    )
    if output is not None:
        write_page(Path(output), comparison_page(comparison))
    return comparison


def _check_alike(first: "Task", other: "Task", first_name: str, name: str) -> None:
    """Raise `SpecError` unless the qualities of two artifacts are the same number of the same answers."""
    mine, theirs = first.answer, other.answer
    if (mine.kind, first.quality) != (theirs.kind, other.quality):
        shown = [f"{task.answer.a_model} ({task.quality})" for task in (first, other)]
        raise SpecError(
            f"artifacts must answer alike to be compared, but `{first_name}` is {shown[0]}, and `{name}` is "
            f"{shown[1]}: compare artifacts of one task"
        )
    # Vectors may have any length, and where a quality is a mean over the texts, each text is judged on its own.
    if not (other.averaged or theirs.unit) and mine.names != theirs.names:
        raise SpecError(
            f"artifacts must have the same labels to be compared by {other.quality}, but `{name}` has others than "
            f"`{first_name}`: compare artifacts of the same labels, or by another `--quality`"
        )


def _distinct_names(artifacts: Sequence[str]) -> list[str]:
    """The shortest distinct ends of the paths."""
    parts = [Path(os.path.abspath(each)).parts for each in artifacts]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len({*names}) == len({*parts}):
            break
    return names
