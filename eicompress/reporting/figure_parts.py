"""What figures are made of: colours, an empty layout, bars a row. None holds a colour of the page: text and lines take
the reader's light or dark theme.
"""

from collections.abc import Iterable, Sequence
from html import escape

import plotly.graph_objects as go

# Okabe and Ito's colours, which colour-blind people tell apart, as they read on white and on black.
BLUE, ORANGE, GREEN, GREY = "#3b87c8", "#e08e0b", "#17a07a", "#9a9a9a"
HEIGHT = 380
TICKS = tuple(step * 10.0**power for power in range(-3, 4) for step in (1, 2, 5))
"""Labels of a logarithmic axis."""


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


def labelled_bars(x_title: str, names: Iterable[str], lengths: Iterable[float], texts: Sequence[str]) -> go.Figure:
    """A bar a name, the first on top, each with a text at its end."""
    figure = layout(x_title, "")
    figure.add_trace(
        go.Bar(
            x=list(lengths),
            y=list(names),
            orientation="h",
            marker={"color": BLUE},
            text=texts,
            textposition="auto",
            textangle=0,
            hoverinfo="skip",
        )
    )
    return rows(figure, len(texts))


def percent(value: float) -> str:
    return f"{value:.0%}" if value >= 0.005 else "&lt;1%"
