"""Tables of records, results and plug-ins for the terminal."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eicompress.contracts import Strategy
from eicompress.errors import SpecError, nearest
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY, QUALITY_TEST
from eicompress.metrics.size import SIZE
from eicompress.plugins import Registry
from eicompress.recipe import knobs, recipe_toml
from eicompress.reporting.answer import taken_on
from eicompress.reporting.comparison import Comparison, beside, heads, lines
from eicompress.reporting.knobs import domain, meanings
from eicompress.reporting.next_steps import advice
from eicompress.reporting.record_text import (
    beside_quality,
    cut_texts,
    duration,
    latency_text,
    metric_text,
    share,
    summary,
    to_try,
    words_of_study,
)
from eicompress.study.ablation import COLUMNS, Ablation, caption, cells
from eicompress.study.kept_artifacts import as_it_lies
from eicompress.study.outcomes import share_text
from eicompress.study.quality_words import QualityWords, quality_name
from eicompress.study.ranking import ranked
from eicompress.study.result import CHOSEN, NEAR, Result, by_quality
from eicompress.study.within_noise import within_noise
from eicompress.values import MEGABYTE, Artifact, Measurement, Quantity, Record

if TYPE_CHECKING:
    from eicompress.trials.teach import Lesson

MACHINE = ("device", "machine", "runtime")
SHOWN = 5
"""Rows of the table of the best."""


def show_result(console: Console, result: Result) -> None:
    """The best artifacts within budget, the bytes of each part, and the next commands."""
    best = result.best
    if best is None:
        console.print("no candidate within budget yet")
        return
    console.print(_best_table(result))
    index, record = best
    if result.verdict:
        console.print(result.verdict, highlight=False, soft_wrap=True)
    _show_trust(console, result)
    if result.front:
        console.print(_front_text(result), highlight=False, soft_wrap=True)
    if near := within_noise(result):
        console.print(str(near), highlight=False, soft_wrap=True)
    show_artifact(console, as_it_lies(record, result.folder), result.objective.extra)
    show = f"eicompress show {words_of_study(result.folder)}"
    commands = [show] if result.verdict else [f"{show} --trial {index}", show]
    for command in commands:
        console.print(f"{'':<10}{command}", highlight=False, soft_wrap=True)
    for line in advice(result):
        console.print(f"{'advice':<10}{line}", highlight=False, markup=False, soft_wrap=True)


def show_lesson(console: Console, lesson: "Lesson") -> None:
    """The quality of the teacher and of simple methods, and the next command."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("on validation")
    table.add_column(lesson.task.quality, justify="right")
    words = QualityWords.of(lesson.task)
    table.add_row("the teacher", words.text(lesson.quality, 2))
    for name, quality in lesson.beside.items():
        table.add_row(f"  {name}", QualityWords.of(lesson.task, name).text(quality, 2))
    if len(lesson.of_members) > 1:
        for at, quality in enumerate(lesson.of_members):
            table.add_row(f"  member {at} alone", words.text(quality, 2))
    for name, quality in lesson.simple.items():
        table.add_row(name, words.text(quality, 2))
    console.print(table)
    lines = [*lesson.notes, f"chosen: {lesson.taught.chosen.what}", *lesson.taught.notes]
    for name in lesson.beaten_by:
        lines.append(
            f"warning: {name} is better than this teacher, so students of it will be worse than that too: give more "
            "time (`--timeout`), more rows, or a model that knows this kind of text"
        )
    lines.append(f"eicompress search --model {quote(str(lesson.folder))} --data DATA --budget 1MB")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def lesson_json(lesson: "Lesson") -> dict[str, Any]:
    return {
        "folder": str(lesson.folder),
        QUALITY: lesson.quality,
        "beside": dict(lesson.beside),
        "of_members": lesson.of_members,
        "simple": dict(lesson.simple),
        "chosen": vars(lesson.taught.chosen),
        "attempts": [vars(each) for each in lesson.taught.attempts],
        "notes": [*lesson.notes, *lesson.taught.notes],
    }


def show_artifact(console: Console, record: Record, extra: Sequence[Quantity] = ()) -> None:
    """The folder of an artifact, the bytes of each part, and a command that tries it."""
    heaviest = sorted(record.bytes_by_group.items(), key=lambda each: -each[1])
    parts = ", ".join(f"{name} {size / MEGABYTE:.3f}" for name, size in heaviest)
    artifact = record.files.get("artifact", "")
    there = Artifact(Path(artifact)).onnx.is_file()
    latency = next((each.conditions for each in record.measurements if each.name == LATENCY), {})
    rows = {
        "measured": summary(record, None, extra),
        "beside": beside_quality(record),
        "cut": cut_texts(record),
        "timed on": taken_on(latency),
        "megabytes": parts,
        "artifact": artifact if there else f"{artifact} (gone)",
        "next": to_try(artifact) if there else "",
    }
    for name, text in rows.items():
        if text:
            console.print(f"{name:<10}{text}", highlight=False, markup=False, soft_wrap=True)


def show_study(console: Console, result: Result) -> None:
    """The counts and the best artifacts of a study so far."""
    counts = result.counts
    became = {
        "stopped early": counts.stopped,
        "made of the same trainings": counts.variants,
        "over budget": counts.over_budget,
        "repeats": counts.repeats,
        "inapplicable": counts.inapplicable,
        "failed": counts.failed,
    }
    parts = [f"{counts.trained} trained", *(f"{count} {name}" for name, count in became.items() if count)]
    ended = f"ended: {result.ended}" if result.ended else "not ended"
    console.print(f"{', '.join(parts)}; {duration(result.seconds)}; {ended}", highlight=False, soft_wrap=True)
    show_result(console, result)


def show_ablation(console: Console, ablation: Ablation) -> None:
    """What each step and knob gains and costs."""
    console.print(caption(ablation), highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("", "verdict") else "right")
    for row in ablation.rows:
        table.add_row(*map(escape, cells(row, ablation.quality)))
    console.print(table)


def show_measurements(console: Console, measurements: Sequence[Measurement]) -> None:
    """Metrics with their conditions; the conditions of the machine stand once below the table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("metric", "value", "unit", "conditions"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for each in measurements:
        conditions = {name: value for name, value in each.conditions.items() if name not in MACHINE}
        listed = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in conditions.items())
        table.add_row(each.name, f"{each.value:.4g}", each.unit, listed)
    console.print(table)
    machines = {tuple(each.conditions[name] for name in MACHINE if name in each.conditions) for each in measurements}
    for machine in sorted(machines - {()}):
        console.print("on " + ", ".join(map(str, machine)), highlight=False, markup=False, soft_wrap=True)


def show_comparison(console: Console, found: Comparison) -> None:
    """Artifacts on the same data, and the differences between them with their intervals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    named = heads(found)
    for place, name in enumerate(named):
        table.add_column(name, justify="right" if 0 < place < len(named) - 1 else "left")
    for line in lines(found):
        table.add_row(*line)
    console.print(table)
    points = " in points" if found.quality.is_share else ""
    console.print(
        f"{found.metric} of {len(found.first.correct):,} texts ({found.split}); differences to {found.first.name}"
        f"{points}; latency {found.timed} on {found.device}, in brackets the share of the first one's, both taken in "
        "turns",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if found.first.beside:
        console.print(beside(found).strip(), highlight=False, markup=False, soft_wrap=True)


def _best_table(result: Result) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    objective = result.objective
    shown = [*(objective.known[name].title for name in (SIZE, LATENCY)), quality_name(result.baseline)]
    for name in ("trial", "training", *shown, "of baseline", "test", *(each.title for each in objective.extra)):
        table.add_column(name, justify="left" if name == "training" else "right")
    if result.baseline:
        table.add_row("baseline", "", *_cells(result.baseline, None, objective.extra))
    for name, record in by_quality(result.simple):
        table.add_row(name, "", *_cells(record, result.baseline, objective.extra))
    for index, record in result.front or _best(result):
        length = "full" if record.fidelity == 1.0 else share_text(record.fidelity)
        table.add_row(str(index), length, *_cells(record, result.baseline, objective.extra))
    return table


def _front_text(result: Result) -> str:
    objective = result.objective
    below = f"the {objective.name} within noise" if objective.least else f"the best by {objective.metrics[0]}"
    return f"on the front of {' and '.join(objective.metrics)}: {len(result.front)}; below, {below}"


def _show_trust(console: Console, result: Result) -> None:
    """The spread over seeds, and how well short trainings rank candidates as long ones do."""
    lines = [str(each) for each in (*result.handed_out_as_they_were, *result.agreements)]
    if result.baseline:
        near = result.seconds_to_near
        reached = "was not reached" if near is None else f"was reached after {duration(near)}"
        lines.append(f"{NEAR:.0%} of the baseline's quality within the budgets {reached}")
    lines += [f"the best {CHOSEN}: go by test, or by rows that the search has not read"] if result.best else []
    for number in result.rebuilds:
        found = {"validation": result.spread(number, QUALITY), "test": result.spread(number, QUALITY_TEST)}
        parts = [f"{each.mean:.4f} ± {each.deviation:.4f} on {split}" for split, each in found.items() if each]
        if parts:
            lines.append(f"trial {number} with {len(result.rebuilds[number])} seeds: {', '.join(parts)}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _best(result: Result) -> list[tuple[int, Record]]:
    known = {**result.compared, **result.promoted}
    first = ranked(result.promoted, result.objective)
    first += [each for each in ranked(result.compared, result.objective) if each[0] not in result.promoted]
    others = {number: record for number, record in result.records.items() if number not in known}
    return (first + ranked(others, result.objective))[:SHOWN]


def _cells(record: Record, baseline: Record | None, extra: Sequence[Quantity]) -> list[str]:
    cells = [
        metric_text(record, SIZE, "{:.3f}"),
        latency_text(record).replace(" ms", ""),
        metric_text(record, QUALITY, "{:.4f}"),
        share(record, baseline),
        metric_text(record, QUALITY_TEST, "{:.4f}").removeprefix("-"),
    ]
    return [*cells, *(metric_text(record, each.name, "{:.4g}") for each in extra)]


def show_trial(console: Console, index: int, record: Record) -> None:
    """One trial: outcome, measurements with their conditions, and the recipe as `compress --recipe` reads it."""
    console.print(f"trial {index}: {record.outcome}", highlight=False)
    if record.reason:
        console.print(record.reason, highlight=False, markup=False)
    show_measurements(console, record.measurements)
    for name, size in record.bytes_by_group.items():
        console.print(f"{name}: {size / MEGABYTE:.3f} MB", highlight=False)
    if cut := cut_texts(record):
        console.print(cut, highlight=False, markup=False, soft_wrap=True)
    console.print("\n# recipe", highlight=False)
    console.print(recipe_toml(record.recipe), highlight=False, markup=False, soft_wrap=True)


def show_plugins(console: Console, registry: Registry) -> None:
    """All that plug-ins provide, and the plug-ins that could not be loaded."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("kind", "name", "from"):
        table.add_column(name)
    for (kind, name), source in sorted(registry.sources.items()):
        table.add_row(kind, name, str(source))
    for (kind, name), sources in registry.clashes.items():
        table.add_row(kind, name, " and ".join(map(str, sources)) + ": a clash, not usable")
    console.print(table)
    for each in registry.broken:
        console.print(f"broken: `{each.plugin}` of {each.source}: {each.reason.splitlines()[0]}", highlight=False)


def plugins_json(registry: Registry) -> dict[str, Any]:
    """The contents of `show_plugins` as one JSON document."""
    return {
        "provided": [
            {"kind": kind, "name": name, "package": source.package, "version": source.version}
            for (kind, name), source in sorted(registry.sources.items())
        ],
        "clashes": [
            {"kind": kind, "name": name, "packages": [source.package for source in sources]}
            for (kind, name), sources in registry.clashes.items()
        ],
        "broken": [
            {"plugin": each.plugin, "package": each.source.package, "reason": each.reason} for each in registry.broken
        ],
    }


def show_plugin(console: Console, registry: Registry, name: str) -> None:
    """Each thing of this name that a plug-in provides, with the knobs of a strategy."""
    found = [(kind, source) for (kind, known), source in registry.sources.items() if known == name]
    broken = [each for each in registry.broken if each.plugin == name]
    for each in broken:
        console.print(f"broken plug-in of {each.source}\n{each.reason}", highlight=False, markup=False)
    if not found and not broken:
        known = {known for _, known in registry.sources} | {each.plugin for each in registry.broken}
        raise SpecError(f"no plug-in provides `{name}`: {nearest(name, known)}")
    for kind, source in found:
        one = registry.provided[kind][name]
        console.print(f"{kind} {name}, of {source}", style="bold", highlight=False)
        console.print(inspect.cleandoc(one.__doc__ or ""), highlight=False, markup=False)
        if kind == "strategy":
            _show_strategy(console, registry.strategies[name])


def _show_strategy(console: Console, strategy: type[Strategy]) -> None:
    if strategy.paper:
        console.print(f"paper: {strategy.paper}", highlight=False, markup=False)
    table, meant = Table(box=None, pad_edge=False, header_style="bold"), meanings(strategy)
    for column in ("knob", "default", "domain", "meaning"):
        table.add_column(column)
    for knob in knobs(strategy).values():
        table.add_row(knob.name, str(knob.default), domain(knob.domain), escape(meant.get(knob.name, "")))
    console.print(table)
