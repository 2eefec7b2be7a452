"""The first screen in words and large numbers: the result, its cost, and the gain of more bytes."""

import shlex
from dataclasses import dataclass
from pathlib import PurePath

from eicompress.declaration import flag
from eicompress.metrics.latency import LATENCY, LATENCY_RATIO
from eicompress.metrics.quality import QUALITY, QUALITY_TEST
from eicompress.metrics.significance import share_interval
from eicompress.metrics.size import SIZE
from eicompress.parsing import named_texts
from eicompress.reporting.data import MoreBytes, Numbers
from eicompress.reporting.record_text import cut_texts, latency_name, latency_text
from eicompress.spec import SHORT_FORMS
from eicompress.study.outcomes import share_text
from eicompress.study.quality_words import QualityWords
from eicompress.study.ranking import heaviest_parts
from eicompress.study.result import CHOSEN, NEAR, by_quality
from eicompress.values import Json, Measurement, Quantity, Record, counted


@dataclass(frozen=True)
class Tile:
    """One big number, with what to compare it with."""

    name: str
    value: str
    lines: tuple[str, ...]


def wanted(numbers: Numbers) -> str:
    """The settings of the study, in a line."""
    asked, objective = numbers.asked, numbers.result.objective
    model, data = asked.get("model"), asked.get("data")
    names = [PurePath(str(each)).name for each in (model, data) if isinstance(each, str)]
    names += [] if data is None or isinstance(data, str) else [", ".join(named_texts(data, "--data"))]
    short = [name for name in ("budget", "latency", "memory") if asked.get(name)]
    within = [f"within {' and '.join(str(asked[name]) for name in short)}"] if short else []
    others = [name for name in objective.budgets if name not in {SHORT_FORMS[each] for each in short}]
    return ", ".join([" on ".join(names), *within, *map(objective.limit, others)])


def sentence(numbers: Numbers) -> str:
    """The result of the study, in one sentence."""
    if numbers.best is None:
        return _nothing(numbers)
    record, baseline = numbers.best[1], numbers.result.baseline
    value, said = record.value, numbers.quality.text
    quality, test = value(QUALITY), value(QUALITY_TEST)
    name = f"The simple baseline {numbers.best[0]}" if numbers.result.verdict else "The best artifact"
    parts = [f"{name} is {_form(record.value(SIZE), '{:.2f} MB')}"]
    parts.append(_times(_share_of(baseline, record, SIZE), "smaller"))
    if value(LATENCY) is not None:
        parts.append(f", answers in {latency_text(record)}{_times(value(LATENCY_RATIO), 'faster')}")
    if test is not None:
        parts.append(f", reaches {said(test)} {numbers.quality.name} on test{_interval_on_test(numbers)}")
    if quality is not None:
        parts.append(f", and reaches {said(quality)} {numbers.quality.name} on validation")
        whole = baseline.value(QUALITY) if baseline else None
        if whole:
            parts.append(f", {quality / whole:.1%} of the baseline's {said(whole)}")
    return "".join(parts) + f". It {CHOSEN}."


def _interval_on_test(numbers: Numbers) -> str:
    """In brackets, where the quality is the share of answers that are right; empty otherwise."""
    found = _measured(numbers.best[1], QUALITY_TEST) if numbers.best else None
    if found is None or "examples" not in found.conditions or not (numbers.mistakes and numbers.mistakes.shares):
        return ""
    low, high = share_interval(found.value, found.conditions["examples"])
    return f" (95 % interval {low:.1%} to {high:.1%})"


def answer(numbers: Numbers) -> tuple[Tile, ...]:
    """Size, latency, quality on test and validation, and what else the search goes by; empty without a best."""
    if numbers.best is None:
        return ()
    record, baseline = numbers.best[1], numbers.result.baseline
    budgets = numbers.result.objective.budgets
    value = record.value
    return (
        _tile("size", value(SIZE), "{:.2f} MB", _value(baseline, SIZE), budgets.get(SIZE)),
        _tile(latency_name(record), value(LATENCY), "{:.2f} ms", _timed_in_turns(record), budgets.get(LATENCY)),
        _quality_tile(numbers, "test", value(QUALITY_TEST), baseline_on_test(record)),
        _quality_tile(numbers, "validation", value(QUALITY), _value(baseline, QUALITY)),
        *(_tile_of(each, numbers) for each in numbers.result.objective.extra),
    )


def baseline_on_test(record: Record) -> float | None:
    """The baseline's quality on test, where the rebuild's record has it."""
    found: float | None = record.facts.get("baseline", {}).get(QUALITY_TEST)
    return found


def cost(numbers: Numbers) -> str:
    """The cost: quality against the baseline, the time of the search; and how the latency was measured."""
    record, spent = numbers.best[1] if numbers.best else None, numbers.effort
    parts = [_quality_paid(numbers, record)] if record else []
    spared = sum(spent.skipped.values())
    stopped = f", {spent.stopped} trained briefly" if spent.stopped else ""
    others = f", and {spared} more needed no training" if spared else ""
    trained = f"{counted(spent.trained, 'candidate')} trained to the end"
    parts.append(f"The search took {spoken(spent.seconds)}: {trained}{stopped}{others}.")
    near = numbers.result.seconds_to_near
    if near is not None:
        parts.append(f"{NEAR:.0%} of the baseline's quality was reached within the budgets after {spoken(near)}.")
    if record and record.fidelity < 1.0:
        parts.append(f"This one had {share_text(record.fidelity)} of the full training.")
    parts.append(cut_texts(numbers.best[1] if numbers.best else None).replace("`", ""))
    latency = _measured(record, LATENCY) if record else None
    if latency and "sequence_length" in latency.conditions:
        known = latency.conditions
        parts.append(
            f"Latency is the median for a text of {known['sequence_length']} tokens on "
            f"{_threads(known.get('threads', 1))} of {taken_on(known)}."
        )
    elif latency and "texts" in latency.conditions:
        known = latency.conditions
        parts.append(
            f"Latency depends on the text, since the model has early exits: it is the mean of {known['texts']} "
            f"{known['split']} texts on {_threads(known.get('threads', 1))} of {taken_on(known)}; a search goes by the "
            "time of all layers."
        )
    return " ".join(part for part in parts if part)


def taken_on(conditions: Json) -> str:
    """Where a latency was taken: the device, and the machine that it names."""
    return ": ".join(str(conditions[name]) for name in ("device", "machine") if name in conditions)


def spoken(seconds: float) -> str:
    """A time for people, in hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"


def _quality_paid(numbers: Numbers, record: Record) -> str:
    baseline = numbers.result.baseline
    quality, whole = record.value(QUALITY), baseline.value(QUALITY) if baseline else None
    if quality is None or whole is None:
        return ""
    points, words = _points(quality, whole), numbers.quality
    interval = f" (± {words.gap(100 * numbers.mistakes.interval)})" if numbers.mistakes else ""
    kind = "less" if points < 0 else "more"
    return f"{words.gap(points)} of {words.name} {kind} than the baseline on validation{interval}."


def simple(numbers: Numbers) -> str:
    """How much better than the best simple baseline within the budgets the artifact is, or that such a one is the
    result; empty where none is known."""
    result = numbers.result
    if result.verdict:
        return result.verdict
    quality = numbers.best[1].value(QUALITY) if numbers.best else None
    if not result.simple or quality is None:
        return ""
    if result.best_simple is None:
        name, other = by_quality(result.simple)[-1]
        best = _reaches(numbers, name, other)
        return f"No simple baseline within the budgets is an artifact. The best of all, {best}."
    name, other = result.best_simple
    points = _points(quality, other.value(QUALITY) or 0.0)
    gap = numbers.quality.gap(points)
    verdict = f"Yes, by {gap}" if points > 0 else f"No: {gap} short"
    verdict = verdict if points else "A tie"
    return f"{verdict}. The best simple baseline within the budgets, {_reaches(numbers, name, other)}."


def _reaches(numbers: Numbers, name: str, simple: Record) -> str:
    size, quality = simple.value(SIZE), numbers.quality.text(simple.value(QUALITY) or 0.0)
    return f"{name}, reaches {quality}" + (f" in {size:.2f} MB" if size else "")


def command(asked: Json) -> str:
    """The command that goes on with the study, or makes it again elsewhere."""
    each = [(name, one) for name, value in asked.items() for one in (value if isinstance(value, list) else [value])]
    flags = [f"{flag(name)} {shlex.quote(str(one))}" for name, one in each if one is not None]
    return "eicompress search " + " \\\n  ".join(flags)


def more(numbers: Numbers) -> str:
    """The gain in quality of one more megabyte, estimated from this study."""
    found, baseline = numbers.more_bytes, numbers.result.baseline
    whole = baseline.value(QUALITY) if baseline else None
    best = numbers.best[1].value(QUALITY) if numbers.best else None
    if found is None or whole is None or best is None:
        return ""
    gap = _points(whole, best)
    ceiling = (
        f"Probably less than {numbers.quality.gap(gap)}, the distance to the baseline. "
        if gap > 0.05
        else "Little: the baseline is reached. "
    )
    return ceiling + _last_bytes(found, numbers.quality)


def _last_bytes(found: MoreBytes, words: QualityWords) -> str:
    if found.smaller is None:
        return f"No trial under {found.smaller_mb:.2f} MB was trained, so the gain of the last bytes is unknown."
    gained = _points(found.best, found.smaller)
    bought = f"bought {words.gap(gained)}" if gained > 0.05 else "bought nothing"
    return (
        f"The last {found.budget_mb - found.smaller_mb:.2f} MB under the budget {bought} among the trials "
        f"(best up to {found.smaller_mb:.2f} MB: {words.text(found.smaller)}, "
        f"up to {found.budget_mb:.2f} MB: {words.text(found.best)})."
    )


def _nothing(numbers: Numbers) -> str:
    nearest = numbers.result.nearest
    if nearest is None:
        return "No candidate is within budget, and none could be measured yet."
    number, record = nearest
    heaviest = heaviest_parts(record, 2)
    return (
        f"No candidate is within budget yet. The nearest is trial {number}: {numbers.result.objective.compared(record)}"
        + (f"; most of it is {heaviest}" if heaviest else "")
        + "."
    )


def _tile(name: str, value: float | None, form: str, baseline: float | None, budget: float | None) -> Tile:
    lines = ["" if budget is None else f"budget {form.format(budget)}"]
    lines.append("" if baseline is None else f"baseline {form.format(baseline)}")
    return Tile(name, _form(value, form), tuple(line for line in lines if line))


def _tile_of(metric: Quantity, numbers: Numbers) -> Tile:
    """That of a metric that this search goes by, and another may not."""
    assert numbers.best is not None
    objective, value = numbers.result.objective, numbers.best[1].value(metric.name)
    whole = _value(numbers.result.baseline, metric.name)
    lines = [f"{objective.bound(metric.name)} {metric.unit}".strip()] if metric.name in objective.budgets else []
    lines += [f"baseline {metric.text(whole)}"] if whole is not None else []
    return Tile(metric.label, "-" if value is None else metric.text(value), tuple(lines))


def _beside(record: Record, split: str) -> tuple[str, ...]:
    """What the task names beside its quality, on a split."""
    found = [
        each for each in record.measurements if each.conditions.get("split") == split and "metric" in each.conditions
    ]
    words = [(QualityWords.measured(each), each.value) for each in found if not each.name.startswith(QUALITY)]
    return tuple(f"{of.name} {of.text(value)}" for of, value in words)


def _quality_tile(numbers: Numbers, split: str, value: float | None, baseline: float | None) -> Tile:
    assert numbers.best is not None
    words, name = numbers.quality, f"{numbers.quality.name}, {split}"
    if value is None:
        return Tile(name, "-", ("read once, at the rebuild",))
    lines = (f"{value / baseline:.1%} of the baseline", f"baseline {words.text(baseline)}") if baseline else ()
    return Tile(name, words.text(value), (*lines, *_beside(numbers.best[1], split)))


def _points(quality: float, other: float) -> float:
    """The difference of two shares in points, as their rounded percentages on the page have it."""
    return round(100 * quality, 1) - round(100 * other, 1)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _form(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _value(baseline: Record | None, metric: str) -> float | None:
    return baseline.value(metric) if baseline else None


def _share_of(baseline: Record | None, record: Record, metric: str) -> float | None:
    before, after = _value(baseline, metric), record.value(metric)
    return after / before if before and after else None


def _timed_in_turns(record: Record) -> float | None:
    """The baseline's milliseconds beside the artifact's: from their ratio, which was measured in turns."""
    latency, ratio = record.value(LATENCY), record.value(LATENCY_RATIO)
    return latency / ratio if latency and ratio else None


def _times(share: float | None, what: str) -> str:
    if not share or share > 1:
        return ""
    ratio = 1 / share
    return f" ({ratio:.0f} times {what} than the baseline)" if ratio >= 10 else f" ({ratio:.1f} times {what})"


def _measured(record: Record, name: str) -> Measurement | None:
    return next((each for each in record.measurements if each.name == name), None)
