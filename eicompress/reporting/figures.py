"""All figures of a report, by a name for a file."""

import plotly.graph_objects as go

from eicompress.reporting.artifact_figures import (
    bytes_of_best,
    confusions,
    exits,
    mistakes,
    operators,
    treemap,
    waterfall,
)
from eicompress.reporting.data import Numbers, axes
from eicompress.reporting.search_figures import best_over_time, called, importance, quality_against, rebuilds
from eicompress.study.agreement import ENOUGH_PAIRS


def drawn(numbers: Numbers) -> dict[str, go.Figure]:
    """Every figure that the numbers allow, by a name for a file."""
    found = {}
    if numbers.points:
        for axis in axes(numbers.result.objective):
            found[f"quality-against-{called(axis)}"] = quality_against(numbers, axis)
    for name, draw, there in (
        ("where-the-bytes-go", bytes_of_best, any(each.after for each in numbers.shares)),
        ("what-each-step-took", waterfall, bool(numbers.falls)),
        ("every-byte", treemap, bool(numbers.tensors)),
        ("where-the-milliseconds-go", operators, bool(numbers.operators)),
        ("quality-against-exits", exits, bool(numbers.exits)),
        ("best-over-time", best_over_time, any(each.best is not None for each in numbers.steps)),
        ("which-knobs-mattered", importance, bool(numbers.importance)),
        ("short-against-full-training", rebuilds, len(numbers.rebuilds) >= ENOUGH_PAIRS),
    ):
        if there:
            found[name] = draw(numbers)
    if numbers.mistakes:
        found |= {each.name: mistakes(each) for each in numbers.mistakes.charts}
        if numbers.mistakes.matrix:
            found["confusion-matrix"] = confusions(numbers)
    return found
