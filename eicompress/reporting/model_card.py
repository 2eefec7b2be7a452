"""An artifact's model card: a README.md for people, with metadata for the model hub.

It lies beside the artifact, as its manifest does, and not in it: a device needs no prose, and every byte that is in the
folder counts against the budget. `eicompress export --to hf` puts it into what is uploaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData, metadata_load

from eicompress.answers import Answer, of_config
from eicompress.errors import ModelError
from eicompress.manifest import read_object
from eicompress.metrics.latency import LATENCY, LATENCY_LAYERS, LATENCY_P50, LATENCY_P95
from eicompress.metrics.quality import CORRELATION, QUALITY, QUALITY_TEST
from eicompress.metrics.size import DOWNLOAD, SIZE, SizeMetric
from eicompress.parsing import named_texts
from eicompress.recipe import recipe_toml
from eicompress.reporting.answer import taken_on
from eicompress.reporting.record_text import inputs_of, latency_text, share_cut
from eicompress.reporting.tables import MACHINE
from eicompress.study.outcomes import share_text
from eicompress.study.quality_words import QualityWords
from eicompress.study.result import CHOSEN
from eicompress.values import ADJUSTMENT, SIMPLE, Artifact, Json, Measurement, Quantity, Record

BUILT_IN = "builtin:"
LICENCE = "# license: choose one. It must comply with the licences of the teacher and of the data.\n"
SHOWN = {
    SIZE: "size of the folder, tokenizer included",
    DOWNLOAD: "the same, zipped",
    LATENCY: "latency of one text, median",
    LATENCY_P50: "latency of one text, median",
    LATENCY_LAYERS: "layers that a text runs through",
    LATENCY_P95: "latency of one text, 95th percentile",
}
USE = """```python
import eicompress

model = eicompress.load("{folder}")
print(model.predict([{example}]))
```

Without eicompress: `onnxruntime`, `tokenizers` and `numpy` are enough, and in a browser transformers.js with
{browser}."""


def card(
    artifact: Artifact,
    record: Record,
    baseline: Record | None,
    asked: Json,
    metrics: Mapping[str, Quantity],
    name: str = "",
) -> str:
    """The card in Markdown.

    `asked` are the words of the search or of `compress`: model, data, task and columns; empty where not known.
    `metrics` tell what is measured, by name. `name` is the artifact's, by default that of its folder.
    """
    name = name or artifact.folder.name
    if SIMPLE in record.facts:  # no model was compressed for it
        asked, baseline = {key: value for key, value in asked.items() if key not in ("model", "teacher")}, None
        record = replace(record, facts={SIMPLE: record.facts[SIMPLE]})
    config = read_object(artifact.folder / "config.json")
    answer = of_config(config)
    assert answer is not None
    asks = {"single": '"a text"', "pair": '("a text", "another")'}
    example = ", ".join(asks[each] for each in inputs_of(config))
    parts = [f"---\n{LICENCE}{_metadata(name, record, asked, answer)}\n---", f"# {name}"]
    parts += [_summary(record, baseline, asked, answer)]
    parts += ["## Use", USE.format(folder=name, example=example, browser=answer.browser)]
    parts += ["## Measured", _measured(record, baseline, metrics)]
    parts += [answer.described]
    parts += ["## How it was made", _making(record, asked, answer)]
    parts += ["## Limits", _limits(artifact, record, answer, searched=baseline is not None)]
    return "\n\n".join(parts) + "\n"


def write_card(
    artifact: Artifact, record: Record, baseline: Record | None, asked: Json, metrics: Mapping[str, Quantity]
) -> None:
    """Write the card beside the artifact."""
    artifact.card.write_text(card(artifact, record, baseline, asked, metrics), encoding="utf-8")


def card_of(artifact: Artifact) -> str:
    """The card that lies beside an artifact, or one of what its files tell. Raises `ModelError`."""
    if artifact.card.is_file():
        return artifact.card.read_text(encoding="utf-8")
    known = read_object(artifact.manifest) if artifact.manifest.is_file() else {}
    try:
        record = Record(
            recipe=tuple(known.get("recipe", ())),
            draw=-1,
            outcome="complete",
            measurements=(SizeMetric.measurement(artifact.size_mb),),
            facts=known.get("facts", {}),
            versions=known.get("versions", {}),
        )
        return card(artifact, record, None, {"task": known.get("task", "")}, {})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"`{artifact.manifest}` must tell how the artifact was made, as eicompress writes it, but does not: "
            f"{error}. Copy the artifact again with its manifest, or remove the manifest."
        ) from error


def _metadata(name: str, record: Record, asked: Json, answer: Answer) -> str:
    data, model = _data_of(asked), str(asked.get("model", ""))
    public = [each for each in data if _on_the_hub(each)]
    results = [
        EvalResult(
            task_type=answer.pipeline,
            dataset_type=public[0] if len(public) == len(data) == 1 else "private",
            dataset_name=", ".join(map(_name, data)) or "not known",
            dataset_split=str(each.conditions.get("split", "validation")),
            metric_type=_metric(each),
            metric_value=round(each.value, 4),
        )
        for each in _qualities(record)
    ]
    metadata = ModelCardData(
        language=_language(model, data),
        library_name="onnx",
        pipeline_tag=answer.pipeline,
        base_model=model if _on_the_hub(model) else None,
        datasets=public or None,
        tags=["onnx", "onnxruntime", "transformers.js", "eicompress", "compression", "edge"],
        model_name=name if results else None,
        eval_results=results or None,
    )
    written: str = metadata.to_yaml()
    return written


def _summary(record: Record, baseline: Record | None, asked: Json, answer: Answer) -> str:
    size, latency = record.value(SIZE), latency_text(record)
    parts = [f"A text {answer.model} for small devices"]
    parts.append(f", {size:.2f} MB in all" if size is not None else "")
    parts.append(f", {latency} for a text" if record.value(LATENCY) is not None else "")
    if asked.get("model"):
        parts.append(f", compressed out of `{_name(str(asked['model']))}`")
    whole = baseline.value(SIZE) if baseline else None
    parts.append(f" ({whole:.1f} MB as ONNX)" if whole is not None else "")
    return "".join(parts) + "."


def _measured(record: Record, baseline: Record | None, metrics: Mapping[str, Quantity]) -> str:
    kind = {name: each.label for name, each in metrics.items() if name != QUALITY} | SHOWN
    rows = [(each, kind[each.name]) for each in record.measurements if each.name in kind]
    rows += [(each, f"{_metric(each)}, {_split(each)} split") for each in _qualities(record)]
    if not rows:
        return "Nothing was measured."
    lines = ["| | this artifact | uncompressed | conditions |", "|---|---|---|---|"]
    for each, what in rows:
        before = baseline.value(each.name) if baseline else None
        if each.name == QUALITY_TEST:
            before = record.facts.get("baseline", {}).get(QUALITY_TEST)
        if "texts" in each.conditions:  # the baseline was timed at one length
            before, what = None, what.replace("text, median", "text, mean") if each.name == LATENCY else what
        conditions = ", ".join(
            f"{name.replace('_', ' ')} {value}"
            for name, value in each.conditions.items()
            if name not in (*MACHINE, CORRELATION, "metric", "split")
        )
        lines.append(f"| {what} | {_valued(each.value, each)} | {_valued(before, each)} | {conditions} |")
    devices = {taken_on(each.conditions) for each in record.measurements if "device" in each.conditions}
    return "\n".join([*lines, *(f"\nLatencies were taken on {each}." for each in sorted(devices))])


def _making(record: Record, asked: Json, answer: Answer) -> str:
    model, task = (str(asked.get(name, "")) for name in ("model", "task"))
    teachers = [str(each) for each in asked.get("teacher", [])] or [model]
    sources = {"Compressed out of": [model], "Teacher": teachers, "Data": _data_of(asked), "Task": [task]}
    lines = [
        f"- {kind}: " + ", ".join(f"`{_name(each)}`" for each in names) for kind, names in sources.items() if any(names)
    ]
    if SIMPLE in record.facts:
        lines.append(f"- {record.facts[SIMPLE]['name']} with {answer.linear}: {record.facts[SIMPLE]['note']}")
    lines += [f"- Seed {record.seed}, {share_text(record.fidelity)} of the full training"] if record.trained else []
    shifts = [f"{by:+.2f} to the logit of `{name}`" for name, by in record.facts.get(ADJUSTMENT, {}).items()]
    lines += [f"- Adjusted on validation after the training: {', '.join(shifts)}"] if shifts else []
    versions = [f"{name} {version}" for name, version in record.versions.items() if name != "machine"]
    lines += [f"- {', '.join(versions)}"] if versions else []
    recipe = f"The recipe, as `eicompress compress --recipe` reads it:\n\n```toml\n{recipe_toml(record.recipe)}\n```"
    return "\n".join(lines) + (f"\n\n{recipe}" if record.recipe else "")


def _limits(artifact: Artifact, record: Record, answer: Answer, *, searched: bool) -> str:
    lines = [f"- {answer.limit}"]
    limit = read_object(artifact.folder / "tokenizer_config.json").get("model_max_length")
    if limit is not None and not answer.windowed:
        said = share_cut(record)
        lines.append(f"- It reads the first {limit} tokens of a text; the rest is cut off.{said and f' {said}.'}")
    if searched and record.value(QUALITY) is not None:
        lines.append(f"- It {CHOSEN}; the test split was not used to choose.")
    if any("quantization" in step["strategy"] for step in record.recipe):
        lines.append("- It is quantized: give it one text at a time, since padding changes the answers a little.")
    if any(step["strategy"] == "vocabulary_pruning" for step in record.recipe):
        lines.append("- Words that the training texts do not have are read in pieces, or as unknown.")
    return "\n".join(lines)


def _qualities(record: Record) -> list[Measurement]:
    return [each for each in record.measurements if "metric" in each.conditions]


def _metric(each: Measurement) -> str:
    """What a quality is called outside of eicompress."""
    return str(each.conditions.get("metric", each.name))


def _split(each: Measurement) -> str:
    return str(each.conditions.get("split", "validation"))


def _valued(value: float | None, each: Measurement) -> str:
    if value is None:
        return ""
    if "metric" in each.conditions:
        return QualityWords.measured(each).text(value, 2)
    return f"{value:.3g} {each.unit}".strip()


def _data_of(asked: Json) -> list[str]:
    """The data sets; of several, without the names of their tasks."""
    data = asked.get("data") or ()
    return [data] if isinstance(data, str) else [*named_texts(data, "--data").values()]


def _language(model: str, data: Sequence[str]) -> Any:
    """The language that the teacher's own card names, or that of built-in data."""
    if any(each.startswith(BUILT_IN) for each in data):
        return "en"
    readme = Path(model).expanduser() / "README.md"
    return (metadata_load(readme) or {}).get("language") if readme.is_file() else None


def _on_the_hub(name: str) -> bool:
    """Whether this is a name on the hub, and no path of this machine that would mean nothing there."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~", BUILT_IN)) and not Path(name).exists()


def _name(written: str) -> str:
    """A name on the hub as it is, and of a path the last part: the rest is this machine's business."""
    if _on_the_hub(written) or written.startswith(BUILT_IN):
        return written
    return Path(written).name
