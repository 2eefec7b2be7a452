"""Write the tables of docs/results.md from the records of `studies/quality` and the list of readings of test splits.

    python studies/results/run.py

A table stands between `<!-- NAME -->` and `<!-- end of NAME -->`. `searches` has the mean over seeds, its share of the
teacher's quality with a 95 % interval (a bootstrap over examples and seeds, paired with the teacher) and the best
simple method within the budget, `others` what others reach on the same test splits. `readings` has each reading of a
test split: those of the records, and those of `readings.json`, to which every search of other data is added by hand.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eicompress.metrics.significance import CONFIDENCE, DRAWS

STUDIES = Path(__file__).parents[1]
PAGE = STUDIES.parent / "docs" / "results.md"
RECORDS = STUDIES / "quality" / "records"
READINGS = Path(__file__).with_name("readings.json")

Cell = Mapping[str, Any]


def main() -> None:
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")


def with_tables(page: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The page with the lines of each table between its markers."""
    for name, lines in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if not (begin in page and end in page):
            raise SystemExit(f"the page must have the markers {begin.strip()} and {end}, but has not")
        before, _, rest = page.partition(begin)
        page = before + "\n".join([begin, *lines, "", end]) + rest.partition(end)[2]
    return page


def tables() -> dict[str, list[str]]:
    cells = [json.loads(path.read_text()) for path in RECORDS.glob("*-*MB.json")]
    cells.sort(key=lambda each: (each["set"], -megabytes(each)))
    others = [json.loads(path.read_text()) for path in sorted(RECORDS.glob("others-*.json"))]
    return {
        "searches": list(searches(cells)),
        "others": list(beside(others)),
        "readings": list(readings(cells, others, json.loads(READINGS.read_text(encoding="utf-8")))),
    }


def searches(cells: Sequence[Cell]) -> Iterator[str]:
    columns = "set, budget, MB, training, validation, test (each seed), of the teacher, teacher, best simple method"
    yield from head(columns.split(", "))
    for cell in cells:
        right, teacher = np.array(cell["right"]), np.array(cell["teacher_right"])
        low, high = share_interval(right, teacher)
        means = ", ".join(f"{each:.1%}" for each in right.mean(axis=1))
        yield row(
            cell["set"],
            cell["budget"],
            f"{max(cell['size_mb']):.3f}",
            f"{cell['fidelity'][0]:.0%}",
            f"{np.mean(cell['validation']):.2%}",
            f"**{right.mean():.2%}** ({means})",
            f"{right.mean() / teacher.mean():.1%} ({low:.1%} to {high:.1%})",
            f"{teacher.mean():.2%}",
            simple(cell),
        )


def beside(others: Sequence[Cell]) -> Iterator[str]:
    yield from head(["set", "method", "MB", "test"])
    for other in others:
        for each in other["points"]:
            yield row(other["set"], each["name"], f"{each['size_mb']:.3f}", f"{each['quality']:.2%}")


def readings(cells: Sequence[Cell], others: Sequence[Cell], listed: Sequence[Cell]) -> Iterator[str]:
    found = [(each["date"], each["data"], each["what"], each["test"]) for each in listed]
    dates = {cell["set"]: cell["date"] for cell in cells}
    for cell in cells:
        seeds = ", ".join(map(str, cell["seeds"]))
        tests = ", ".join(f"{each:.2%}" for each in np.array(cell["right"]).mean(axis=1))
        what = f"search at {cell['budget']}, its best candidate with seed {seeds}"
        found.append((cell["date"], cell["set"], what, tests))
    for name in sorted(dates):
        taught = {f"{np.mean(cell['teacher_right']):.2%}": None for cell in cells if cell["set"] == name}
        found.append(
            (dates[name], name, f"{'teachers' if len(taught) > 1 else 'teacher'} of these searches", ", ".join(taught))
        )
    for other in others:
        what = ", ".join(each["name"] for each in other["points"])
        tests = ", ".join(f"{each['quality']:.2%}" for each in other["points"])
        found.append((dates[other["set"]], other["set"], what, tests))
    yield from head(["date", "data", "what", "test"])
    yield from (row(*each) for each in sorted(found, key=lambda each: each[0]))


def share_interval(right: np.ndarray, teacher: np.ndarray) -> tuple[float, float]:
    """Of the mean of (seeds, n) as a share of that of (n,): examples and seeds are drawn with replacement."""
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(DRAWS):
        examples = generator.integers(len(teacher), size=len(teacher))
        seeds = generator.integers(len(right), size=len(right))
        shares.append(right[seeds][:, examples].mean() / teacher[examples].mean())
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(shares, [tail, 1 - tail])
    return float(low), float(high)


def simple(cell: Cell) -> str:
    """The best simple method that fits into the budget, on validation."""
    fits = {
        name: each
        for name, each in cell["simple"].items()
        if each["size_mb"] is not None and each["size_mb"] <= megabytes(cell)
    }
    name = max(fits, key=lambda each: fits[each]["quality"], default="")
    return f"{name}, {fits[name]['quality']:.2%} on validation" if name else "none fits"


def megabytes(cell: Cell) -> float:
    return float(cell["budget"].removesuffix("MB"))


def head(columns: Sequence[str]) -> Iterator[str]:
    yield row(*columns)
    yield "|---" * len(columns) + "|"


def row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


if __name__ == "__main__":
    main()
