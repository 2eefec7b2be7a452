"""A record in a line: its numbers as people read them."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Literal

from eicompress.answers import of_config
from eicompress.errors import ModelError
from eicompress.manifest import read_object
from eicompress.metrics.latency import LATENCY, of_exits
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.study.objective import Objective
from eicompress.study.quality_words import quality_name
from eicompress.study.result import is_within
from eicompress.values import Json, Quantity, Record

LENGTH_KNOB = "length_coverage"
"""The knob of steps that choose how many tokens a student reads."""


def summary(record: Record, baseline: Record | None, extra: Sequence[Quantity] = ()) -> str:
    """Size, latency and quality in one line, with the share of the baseline's quality; `extra` metrics stand behind."""
    parts = [metric_text(record, SIZE, "{:.3f} MB"), latency_text(record)]
    parts.append(f"{quality_name(record)} {metric_text(record, QUALITY, '{:.4f}')}")
    of = share(record, baseline)
    parts[-1] += f" ({of} of the baseline)" if of else ""
    parts += [f"{each.label} {each.text(value)}" for each in extra if (value := record.value(each.name)) is not None]
    return " · ".join(parts)


def standing(record: Record, baseline: Record, objective: Objective) -> str:
    """What a simple baseline reaches in one line, and whether it is within the budgets."""
    if record.outcome != "complete":
        return record.reason
    if "artifact" not in record.files:
        return f"{quality_name(record)} {metric_text(record, QUALITY, '{:.4f}')} (no artifact)"
    missed = objective.compared(record, objective.broken(record))
    within = "within budget" if is_within(record, objective) else f"over budget: {missed}"
    return f"{summary(record, baseline, objective.extra)} · {within}"


def words_of_study(folder: Path) -> str:
    """A study as a command names it: `my-data`, with `--studies` where it lies in another folder."""
    place = "" if str(folder.parent) == "studies" else f" --studies {quote(str(folder.parent))}"
    return f"{folder.name}{place}"


def to_try(artifact: str) -> str:
    """The command that asks an artifact; the texts of a pair have a tab between them."""
    config: Json = {}
    with suppress(ModelError):
        config = read_object(Path(artifact) / "config.json")
    asks = {"single": '"some text"', "pair": "$'some text\\tanother text'"}
    return " ".join(["eicompress predict", quote(artifact), *(asks[each] for each in inputs_of(config))])


def inputs_of(config: Json) -> tuple[Literal["single", "pair"], ...]:
    """What an artifact of this config reads: single texts, pairs of texts, or both."""
    answer = of_config(config)
    if not config.get("pairs"):
        return ("single",)
    return ("single", "pair") if answer is not None and answer.mixed else ("pair",)


def beside_quality(record: Record) -> str:
    """What the task names beside its quality on validation, by its own names; empty where there is nothing."""
    found = [
        each for each in record.measurements if each.name != QUALITY and each.conditions.get("metric") == each.name
    ]
    return ", ".join(f"{each.name} {each.value:.4f}" for each in found)


def cut_texts(record: Record | None) -> str:
    """A sentence on validation texts that an artifact cuts, and the knob that sets it; empty if it cuts none."""
    said = share_cut(record)
    if record is None or not said:
        return ""
    steps = [each["strategy"] for each in record.recipe if LENGTH_KNOB in each]
    knob = f": `{LENGTH_KNOB}` of `{steps[-1]}` sets that, up to what its encoder reads" if steps else ""
    return f"{said}{knob}."


def share_cut(record: Record | None) -> str:
    """How many of the validation texts an artifact cuts, and after how many tokens; empty if it cuts none."""
    cut: Json = record.facts.get("cut", {}) if record else {}
    if not cut or not cut["texts"]:
        return ""
    share = f"{cut['texts']:,} of {cut['of']:,} validation texts ({cut['texts'] / cut['of']:.1%})"
    return f"{share} are cut after {cut['tokens']} tokens"


def metric_text(record: Record, name: str, form: str) -> str:
    """A metric's value, or a dash where it was not measured."""
    value = record.value(name)
    return "-" if value is None else form.format(value)


def latency_text(record: Record) -> str:
    """The latency, and what it is that of where the model has early exits; a dash where it was not measured."""
    return f"{metric_text(record, LATENCY, '{:.2f} ms')}{of_exits(record)}"


def latency_name(record: Record) -> str:
    """What the latency is called: its mean, where it depends on the text."""
    return "mean latency" if "mean" in of_exits(record) else "latency"


def share(record: Record, baseline: Record | None) -> str:
    """The quality as a percentage of the baseline's, or an empty string."""
    quality, whole = record.value(QUALITY), baseline.value(QUALITY) if baseline else None
    return f"{quality / whole:.1%}" if quality is not None and whole else ""


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
