"""A study as one HTML file: no network, plotly inside, light or dark as the reader's device is."""

from collections.abc import Iterable
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from eicompress.metrics.quality import QUALITY
from eicompress.recipe import recipe_toml
from eicompress.reporting.answer import answer, command, cost, more, sentence, simple, spoken, wanted
from eicompress.reporting.artifact_figures import (
    bytes_of_best,
    confusions,
    exits,
    mistakes,
    operators,
    treemap,
    waterfall,
)
from eicompress.reporting.data import STOPPED, Numbers, axes
from eicompress.reporting.page_parts import table
from eicompress.reporting.record_text import to_try
from eicompress.reporting.search_figures import best_over_time, called, importance, quality_against, rebuilds
from eicompress.reporting.style import POLICY, SCRIPT, STYLE
from eicompress.reporting.super_networks import super_networks
from eicompress.study.agreement import ENOUGH_PAIRS
from eicompress.study.halving import COMPARED, described
from eicompress.study.importance import TRIALS_FOR_IMPORTANCE
from eicompress.study.outcomes import share_text
from eicompress.study.within_noise import within_noise
from eicompress.values import MEGABYTE, SIMPLE, Json

TRIALS_TO_TRUST = 50
"""With fewer, the importance of a knob is a hint."""


def page(numbers: Numbers) -> str:
    """The whole report."""
    sections = [
        _answer(numbers),
        _contenders(numbers),
        _candidates(numbers),
        _bytes(numbers),
        _milliseconds(numbers),
        _exits(numbers),
        _search(numbers),
        super_networks(numbers.result),
        _mistakes(numbers),
        _provenance(numbers),
    ]
    return document(f"{numbers.name}: report", "\n".join(section for section in sections if section))


def document(title: str, body: str) -> str:
    """A whole page around a body, with what its figures need."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f"{body}\n<script>{plotly_js()}</script>\n<script>{SCRIPT}</script></body></html>\n"
    )


def plotly_js() -> str:
    """plotly.js, with the function that holds all of it in parentheses: so browsers compile it once, and not twice."""
    source: str = get_plotlyjs().rstrip()
    begins, ends = ": this, () => {", "}));"
    if source.count(begins) != 1 or not source.endswith(ends):
        return source
    return source.replace(begins, ": this, (() => {").removesuffix(ends) + "})));"


def _answer(numbers: Numbers) -> str:
    tiles = "".join(
        f'<div class="tile"><span>{escape(tile.name)}</span><b>{escape(tile.value)}</b>'
        + "".join(f"<span>{escape(line)}</span>" for line in tile.lines)
        + "</div>"
        for tile in answer(numbers)
    )
    found = [f"<h1>{escape(numbers.name)}</h1>", f'<p class="soft">{escape(wanted(numbers))}</p>']
    found.append(f'<p class="lead">{escape(sentence(numbers))}</p>')
    found += [f'<div class="tiles">{tiles}</div>'] if tiles else []
    asked = {
        "Better than a simple baseline?": simple(numbers),
        "What did it cost?": cost(numbers),
        "What would one more MB buy?": more(numbers),
        "Is a smaller one as good?": str(within_noise(numbers.result) or ""),
    }
    found += [f'<p><span class="asked">{name}</span> {escape(text)}</p>' for name, text in asked.items() if text]
    artifact = numbers.best[1].files.get("artifact", "") if numbers.best else ""
    if artifact:
        found.append(f"<pre>{escape(to_try(artifact))}</pre>")
    return "\n".join(found)


def _contenders(numbers: Numbers) -> str:
    if len(numbers.contenders) < 2:
        return ""
    shares = numbers.mistakes is None or numbers.mistakes.shares
    rows = "".join(
        f'<tr><td>{escape(each.name)}</td><td class="n">{numbers.quality.text(each.quality)}</td>'
        f'<td class="n">{_one_in(each.quality) if shares else ""}</td>'
        f'<td class="n">{"" if each.size_mb is None else f"{each.size_mb:.2f} MB"}</td></tr>'
        for each in numbers.contenders
    )
    note = "All on the validation split; sizes are bytes on disk. "
    note += " ".join(f"{each.name}: {each.note}." for each in numbers.contenders if each.note)
    if not numbers.result.simple:
        note += "Simple baselines (majority class, tf-idf) were not measured in this study."
    head = (
        f'<tr><th></th><th class="n">{escape(numbers.quality.name)}</th><th class="n">{"wrong" if shares else ""}</th>'
        '<th class="n">size</th></tr>'
    )
    return f'<h2>Is it better than a simple baseline?</h2><p class="soft">{escape(note)}</p><table>{head}{rows}</table>'


def _candidates(numbers: Numbers) -> str:
    if not numbers.points:
        return ""
    *names, last = ["bytes", "milliseconds", *(escape(each.label) for each in numbers.result.objective.extra)]
    found = [f"<h2>Quality against {', '.join(names)} and {last}</h2>"]
    found.append(
        '<p class="soft">Each mark is one candidate; point at it for its recipe. Grey ones are over budget.</p>'
    )
    for axis in axes(numbers.result.objective):
        name = called(axis)
        found += [f"<h3>{escape(name[:1].upper() + name[1:])}</h3>", drawn(quality_against(numbers, axis))]
    return "\n".join(found)


def _bytes(numbers: Numbers) -> str:
    if not any(each.after for each in numbers.shares):
        return ""
    found = ["<h2>Where the bytes go</h2>"]
    if numbers.falls:
        note = (
            "Size after each step of the recipe, and the factor by which it fell; measured in previews of the recipe's "
            "first steps. Steps that only train do not change the size."
        )
        found += [f'<p class="soft">{note}</p>', drawn(waterfall(numbers))]
    found.append("<h3>In the artifact</h3>")
    found.append(drawn(treemap(numbers) if numbers.tensors else bytes_of_best(numbers)))
    if any(each.before and each.after for each in numbers.shares):
        rows = [
            [each.name, _mb(each.before), _mb(each.after), _smaller(each.before, each.after)] for each in numbers.shares
        ]
        found += ["<h3>From the baseline to the artifact</h3>"]
        found.append(table(("part", "baseline", "artifact", ""), rows, numeric=3))
    return "\n".join(found)


def _milliseconds(numbers: Numbers) -> str:
    if not numbers.operators:
        return ""
    note = (
        "onnxruntime's profile of one text on one thread of the machine of the search. Profiling takes time itself, "
        "so the sum is more than the latency there."
    )
    return f'<h2>Where the milliseconds go</h2><p class="soft">{note}</p>{drawn(operators(numbers))}'


def _exits(numbers: Numbers) -> str:
    if not numbers.exits:
        return ""
    note = (
        "The artifact at other thresholds, on the same validation texts, up to 1,000: a text exits at the first "
        "off-ramp whose confidence is above it. Milliseconds are the mean of the texts, each at its own length, on one "
        "thread of the machine of the search; at a threshold of 1 every text runs through all layers."
    )
    return f'<h2>Quality against early exits</h2><p class="soft">{note}</p>{drawn(exits(numbers))}'


def _search(numbers: Numbers) -> str:
    spent, ended = numbers.effort, numbers.result.ended
    found = ["<h2>How the search went</h2>"]
    found.append(f"<p>{escape(ended[:1].upper() + ended[1:]) if ended else 'The search has not ended yet'}.</p>")
    if any(each.best is not None for each in numbers.steps):
        found.append(drawn(best_over_time(numbers)))
    rows = [["trained to the end", str(spent.trained), ""]]
    if spent.stopped:
        rows.append(["stopped early, behind others", str(spent.stopped), _spared(spent.saved[STOPPED])])
    rows += [
        [f"not trained: {name}", str(count), _spared(spent.saved.get(name, 0.0))]
        for name, count in spent.skipped.items()
    ]
    rows.append(["crashed", str(numbers.result.counts.failed), ""])
    found.append(table(("draws", "number", "time saved"), rows, numeric=2))
    found.append(
        f'<p class="soft">Building took {spoken(spent.training_s)}, all workers together. Previews, records and early '
        f"stops saved {spoken(spent.saved_s)}, if each would have taken the median of those trained to the end.</p>"
    )
    lengths = numbers.result.rungs
    if lengths:
        whole = numbers.result.whole
        note = f"Candidates were {COMPARED[whole]} {described(lengths, numbers.result.full_steps, whole)}."
        found.append(f'<p class="soft">{note}</p>')
    said = (*numbers.result.handed_out_as_they_were, *numbers.result.agreements)
    found += [_rebuilds(numbers), *(f'<p class="soft">{each}</p>' for each in said)]
    found.append(_importance(numbers))
    return "\n".join(found)


def _spared(seconds: float) -> str:
    return spoken(seconds) if seconds else ""


def _rebuilds(numbers: Numbers) -> str:
    if not numbers.rebuilds:
        return '<p class="soft">No candidate was rebuilt at full length yet.</p>'
    rows = [
        [
            f"trial {each.trial}",
            f"{numbers.quality.text(each.short, 2)} ({each.fidelity_short:.0%})",
            f"{numbers.quality.text(each.full, 2)} ({each.fidelity_full:.0%})",
        ]
        for each in numbers.rebuilds
    ]
    heading = "<h3>Short against full training</h3>"
    figure = drawn(rebuilds(numbers)) if len(rows) >= ENOUGH_PAIRS else ""
    return heading + table(("", "short (of the full length)", "full"), rows, numeric=2) + figure + _spreads(numbers)


def _spreads(numbers: Numbers) -> str:
    """What several seeds of a rebuild came to."""
    lines = []
    for each in numbers.rebuilds:
        found = numbers.result.spread(each.trial, QUALITY)
        if found:
            mean, around = numbers.quality.text(found.mean, 2), numbers.quality.gap(100 * found.deviation, 2)
            reached = f"{mean} ± {around} on validation"
            lines.append(f"Trial {each.trial} with {found.seeds} seeds: {reached}; the best of them is kept.")
    return "".join(f'<p class="soft">{line}</p>' for line in lines)


def _importance(numbers: Numbers) -> str:
    heading = "<h3>Which knobs mattered</h3>"
    if not numbers.importance:
        return f'{heading}<p class="soft">Left out: fewer than {TRIALS_FOR_IMPORTANCE} trained trials to judge by.</p>'
    note = (
        f"How well each knob tells the best tenth of the trials from the others (PED-ANOVA), judged by "
        f"{numbers.effort.trained} trained trials{': a hint' if numbers.effort.trained < TRIALS_TO_TRUST else ''}."
    )
    return f'{heading}<p class="soft">{note}</p>' + drawn(importance(numbers))


def _mistakes(numbers: Numbers) -> str:
    found = numbers.mistakes
    if found is None:
        return ""
    lines = ["<h2>What it gets wrong</h2>", f"<p>{escape(found.summary)}</p>"]
    for each in found.tables:
        lines += [f"<h3>{escape(each.title)}</h3>", table(each.heads, each.rows, numeric=each.numeric)]
    if found.matrix:
        lines += ["<h3>Confusion matrix</h3>", f'<p class="soft">{escape(found.matrix.note)}</p>']
        lines.append(drawn(confusions(numbers)))
    for chart in found.charts:
        lines += [f"<h3>{escape(chart.title)}</h3>", f'<p class="soft">{escape(chart.note)}</p>']
        lines.append(drawn(mistakes(chart)))
    return "\n".join(lines)


def _provenance(numbers: Numbers) -> str:
    record = numbers.best[1] if numbers.best else numbers.result.baseline
    lines = ["<h2>How this was made</h2>"]
    lines.append(f"<pre>{escape(command(numbers.asked))}</pre>")
    if record:
        if numbers.result.verdict:
            note = str(record.facts.get(SIMPLE, {}).get("note", ""))
            lines.append(f"<p>{escape(numbers.result.verdict)} It has no recipe: {escape(note)}.</p>")
        elif numbers.best:
            lines.append(
                f"<h3>Recipe of trial {numbers.best[0]}, as <code>eicompress compress --recipe</code> reads it</h3>"
            )
            lines.append(f"<pre>{escape(recipe_toml(record.recipe))}</pre>")
            rebuilt = [["seed", str(record.seed)], ["share of the full training", share_text(record.fidelity)]]
            rebuilt += [["reuse key", record.key]] if record.key else []
            lines.append(table(("", ""), rebuilt))
        if record.versions:
            lines += ["<h3>Versions</h3>", table(("", ""), [[*each] for each in record.versions.items()])]
        lines += ["<h3>Measured</h3>", _measurements(record.to_json()["measurements"])]
    if numbers.checksums:
        lines += [
            "<h3>SHA-256 of the artifact's files</h3>",
            table(("", ""), [[*each] for each in numbers.checksums.items()]),
        ]
    return "\n".join(lines)


def _measurements(measured: Iterable[Json]) -> str:
    rows = []
    for each in measured:
        conditions = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in each["conditions"].items() if name != "machine"
        )
        rows.append([each["name"], f"{each['value']:.4g}\u00a0{each['unit']}".strip(), conditions])
    return table(("metric", "value", "conditions"), rows)


def drawn(figure: go.Figure) -> str:
    """A figure's place in a page."""
    # `<` as an escape: nothing inside can end the script element.
    text = figure.to_json().replace("<", "\\u003c")
    height = figure.layout.height
    return f'<div class="figure" style="min-height:{height}px"><script type="application/json">{text}</script></div>'


def _one_in(quality: float) -> str:
    """How often the answer is wrong, in words that tell 95 % from 91 % better than a bar does."""
    wrong = 1.0 - quality
    if wrong > 0.5:
        return "mostly"
    return f"1 in {1 / wrong:.0f}" if wrong > 1e-6 else "never"


def _smaller(before: int, after: int) -> str:
    if not before or not after or abs(before / after - 1) < 0.05:
        return ""
    return f"{before / after:.3g} times less" if before > after else f"{after / before:.2g} times more"


def _mb(size: int) -> str:
    return f"{size / MEGABYTE:.3f} MB"
