"""Numbers to figures. A figure holds no colour of the page: text and lines take the reader's light or dark theme."""

import math
from collections.abc import Iterable, Sequence
from html import escape

import plotly.graph_objects as go

from eicompress.reporting.data import ARTIFACT, BASELINE, Axis, Numbers, Point, front
from eicompress.study.agreement import ENOUGH_PAIRS
from eicompress.values import MEGABYTE

# Okabe and Ito's colours, which colour-blind people tell apart, as they read on white and on black.
BLUE, ORANGE, GREEN, GREY = "#3b87c8", "#e08e0b", "#17a07a", "#9a9a9a"

TITLES: dict[Axis, str] = {"size_mb": "size of the artifact, MB", "latency_ms": "latency, ms (median, one text)"}
SPREAD_FOR_LOG = 5.0
"""An axis whose values spread over more than this ratio is logarithmic."""
TICKS = tuple(step * 10.0**power for power in range(-3, 4) for step in (1, 2, 5))
"""Labels of a logarithmic axis."""
ERRORS = (0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 70, 100)
"""Where the axis of the quality is labelled, in percent that are wrong."""
KNOBS = 12
HEIGHT = 380
FLOOR = 1.2
"""Candidates without a quality are drawn this much below the worst."""


def quality_against(numbers: Numbers, axis: Axis) -> go.Figure:
    """Every candidate: quality against bytes or milliseconds, the front, and the budget."""
    drawn = [each for each in numbers.points if each.on(axis) is not None and each.quality is not None]
    kept = [each for each in drawn if each.fits and not each.rebuilt]
    over = [each for each in drawn if not each.fits and not each.stopped]
    stopped = [each for each in drawn if each.stopped]
    rebuilt = [each for each in drawn if each.fits and each.rebuilt]
    best = front(drawn, axis)
    figure = layout(TITLES[axis], f"{numbers.metric} on validation, %")
    if over:
        figure.add_trace(_markers(over, axis, "trained, over budget", GREY, "x", numbers.metric))
    if stopped:
        figure.add_trace(_markers(stopped, axis, "stopped early", GREY, "circle-open", numbers.metric))
    figure.add_trace(_markers(kept, axis, "trial", BLUE, "circle", numbers.metric))
    figure.add_trace(
        go.Scatter(
            x=[each.on(axis) for each in best],
            y=[_wrong(each.quality) for each in best],
            mode="lines",
            name="front",
            line={"color": ORANGE, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )
    )
    if rebuilt:
        figure.add_trace(_markers(rebuilt, axis, "rebuilt at full length", ORANGE, "star", numbers.metric, size=14))
    chosen = [each for each in drawn if numbers.best and _is_best(each, numbers)]
    if chosen:
        figure.add_trace(_markers(chosen, axis, "the best", GREEN, "circle-open", numbers.metric, size=18))
    _untrained(figure, numbers, axis)
    _levels(figure, numbers)
    _scaled(figure, numbers, axis)
    return figure


def bytes_of_best(numbers: Numbers) -> go.Figure:
    """Where the artifact's bytes go."""
    shown = [each for each in numbers.shares if each.after]
    whole = sum(each.after for each in shown)
    figure = layout("MB", "")
    figure.add_trace(
        go.Bar(
            x=[each.after / MEGABYTE for each in shown],
            y=[each.name for each in shown],
            orientation="h",
            marker={"color": BLUE},
            text=[f"{each.after / MEGABYTE:.3f} MB · {_share(each.after / whole)}" for each in shown],
            textposition="auto",
            textangle=0,
            hoverinfo="skip",
        )
    )
    return rows(figure, len(shown))


def waterfall(numbers: Numbers) -> go.Figure:
    """From the baseline's bytes to the artifact's, step by step; a logarithmic axis, since each step is a ratio."""
    shown = numbers.falls
    # In two lines where there are two words, so that a phone has room for the bars.
    steps = [f"{place}. {each.name.replace(' ', '<br>')}" for place, each in enumerate(shown, start=1)]
    names = ["baseline", *steps, ARTIFACT]
    ends = [shown[0].before, *(each.after for each in shown), shown[-1].after]
    figure = layout("MB, logarithmic", "")
    least = 0.7 * min(each.after for each in shown)
    spans = [(least, ends[0]), *((each.before, each.after) for each in shown), (least, ends[-1])]
    figure.add_trace(
        go.Bar(
            x=[abs(after - before) for before, after in spans],
            base=[min(span) for span in spans],
            y=names,
            orientation="h",
            marker={"color": [GREY, *(BLUE if each.after < each.before else ORANGE for each in shown), GREEN]},
            hoverinfo="skip",
        )
    )
    for name, (before, after), end in zip(names, spans, ends, strict=True):
        text = f"{end:.3g} MB" if name in ("baseline", ARTIFACT) else f"{end:.3g} MB ({_ratio(before, after)})"
        figure.add_annotation(x=math.log10(max(before, after)), y=name, text=text, xanchor="left", showarrow=False)
    # Room for what is written to the right of the longest bar.
    span = [math.log10(least), math.log10(max(ends)) + 0.85 * math.log10(max(ends) / least)]
    figure.update_xaxes(type="log", range=span, tickvals=TICKS[::3], ticktext=[f"{each:g}" for each in TICKS[::3]])
    return rows(figure, len(names))


def _ratio(before: float, after: float) -> str:
    return f"÷ {before / after:.3g}" if after <= before else f"{after / before:.3g} times more"


def treemap(numbers: Numbers) -> go.Figure:
    """Every byte of the artifact: its tensors by part, and its other files."""
    groups: dict[str, int] = {}
    for each in numbers.tensors:
        groups[each.group] = groups.get(each.group, 0) + each.size
    inner = [each for each in numbers.tensors if each.name != each.group]
    figure = layout("", "")
    figure.add_trace(
        go.Treemap(
            ids=["all", *groups, *(f"{each.group}/{each.name}" for each in inner)],
            labels=[ARTIFACT, *groups, *(escape(each.name) for each in inner)],
            parents=["", *["all"] * len(groups), *(each.group for each in inner)],
            values=[sum(groups.values()), *groups.values(), *(each.size for each in inner)],
            branchvalues="total",
            marker={
                "colors": ["rgba(0,0,0,0)", *_colours(groups), *_colours([each.group for each in inner])],
                "line": {"width": 1, "color": "rgba(255,255,255,0.7)"},
            },
            texttemplate="%{label}<br>%{percentRoot:.1%}",
            hovertemplate="%{label}: %{value:,} bytes, %{percentRoot:.1%}<extra></extra>",
            tiling={"pad": 2},
        )
    )
    # What has no room for its name has none.
    small = {"minsize": 10, "mode": "hide"}
    return figure.update_layout(margin={"l": 0, "r": 0, "t": 8, "b": 8}, uniformtext=small)


def _colours(groups: Iterable[str]) -> list[str]:
    known = {"embedding": BLUE, "layers": ORANGE, "head": GREEN}
    return [known.get(group, GREY) for group in groups]


def operators(numbers: Numbers) -> go.Figure:
    """Where the milliseconds go, by kind of operator."""
    shown, whole = numbers.operators, sum(each.ms for each in numbers.operators)
    figure = layout("ms for one text", "")
    figure.add_trace(
        go.Bar(
            x=[each.ms for each in shown],
            y=[escape(each.name) for each in shown],
            orientation="h",
            marker={"color": BLUE},
            text=[f"{each.ms:.3f} ms · {_share(each.ms / whole)}" for each in shown],
            textposition="auto",
            textangle=0,
            hoverinfo="skip",
        )
    )
    return rows(figure, len(shown))


def rebuilds(numbers: Numbers) -> go.Figure:
    """Quality after the short training of a trial against that of its rebuild."""
    figure = layout(f"{numbers.metric} after short training, %", f"{numbers.metric} after full training, %")
    figure.add_trace(
        go.Scatter(
            x=[100 * each.short for each in numbers.rebuilds],
            y=[100 * each.full for each in numbers.rebuilds],
            text=[f"trial {each.trial}" for each in numbers.rebuilds],
            mode="markers",
            marker={"color": BLUE, "size": 10},
            hovertemplate="%{text}: %{x:.2f} %, then %{y:.2f} %<extra></extra>",
        )
    )
    return figure


def drawn(numbers: Numbers) -> dict[str, go.Figure]:
    """Every figure that the numbers allow, by a name for a file."""
    found = {}
    if numbers.points:
        found["quality-against-bytes"] = quality_against(numbers, "size_mb")
        found["quality-against-milliseconds"] = quality_against(numbers, "latency_ms")
    for name, draw, there in (
        ("where-the-bytes-go", bytes_of_best, any(each.after for each in numbers.shares)),
        ("what-each-step-took", waterfall, bool(numbers.falls)),
        ("every-byte", treemap, bool(numbers.tensors)),
        ("where-the-milliseconds-go", operators, bool(numbers.operators)),
        ("best-over-time", best_over_time, any(each.best is not None for each in numbers.steps)),
        ("which-knobs-mattered", importance, bool(numbers.importance)),
        ("short-against-full-training", rebuilds, len(numbers.rebuilds) >= ENOUGH_PAIRS),
        ("calibration", calibration, numbers.mistakes is not None),
    ):
        if there:
            found[name] = draw(numbers)
    return found


def best_over_time(numbers: Numbers) -> go.Figure:
    """Each trial's quality and the best so far, in the order of the search."""
    figure = layout("trial", f"{numbers.metric} on validation, %")
    figure.update_xaxes(tickformat="d", **({"dtick": 1} if len(numbers.steps) <= KNOBS else {}))
    tried = [each for each in numbers.steps if each.quality is not None]
    figure.add_trace(
        go.Scatter(
            x=[each.trial for each in tried],
            y=[_wrong(each.quality) for each in tried],
            mode="markers",
            name="trial",
            marker={"color": BLUE, "size": 8},
            customdata=[each.quality for each in tried],
            hovertemplate="trial %{x}: %{customdata:.2%}<extra></extra>",
        )
    )
    known = [each for each in numbers.steps if each.best is not None]
    figure.add_trace(
        go.Scatter(
            x=[each.trial for each in known],
            y=[_wrong(each.best) for each in known],
            mode="lines",
            name="best so far",
            line={"color": ORANGE, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )
    )
    _levels(figure, numbers)
    return figure


def importance(numbers: Numbers) -> go.Figure:
    """Which knobs told good trials from the others."""
    shown = list(numbers.importance.items())[:KNOBS]
    figure = layout("share, %", "")
    figure.add_trace(
        go.Bar(
            x=[100 * value for _, value in shown],
            y=[escape(name.replace("_", " ").replace(".", ": ")) for name, _ in shown],
            orientation="h",
            marker={"color": BLUE},
            text=[_share(value) for _, value in shown],
            textposition="auto",
            textangle=0,
            hoverinfo="skip",
        )
    )
    return rows(figure, len(shown))


def calibration(numbers: Numbers) -> go.Figure:
    """Confidence against accuracy: on the diagonal, answers that are 80 % sure are right 80 times in 100."""
    figure = layout("confidence, %", "right, %")
    figure.add_trace(
        go.Scatter(
            x=[0, 100],
            y=[0, 100],
            mode="lines",
            name="calibrated",
            line={"color": GREY, "dash": "dot", "width": 1},
            hoverinfo="skip",
        )
    )
    assert numbers.mistakes is not None
    for name, colour, found in (
        ("baseline", ORANGE, numbers.mistakes.baseline),
        ("artifact", BLUE, numbers.mistakes.artifact),
    ):
        figure.add_trace(
            go.Scatter(
                x=[100 * each.confidence for each in found.bins],
                y=[100 * each.accuracy for each in found.bins],
                customdata=[each.count for each in found.bins],
                mode="lines+markers",
                name=name,
                marker={"color": colour, "size": 8},
                line={"color": colour},
                hovertemplate="%{x:.0f} % sure, %{y:.0f} % right, %{customdata} texts",
            )
        )
    return figure


def _markers(
    points: Sequence[Point], axis: Axis, name: str, colour: str, symbol: str, metric: str, size: int = 9
) -> go.Scatter:
    return go.Scatter(
        x=[each.on(axis) for each in points],
        y=[_wrong(each.quality) for each in points],
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": symbol, "size": size},
        customdata=[_told(each, metric) for each in points],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _is_best(point: Point, numbers: Numbers) -> bool:
    assert numbers.best is not None
    return point.trial == numbers.best[0] and point.rebuilt == (point.trial in numbers.result.promoted)


def _told(point: Point, metric: str) -> str:
    """What hovering over a candidate says."""
    kind = "handed out: trial" if point.rebuilt else "trial"
    parts = [f"{point.size_mb:.3f} MB" if point.size_mb is not None else ""]
    parts.append(f"{point.latency_ms:.2f} ms" if point.latency_ms is not None else "")
    parts.append(f"{escape(metric)} {point.quality:.2%}" if point.quality is not None else "not trained")
    length = f"{point.fidelity:.0%} of the full training" if point.quality is not None else ""
    lines = [f"<b>{kind} {point.trial}</b>", " · ".join(part for part in parts if part), length]
    return "<br>".join([line for line in lines if line] + [escape(line) for line in point.words.splitlines()])


def _scaled(figure: go.Figure, numbers: Numbers, axis: Axis) -> None:
    """The budget's line, and a logarithmic axis where values lie far apart."""
    values = [value for each in numbers.points if (value := each.on(axis))]
    budget = numbers.result.objective.budgets.get(axis)
    if budget is not None:
        values.append(budget)
    logarithmic = bool(values) and max(values) / min(values) > SPREAD_FOR_LOG
    if logarithmic:
        figure.update_xaxes(type="log", tickvals=TICKS, ticktext=[f"{each:g}" for each in TICKS])
    if budget is not None:
        line = {"color": GREY, "dash": "dash", "width": 1}
        figure.add_shape(type="line", x0=budget, x1=budget, y0=0, y1=1, yref="paper", line=line)
        # On a logarithmic axis, lines are placed by the value and texts by its logarithm.
        at = math.log10(budget) if logarithmic else budget
        figure.add_annotation(
            x=at, y=0, yref="paper", yanchor="bottom", text="budget", xanchor="right", showarrow=False
        )


def _untrained(figure: go.Figure, numbers: Numbers, axis: Axis) -> None:
    """Previews that were over budget, as ticks below the lowest quality."""
    shown = [each for each in numbers.points if each.quality is None and each.on(axis) is not None]
    wrong = [_wrong(each.quality) for each in numbers.points if each.quality is not None]
    if not shown:
        return
    floor = FLOOR * max(wrong, default=100.0)
    figure.add_trace(
        go.Scatter(
            x=[each.on(axis) for each in shown],
            y=[floor] * len(shown),
            mode="markers",
            name="over budget, not trained",
            marker={"color": GREY, "symbol": "line-ns-open", "size": 10},
            customdata=[_told(each, numbers.metric) for each in shown],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )


def _levels(figure: go.Figure, numbers: Numbers) -> None:
    """The baseline, and the best of the simple baselines, as levels to compare with."""
    simple = [each for each in numbers.yardsticks if each.name not in (ARTIFACT, BASELINE)]
    levels = [each for each in numbers.yardsticks if each.name == BASELINE]
    levels += [max(simple, key=lambda each: each.quality)] if simple else []
    for each in levels:
        wrong = _wrong(each.quality)
        line = {"color": GREY, "dash": "dot", "width": 1}
        figure.add_shape(type="line", x0=0, x1=1, xref="paper", y0=wrong, y1=wrong, line=line)
        text = f"{escape(each.name)} {each.quality:.1%}"
        where = {"x": 0, "xref": "paper", "xanchor": "left", "y": math.log10(wrong), "yanchor": "bottom"}
        figure.add_annotation(text=text, showarrow=False, **where)
    # Shapes do not count when the range is chosen: an invisible mark makes room for them.
    figure.add_trace(
        go.Scatter(
            x=[next((x for trace in figure.data for x in trace.x), None)] * len(levels),
            y=[_wrong(each.quality) for each in levels],
            mode="markers",
            marker={"opacity": 0},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    _quality_axis(figure)


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= 0.005 else "&lt;1%"


def _wrong(quality: float | None) -> float:
    """Percent that are wrong, which is what a quality's axis is drawn by: from 95 % to 97 % is as far as 80 to 88."""
    return 100 * max(0.001, 1.0 - (quality or 0.0))


def _quality_axis(figure: go.Figure) -> go.Figure:
    """Logarithmic in what is wrong, labelled with what is right, the best on top."""
    labels = [f"{100 - each:g}" for each in ERRORS]
    return figure.update_yaxes(type="log", autorange="reversed", tickvals=ERRORS, ticktext=labels)


def layout(x_title: str, y_title: str) -> go.Figure:
    """An empty figure of one column's width, without colours of its own."""
    return go.Figure(
        layout={
            "template": "none",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "height": HEIGHT,
            "margin": {"l": 56, "r": 16, "t": 24, "b": 52},
            "xaxis": {"title": {"text": escape(x_title)}, "zeroline": False, "fixedrange": True},
            "yaxis": {"title": {"text": escape(y_title)}, "zeroline": False, "fixedrange": True, "automargin": True},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "hoverlabel": {"align": "left"},
            "dragmode": False,
        }
    )


def rows(figure: go.Figure, count: int) -> go.Figure:
    """A figure of one row a name, the first on top, as high as its rows."""
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_layout(height=90 + 34 * max(1, count), showlegend=False)
    return figure
