"""Figures of a search: its candidates, its progress, and the importance of knobs."""

import math
from collections.abc import Callable, Sequence
from html import escape

import plotly.graph_objects as go

from eicompress.metrics.latency import LATENCY
from eicompress.metrics.size import SIZE
from eicompress.reporting.data import ARTIFACT, BASELINE, Numbers, Point, axes, front
from eicompress.reporting.figure_parts import BLUE, GREEN, GREY, ORANGE, TICKS, labelled_bars, layout, percent
from eicompress.study.outcomes import share_text
from eicompress.study.quality_words import QualityWords
from eicompress.values import Quantity

SPREAD_FOR_LOG = 5.0
"""An axis whose values spread over more than this ratio is logarithmic."""
ERRORS = (0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 70, 100)
"""Where the axis of the quality is labelled, in percent that are wrong."""
LABELS = 12
"""Labels of that axis at most, so that none is written over another."""
KNOBS = 12
FLOOR = 1.2
"""Candidates without a quality are drawn below the worst: at this multiple of what is wrong, or else by this less 1 of
all heights."""


def called(axis: Quantity) -> str:
    """What people say for it: bytes and milliseconds, and of another metric its label."""
    return {SIZE: "bytes", LATENCY: "milliseconds"}.get(axis.name, axis.label)


def quality_against(numbers: Numbers, axis: Quantity) -> go.Figure:
    """Every candidate: quality against bytes, milliseconds or another metric, the front, and the limit."""
    drawn = [each for each in numbers.points if each.on(axis) is not None and each.quality is not None]
    kept = [each for each in drawn if each.fits and not each.rebuilt]
    over = [each for each in drawn if not each.fits and not each.stopped]
    stopped = [each for each in drawn if each.stopped]
    rebuilt = [each for each in drawn if each.fits and each.rebuilt]
    whole, shorter = ([each for each in rebuilt if (each.fidelity >= 1.0) == full] for full in (True, False))
    best, height = front(drawn, axis), _height(numbers)
    figure = layout(axis.axis, numbers.quality.axis("on validation"))
    if over:
        figure.add_trace(_markers(over, axis, "trained, over budget", GREY, "x", numbers))
    if stopped:
        figure.add_trace(_markers(stopped, axis, "stopped early", GREY, "circle-open", numbers))
    figure.add_trace(_markers(kept, axis, "trial", BLUE, "circle", numbers))
    figure.add_trace(
        go.Scatter(
            x=[each.on(axis) for each in best],
            y=[height(each.quality) for each in best],
            mode="lines",
            name="front",
            line={"color": ORANGE, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )
    )
    if whole:
        figure.add_trace(_markers(whole, axis, "rebuilt at full length", ORANGE, "star", numbers, size=14))
    if shorter:
        name = "handed out, trained for less than full length"
        figure.add_trace(_markers(shorter, axis, name, ORANGE, "star-open", numbers, size=14))
    chosen = [each for each in drawn if numbers.best and _is_best(each, numbers)]
    if chosen:
        figure.add_trace(_markers(chosen, axis, "the best", GREEN, "circle-open", numbers, size=18))
    _untrained(figure, numbers, axis)
    _levels(figure, numbers)
    _scaled(figure, numbers, axis)
    return figure


def best_over_time(numbers: Numbers) -> go.Figure:
    """Each trial's quality and the best so far, in the order of the search."""
    figure, height = layout("trial", numbers.quality.axis("on validation")), _height(numbers)
    figure.update_xaxes(tickformat="d", **({"dtick": 1} if len(numbers.steps) <= KNOBS else {}))
    tried = [each for each in numbers.steps if each.quality is not None]
    figure.add_trace(
        go.Scatter(
            x=[each.trial for each in tried],
            y=[height(each.quality) for each in tried],
            mode="markers",
            name="trial",
            marker={"color": BLUE, "size": 8},
            customdata=[numbers.quality.text(each.quality or 0.0, 2) for each in tried],
            hovertemplate="trial %{x}: %{customdata}<extra></extra>",
        )
    )
    known = [each for each in numbers.steps if each.best is not None]
    figure.add_trace(
        go.Scatter(
            x=[each.trial for each in known],
            y=[height(each.best) for each in known],
            mode="lines",
            name="best so far",
            line={"color": ORANGE, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )
    )
    _levels(figure, numbers)
    return figure


def rebuilds(numbers: Numbers) -> go.Figure:
    """Quality after the short training of a trial against that of its rebuild."""
    figure = layout(numbers.quality.axis("after short training"), numbers.quality.axis("after full training"))
    figure.add_trace(
        go.Scatter(
            x=[numbers.quality.scale * each.short for each in numbers.rebuilds],
            y=[numbers.quality.scale * each.full for each in numbers.rebuilds],
            text=[f"trial {each.trial}" for each in numbers.rebuilds],
            mode="markers",
            marker={"color": BLUE, "size": 10},
            hovertemplate="%{text}: %{x:.2f}, then %{y:.2f}<extra></extra>",
        )
    )
    return figure


def importance(numbers: Numbers) -> go.Figure:
    """How much each knob matters for the objective."""
    shown = dict(list(numbers.importance.items())[:KNOBS])
    names = (escape(name.replace("_", " ").replace(".", ": ")) for name in shown)
    return labelled_bars("share, %", names, (100 * value for value in shown.values()), [*map(percent, shown.values())])


def _markers(
    points: Sequence[Point], axis: Quantity, name: str, colour: str, symbol: str, numbers: Numbers, size: int = 9
) -> go.Scatter:
    height = _height(numbers)
    return go.Scatter(
        x=[each.on(axis) for each in points],
        y=[height(each.quality) for each in points],
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": symbol, "size": size},
        customdata=[_hover_text(each, numbers) for each in points],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _is_best(point: Point, numbers: Numbers) -> bool:
    assert numbers.best is not None
    return point.trial == numbers.best[0] and point.rebuilt == (point.trial in numbers.result.promoted)


def _hover_text(point: Point, numbers: Numbers) -> str:
    """The text that appears over a candidate."""
    words, kind = numbers.quality, "handed out: trial" if point.rebuilt else "trial"
    known = [(axis, value) for axis in axes(numbers.result.objective) if (value := point.on(axis)) is not None]
    # MB and ms say themselves what they are of.
    names = {axis.name: "" if axis.name in (SIZE, LATENCY) else f"{axis.label} " for axis, _ in known}
    parts = [escape(f"{names[axis.name]}{axis.text(value)}") for axis, value in known]
    parts.append(f"{escape(words.name)} {words.text(point.quality, 2)}" if point.quality is not None else "not trained")
    length = f"{share_text(point.fidelity)} of the {point.whole}" if point.quality is not None else ""
    lines = [f"<b>{kind} {point.trial}</b>", " · ".join(part for part in parts if part), length]
    return "<br>".join([line for line in lines if line] + [escape(line) for line in point.words.splitlines()])


def _limit(axis: Quantity) -> str:
    return "budget" if axis.direction == "minimize" else "at least"


def _untrained(figure: go.Figure, numbers: Numbers, axis: Quantity) -> None:
    """Previews that were over budget, as ticks below the lowest quality."""
    shown = [each for each in numbers.points if each.quality is None and each.on(axis) is not None]
    if not shown:
        return
    heights = [_height(numbers)(each.quality) for each in numbers.points if each.quality is not None] or [100.0]
    below = (FLOOR - 1.0) * ((max(heights) - min(heights)) or 1.0)
    floor = FLOOR * max(heights) if _by_errors(numbers) else min(heights) - below
    figure.add_trace(
        go.Scatter(
            x=[each.on(axis) for each in shown],
            y=[floor] * len(shown),
            mode="markers",
            name="over budget, not trained",
            marker={"color": GREY, "symbol": "line-ns-open", "size": 10},
            customdata=[_hover_text(each, numbers) for each in shown],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )


def _levels(figure: go.Figure, numbers: Numbers) -> None:
    """The baseline, and the best of the simple baselines, as levels to compare with."""
    simple = [each for each in numbers.contenders if each.name not in (ARTIFACT, BASELINE)]
    levels = [each for each in numbers.contenders if each.name == BASELINE]
    levels += [max(simple, key=lambda each: each.quality)] if simple else []
    height = _height(numbers)
    for each in levels:
        at = height(each.quality)
        line = {"color": GREY, "dash": "dot", "width": 1}
        figure.add_shape(type="line", x0=0, x1=1, xref="paper", y0=at, y1=at, line=line)
        text = f"{escape(each.name)} {numbers.quality.text(each.quality)}"
        # On a logarithmic axis, lines are placed by the value and texts by its logarithm.
        y = math.log10(at) if _by_errors(numbers) else at
        where = {"x": 0, "xref": "paper", "xanchor": "left", "y": y, "yanchor": "bottom"}
        figure.add_annotation(text=text, showarrow=False, **where)
    # Shapes do not count when the range is chosen: an invisible mark makes room for them.
    figure.add_trace(
        go.Scatter(
            x=[next((x for trace in figure.data for x in trace.x), None)] * len(levels),
            y=[height(each.quality) for each in levels],
            mode="markers",
            marker={"opacity": 0},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    if _by_errors(numbers):
        _error_axis(figure, numbers.quality)


def _scaled(figure: go.Figure, numbers: Numbers, axis: Quantity) -> None:
    """The limit's line, and a logarithmic axis where values lie far apart."""
    values = [value for each in numbers.points if (value := each.on(axis))]
    budget = numbers.result.objective.budgets.get(axis.name)
    if budget is not None:
        values.append(budget)
    logarithmic = bool(values) and min(values) > 0 and max(values) / min(values) > SPREAD_FOR_LOG
    if logarithmic:
        figure.update_xaxes(type="log", tickvals=TICKS, ticktext=[f"{each:g}" for each in TICKS])
    if budget is not None:
        line = {"color": GREY, "dash": "dash", "width": 1}
        figure.add_shape(type="line", x0=budget, x1=budget, y0=0, y1=1, yref="paper", line=line)
        at = math.log10(budget) if logarithmic else budget
        figure.add_annotation(
            x=at, y=0, yref="paper", yanchor="bottom", text=_limit(axis), xanchor="right", showarrow=False
        )


def _by_errors(numbers: Numbers) -> bool:
    """Whether the axis of the quality is that of what is wrong: a share of a teacher's quality may be above 1."""
    known = [each.quality for each in numbers.points] + [each.quality for each in numbers.steps]
    known += [each.quality for each in numbers.contenders]
    return max((each for each in known if each is not None), default=0.0) <= 1.0


def _height(numbers: Numbers) -> Callable[[float | None], float]:
    """Where a quality is drawn: by what is wrong, or else by itself."""
    return _wrong if _by_errors(numbers) else lambda quality: numbers.quality.scale * (quality or 0.0)


def _wrong(quality: float | None) -> float:
    """Percent that are wrong: from 95 % to 97 % is as far as from 80 to 88."""
    return 100 * max(0.001, 1.0 - (quality or 0.0))


def _error_axis(figure: go.Figure, words: QualityWords) -> go.Figure:
    """Logarithmic in what is wrong, labelled with what is right, the best on top."""
    drawn = [float(y) for trace in figure.data for y in trace.y]
    ticks = quality_ticks(min(drawn), max(drawn)) if drawn else ERRORS
    labels = [f"{words.scale * (100 - each) / 100:g}" for each in ticks]
    return figure.update_yaxes(type="log", autorange="reversed", tickvals=ticks, ticktext=labels)


def quality_ticks(low: float, high: float) -> tuple[float, ...]:
    """Where an axis of percent that are wrong is labelled between two values, far enough apart to be read."""
    gap = math.log10(high / low) / LABELS
    found: list[float] = []
    for each in ERRORS:
        if low / 1.1 <= each <= high * 1.1 and (not found or math.log10(each / found[-1]) > gap):
            found.append(each)
    # Between two labels of the list lies a narrow range: it gets labels of its own.
    return tuple(found) if len(found) > 1 else tuple(dict.fromkeys((float(f"{low:.2g}"), float(f"{high:.2g}"))))
