"""The super-networks of a study in its report: the parts that came from each, and what their axes buy."""

from html import escape

from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.reporting.page_parts import table
from eicompress.study.family import Axis, Family, knobs_of
from eicompress.study.quality_words import QualityWords, quality_words
from eicompress.study.result import Result
from eicompress.values import Record, counted


def super_networks(result: Result) -> str:
    """A section for each super-network; empty where candidates share no training."""
    return "\n".join(_section(result, each) for each in result.families)


def _section(result: Result, family: Family) -> str:
    steps = ", ".join(str(step["strategy"]) for step in family.steps).replace("_", " ")
    found = [f"<h2>The super-network, and its {counted(len(family.trials), 'part')}</h2>"]
    found.append(f'<p class="soft">Made by {escape(steps)}; its key in the cache is {escape(family.key)}.</p>')
    if family.front:
        found += ["<h3>On the front</h3>", _front(result, family)]
    if family.axes:
        note = (
            "From the lowest value of each knob to its highest, by a linear fit over all parts, of the score that all "
            "have."
        )
        words = quality_words(result.baseline)
        unit = "points" if words.is_share else words.name
        heads = ("knob", "from", "to", f"{unit} gained", "MB", f"{unit} for 100 KB")
        found += ["<h3>What each axis buys</h3>", f'<p class="soft">{note}</p>']
        found.append(table(heads, [_axis(each, words) for each in family.axes], numeric=5))
    return "\n".join(found)


def _front(result: Result, family: Family) -> str:
    """The parts on the front with what they were cut to, and what training each by itself made of them."""
    records = {number: result.records[number] for number in family.front}
    names = list(dict.fromkeys(name for each in records.values() for name in knobs_of(each)))
    finished = {
        number: _quality(each)
        for number, each in result.rebuilt.items()
        if number in records and each.recipe != records[number].recipe
    }
    last = ("trained by itself",) if finished else ()
    heads = ("trial", *names, "MB", "ms", "quality", *last)
    rows = [
        [str(number), *_part(record, names), *([finished.get(number, "")] if finished else [])]
        for number, record in records.items()
    ]
    return table(heads, rows, numeric=len(heads) - 1)


def _part(record: Record, names: list[str]) -> list[str]:
    knobs = knobs_of(record)
    values = [knobs.get(name, "") for name in names]
    cells = [f"{each:g}" if isinstance(each, int | float) else str(each) for each in values]
    for name, form in ((SIZE, "{:.3f}"), (LATENCY, "{:.2f}")):
        value = record.value(name)
        cells.append("" if value is None else form.format(value))
    return [*cells, _quality(record)]


def _quality(record: Record) -> str:
    quality = record.value(QUALITY)
    return "" if quality is None else quality_words(record).text(quality, 2)


def _axis(axis: Axis, words: QualityWords) -> list[str]:
    per = axis.per_100_kb
    bought = "" if per is None else words.signed(per)
    gained, size = words.signed(axis.quality), f"{axis.size_mb:+.3f}"
    return [axis.name, f"{axis.low:g}", f"{axis.high:g}", gained, size, bought]
