"""Several artifacts on the same data: numbers, two figures, and a page of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from eicompress.metrics.latency import LATENCY, LATENCY_RATIO
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.significance import Difference, mcnemar, paired_difference
from eicompress.metrics.size import SIZE
from eicompress.reporting.figure_parts import BLUE, GREY, ORANGE, layout, rows
from eicompress.reporting.page import document, drawn
from eicompress.reporting.page_parts import table
from eicompress.study.quality_words import QualityWords


@dataclass(frozen=True)
class Measured:
    """One artifact: its bytes, its time for a text, and its quality."""

    name: str
    size_mb: float
    latency_ms: float
    quality: float
    correct: npt.NDArray[Any]
    """(n,) quality of each example."""
    beside: Mapping[str, float] = field(default_factory=dict)
    """Other qualities that the task names."""
    latency_ratio: float | None = None
    """Share of the first one's time, both measured in turns; None for the first one."""


@dataclass(frozen=True)
class Against:
    """An artifact against the first one, on the same examples."""

    measured: Measured
    difference: Difference
    p_value: float | None
    """McNemar's, where an example is either right or wrong."""


@dataclass(frozen=True)
class Comparison:
    """The first artifact is what the others are compared with."""

    data: str
    split: str
    quality: QualityWords
    sequence_length: int | None
    """None where latency is the mean of the texts, since that of an artifact depends on the text."""
    device: str
    """Where latency was taken."""
    first: Measured
    others: tuple[Against, ...]
    beside: tuple[QualityWords, ...] = ()
    """Of the other qualities that the task names of all artifacts."""

    @property
    def metric(self) -> str:
        """The name of the quality."""
        return self.quality.name

    @property
    def timed(self) -> str:
        """What latency is that of."""
        return "as the mean of texts" if self.sequence_length is None else f"at {self.sequence_length} tokens"

    @property
    def all(self) -> tuple[Measured, ...]:
        return (self.first, *(each.measured for each in self.others))

    def to_json(self) -> dict[str, Any]:
        def numbers(each: Measured) -> dict[str, Any]:
            return {
                "artifact": each.name,
                SIZE: each.size_mb,
                LATENCY: each.latency_ms,
                LATENCY_RATIO: each.latency_ratio,
                QUALITY: each.quality,
                **each.beside,
            }

        return {
            **{name: getattr(self, name) for name in ("data", "split", "metric", "sequence_length", "device")},
            "examples": len(self.first.correct),
            "first": numbers(self.first),
            "others": [
                {**numbers(each.measured), "difference": vars(each.difference), "p_value": each.p_value}
                for each in self.others
            ],
        }


def against(first: Measured, other: Measured, difference: Difference | None = None) -> Against:
    """The difference in quality with its interval, and McNemar's p-value where it applies.

    `difference` is that of a quality that is no mean over the examples.
    """
    if difference is not None:
        return Against(other, difference, None)
    whole = all(set(np.unique(each.correct)) <= {0, 1} for each in (first, other))
    p_value = mcnemar(other.correct.astype(bool), first.correct.astype(bool)) if whole else None
    return Against(other, paired_difference(other.correct, first.correct), p_value)


def verdict(each: Against) -> str:
    """What can be said of the difference, in words."""
    said = {"gain": "better", "loss": "worse", "no gain": "no difference"}
    return said[each.difference.verdict]


def differences(found: Comparison) -> go.Figure:
    """Each artifact's quality less the first one's, with its 95 % interval."""
    points, scale = "points of " if found.quality.is_share else "", found.quality.scale
    figure = layout(f"{points}{found.metric} more or less than {found.first.name}", "")
    figure.add_vline(x=0, line={"color": GREY, "width": 1, "dash": "dot"})
    colours = {"gain": BLUE, "loss": ORANGE, "no gain": GREY}
    figure.add_trace(
        go.Scatter(
            x=[scale * each.difference.mean for each in found.others],
            y=[escape(each.measured.name) for each in found.others],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [scale * (each.difference.high - each.difference.mean) for each in found.others],
                "arrayminus": [scale * (each.difference.mean - each.difference.low) for each in found.others],
                "color": GREY,
            },
            mode="markers",
            marker={"size": 12, "color": [colours[each.difference.verdict] for each in found.others]},
            customdata=[found.quality.signed(each.difference.mean) for each in found.others],
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    )
    return rows(figure, len(found.others))


def qualities(found: Comparison) -> go.Figure:
    """Quality against bytes, each artifact by its name."""
    figure = layout("size of the artifact, MB", found.quality.axis())
    figure.add_trace(
        go.Scatter(
            x=[each.size_mb for each in found.all],
            y=[found.quality.scale * each.quality for each in found.all],
            text=[escape(each.name) for each in found.all],
            customdata=[each.latency_ms for each in found.all],
            mode="markers+text",
            textposition="top center",
            marker={"size": 12, "color": [ORANGE, *[BLUE] * len(found.others)]},
            hovertemplate="%{text}: %{x:.3f} MB, %{customdata:.2f} ms, %{y:.4g}<extra></extra>",
            cliponaxis=False,
        )
    )
    figure.update_xaxes(rangemode="tozero")
    return figure.update_layout(showlegend=False)


def lines(found: Comparison) -> list[list[str]]:
    """A row for each artifact: name, size, latency, quality, difference, interval, verdict."""
    words = found.quality
    made = [[*_numbers(found.first, words), "", "", ""]]
    for each in found.others:
        apart = each.difference
        interval = f"{words.signed(apart.low)} to {words.signed(apart.high)}"
        p_value = "" if each.p_value is None else f", p {each.p_value:.2g}"
        made.append([*_numbers(each.measured, words), words.signed(apart.mean), interval, verdict(each) + p_value])
    return made


def beside(found: Comparison) -> str:
    """What the task names beside its quality of all artifacts, in a sentence; empty where there is nothing."""
    said = {
        words.name: [f"{each.name} {words.text(each.beside[words.name], 2)}" for each in found.all]
        for words in found.beside
    }
    sentences = [f"{name.replace('_', ' ')}: {', '.join(values)}. " for name, values in said.items()]
    return "".join(each[:1].upper() + each[1:] for each in sentences)


def heads(found: Comparison) -> tuple[str, ...]:
    apart = "points" if found.quality.is_share else "difference"
    return "artifact", "MB", "ms", "quality", apart, "95 % interval", ""


def comparison_page(found: Comparison) -> str:
    """The comparison as one HTML file."""
    tested = any(each.p_value is not None for each in found.others)
    how = "a paired bootstrap, and McNemar's exact test" if tested else "a paired bootstrap"
    note = (
        f"{len(found.first.correct):,} texts, the {found.split} split of {found.data}; {found.metric}; latency of one "
        f"text {found.timed} on {found.device}, and in brackets its share of the first one's, "
        f"both taken in turns. {beside(found)}Differences are to "
        f"{found.first.name}, on the same texts: {how}."
    )
    body = [f"<h1>{len(found.all)} artifacts on the same data</h1>", f'<p class="soft">{escape(note)}</p>']
    body += [table(heads(found), lines(found)), "<h2>Is one better?</h2>", drawn(differences(found))]
    body += ["<h2>Quality against bytes</h2>", drawn(qualities(found))]
    return document("Comparison", "\n".join(body))


def _numbers(each: Measured, words: QualityWords) -> Sequence[str]:
    ratio = "" if each.latency_ratio is None else f" ({each.latency_ratio:.0%})"
    return each.name, f"{each.size_mb:.3f}", f"{each.latency_ms:.2f}{ratio}", words.text(each.quality, 2)
