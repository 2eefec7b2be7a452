"""One picture of the records of `run.py` and `others.py`: test quality against bytes, a panel a set.

    python studies/quality/picture.py --records results/quality --sets hwu64 clinc30 qnli --output docs/quality.svg

An SVG that follows the reader's light or dark theme. Whatever lacks a record is left out.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from eicompress.cache import write_whole

PANEL, GAP, TOP, PLOT, BOTTOM, LEFT = 270, 26, 58, 200, 44, 44
"""Pixels: a panel's width and what lies between two; heights above the plots, of them, and below; room for ticks."""
MEGABYTES = (0.1, 1.0, 10.0, 100.0)
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.quiet { fill: #59636e }
.grid { stroke: #d1d9e0 } .teacher { stroke: #59636e; stroke-dasharray: 4 3 }
.ours { stroke: #0969da; fill: #0969da } .line { fill: none; stroke-width: 2 }
.tfidf { fill: #bc4c00 } .static { fill: #1a7f37 } .eight { fill: #59636e }
@media (prefers-color-scheme: dark) {
 text { fill: #f0f6fc } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .teacher { stroke: #9198a1 }
 .ours { stroke: #4493f8; fill: #4493f8 } .tfidf { fill: #f0883e } .static { fill: #3fb950 } .eight { fill: #9198a1 }
}
"""
KINDS = {"ours": "eicompress", "tfidf": "tf-idf", "static": "model2vec", "eight": "the teacher in 8 bits"}


@dataclass(frozen=True)
class Point:
    kind: str
    size_mb: float
    quality: float


@dataclass(frozen=True)
class Panel:
    """What is known of one set."""

    name: str
    teacher: float
    points: tuple[Point, ...]

    @property
    def least(self) -> float:
        """Where its axis begins: a tenth of a share under the lowest point."""
        lowest = min(each.quality for each in self.points)
        return max(0.0, math.floor(20 * lowest - 0.4) / 20)

    @property
    def most(self) -> float:
        return min(1.0, math.ceil(20 * max(self.teacher, *(each.quality for each in self.points)) + 0.2) / 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    panels = [panel(asked.records, name) for name in asked.sets]
    write_whole(asked.output, picture(panels).encode())


def panel(records: Path, name: str) -> Panel:
    cells = [json.loads(path.read_text()) for path in sorted(records.glob(f"{name}-*MB.json"))]
    if not cells:
        raise SystemExit(
            f"`{records}` must have a record of the set `{name}`, but has none: run studies/quality/run.py"
        )
    ours = (Point("ours", max(cell["size_mb"]), float(np.mean(cell["right"]))) for cell in cells)
    path = records / f"others-{name}.json"
    others = json.loads(path.read_text())["points"] if path.is_file() else []
    known = (Point(kind_of(each["name"]), each["size_mb"], each["quality"]) for each in others)
    points = sorted([*ours, *known], key=lambda each: each.size_mb)
    return Panel(name, float(np.mean(cells[0]["teacher_right"])), tuple(points))


def kind_of(name: str) -> str:
    return "tfidf" if name.startswith("tf-idf") else "static" if name.startswith("model2vec") else "eight"


def picture(panels: Sequence[Panel]) -> str:
    width = len(panels) * (PANEL + GAP)
    height = TOP + PLOT + BOTTOM
    summary = "; ".join(f"{each.name}: {in_words(each)}" for each in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>Test quality against bytes on disk. {escape(summary)}.</title>",
        f"<style>{STYLE}</style>",
        *legend(),
        *(line for place, each in enumerate(panels) for line in drawn(each, place * (PANEL + GAP))),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def in_words(each: Panel) -> str:
    ours = ", ".join(f"{point.quality:.1%} in {point.size_mb:.2f} MB" for point in each.points if point.kind == "ours")
    return f"{ours} (teacher {each.teacher:.1%})"


def legend() -> Iterator[str]:
    left = LEFT
    for kind, name in KINDS.items():
        yield marker(Point(kind, 0.0, 0.0), left, 14)
        yield f'<text x="{left + 10}" y="18">{name}</text>'
        left += 34 + 7 * len(name)
    yield f'<line class="teacher" x1="{left}" x2="{left + 22}" y1="14" y2="14"/>'
    yield f'<text x="{left + 28}" y="18">the teacher, 91 MB</text>'


def drawn(each: Panel, left: float) -> Iterator[str]:
    def x(size_mb: float) -> float:
        low, high = math.log10(MEGABYTES[0]), math.log10(MEGABYTES[-1])
        return left + LEFT + (PANEL - LEFT) * (math.log10(size_mb) - low) / (high - low)

    def y(quality: float) -> float:
        return TOP + PLOT * (each.most - quality) / (each.most - each.least)

    yield f'<text class="title" x="{left + LEFT}" y="{TOP - 12}">{escape(each.name)}</text>'
    steps = round(20 * (each.most - each.least))
    for tick in range(0, steps + 1, 1 if steps < 6 else 2):
        quality = each.least + tick / 20
        yield f'<line class="grid" x1="{left + LEFT}" x2="{left + PANEL}" y1="{y(quality):.1f}" y2="{y(quality):.1f}"/>'
        yield (
            f'<text class="quiet" text-anchor="end" x="{left + LEFT - 6}" y="{y(quality) + 4:.1f}">{quality:.0%}</text>'
        )
    for size in MEGABYTES:
        yield (
            f'<text class="quiet" text-anchor="middle" x="{x(size):.1f}" y="{TOP + PLOT + 18}">{size:g}'
            f"{' MB' if size == 1 else ''}</text>"
        )
    teacher = f"{y(each.teacher):.1f}"
    yield f'<line class="teacher" x1="{left + LEFT}" x2="{left + PANEL}" y1="{teacher}" y2="{teacher}"/>'
    ours = [f"{x(point.size_mb):.1f},{y(point.quality):.1f}" for point in each.points if point.kind == "ours"]
    yield f'<polyline class="ours line" points="{" ".join(ours)}"/>'
    for point in each.points:
        yield marker(point, x(point.size_mb), y(point.quality))


def marker(point: Point, x: float, y: float) -> str:
    """A shape of its own for each kind, so that no reader needs the colours."""
    shapes = {
        "ours": f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
        "tfidf": f'<rect class="tfidf" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
        "static": f'<path class="static" d="M{x:.1f} {y - 5:.1f}l5 9h-10z"/>',
        "eight": f'<path class="eight" d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z"/>',
    }
    return shapes[point.kind]


if __name__ == "__main__":
    main()
