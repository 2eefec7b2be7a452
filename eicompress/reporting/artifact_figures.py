"""Figures of one artifact: where its bytes and milliseconds go, and how far its confidence can be trusted."""

import math
from collections.abc import Iterable
from html import escape

import plotly.graph_objects as go

from eicompress.answers import Chart
from eicompress.reporting.data import ARTIFACT, Numbers
from eicompress.reporting.figure_parts import BLUE, GREEN, GREY, ORANGE, TICKS, labelled_bars, layout, percent, rows
from eicompress.values import MEGABYTE


def bytes_of_best(numbers: Numbers) -> go.Figure:
    """Where the artifact's bytes go."""
    shown = [each for each in numbers.shares if each.after]
    whole = sum(each.after for each in shown)
    texts = [f"{each.after / MEGABYTE:.3f} MB · {percent(each.after / whole)}" for each in shown]
    return labelled_bars("MB", (each.name for each in shown), (each.after / MEGABYTE for each in shown), texts)


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


def treemap(numbers: Numbers) -> go.Figure:
    """Every byte of the artifact: its tensors by part, and its other files."""
    groups: dict[str, int] = {}
    for each in numbers.tensors:
        groups[each.group] = groups.get(each.group, 0) + each.size
    inner = [each for each in numbers.tensors if each.name != each.group]
    figure = layout("", "")
    figure.add_trace(
        go.Treemap(
            ids=["all", *groups, *(f"{each.group}/{place}" for place, each in enumerate(inner))],
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


def operators(numbers: Numbers) -> go.Figure:
    """Where the milliseconds go, by kind of operator."""
    shown, whole = numbers.operators, sum(each.ms for each in numbers.operators)
    texts = [f"{each.ms:.3f} ms · {percent(each.ms / whole)}" for each in shown]
    return labelled_bars("ms for one text", (escape(each.name) for each in shown), (each.ms for each in shown), texts)


def exits(numbers: Numbers) -> go.Figure:
    """Quality against mean milliseconds of the artifact at each threshold; its own stands out."""
    shown = sorted(numbers.exits, key=lambda each: each.mean_ms)
    figure = layout("mean ms of a text", numbers.quality.axis())
    figure.add_trace(
        go.Scatter(
            x=[each.mean_ms for each in shown],
            y=[numbers.quality.scale * each.quality for each in shown],
            customdata=[[each.threshold, each.layers] for each in shown],
            mode="lines+markers",
            line={"color": BLUE},
            marker={
                "size": [14 if each.own else 8 for each in shown],
                "color": [ORANGE if each.own else BLUE for each in shown],
            },
            hovertemplate=(
                "threshold %{customdata[0]:.3g}: %{x:.2f} ms, %{customdata[1]:.1f} layers, %{y:.4g}<extra></extra>"
            ),
        )
    )
    return figure.update_layout(showlegend=False)


def mistakes(chart: Chart) -> go.Figure:
    """A chart by which a kind of answer shows artifact and baseline, around the diagonal of an ideal model."""
    figure = layout(chart.x_title, chart.y_title)
    figure.add_trace(
        go.Scatter(
            x=list(chart.diagonal),
            y=list(chart.diagonal),
            mode="lines",
            name=chart.ideal,
            line={"color": GREY, "dash": "dot", "width": 1},
            hoverinfo="skip",
        )
    )
    for colour, curve in ((ORANGE, chart.baseline), (BLUE, chart.artifact)):
        figure.add_trace(
            go.Scatter(
                x=list(curve.x),
                y=list(curve.y),
                customdata=[escape(each) for each in curve.notes],
                mode="lines+markers" if chart.joined else "markers",
                name=curve.name,
                marker={"color": colour, "size": 8 if chart.joined else 5},
                line={"color": colour},
                hovertemplate=chart.hover,
            )
        )
    return figure


def confusions(numbers: Numbers) -> go.Figure:
    """The confusion matrix: shades by the share of a label's texts, numbers of texts in the cells that have some."""
    assert numbers.mistakes is not None and numbers.mistakes.matrix is not None
    matrix = numbers.mistakes.matrix
    names, figure = [escape(each) for each in matrix.names], layout("answer", "label")
    places = list(range(len(names)))
    figure.add_trace(
        go.Heatmap(
            z=[[count / max(1, sum(row)) for count in row] for row in matrix.counts],
            x=places,
            y=places,
            zmin=0,
            zmax=1,
            text=[[str(count) if count else "" for count in row] for row in matrix.counts],
            texttemplate="%{text}",
            colorscale=[[0, "rgba(59,135,200,0)"], [1, "rgba(59,135,200,0.8)"]],
            showscale=False,
            customdata=[[[label, answer] for answer in names] for label in names],
            hovertemplate="%{customdata[0]} answered with %{customdata[1]}: %{text}<extra></extra>",
        )
    )
    figure.update_xaxes(tickvals=places, ticktext=names, tickangle=-45, automargin=True, showgrid=False)
    figure.update_yaxes(tickvals=places, ticktext=names, showgrid=False)
    figure = rows(figure, len(names))
    return figure.update_layout(height=figure.layout.height + 80)


def _ratio(before: float, after: float) -> str:
    return f"÷ {before / after:.3g}" if after <= before else f"{after / before:.3g} times more"


def _colours(groups: Iterable[str]) -> list[str]:
    known = {"embedding": BLUE, "layers": ORANGE, "head": GREEN}
    return [known.get(group, GREY) for group in groups]
