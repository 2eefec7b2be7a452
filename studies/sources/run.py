"""The source systems side by side: a search in the space of each, its best recipe with several seeds, and the page.

    python studies/sources/run.py --model TEACHER --data clinc150 --output results/sources
    python studies/sources/run.py --model TEACHER --data clinc150 --output results/sources --systems albert
    python studies/sources/run.py                       # the page alone, from the records

A record is written for each system and budget, as `studies/quality` writes them: the search takes `--timeout`, and its
best recipe is trained as long with the seeds that are missing afterwards. What a record has is not run again, and a
search that was stopped goes on. Each has a cache of its own, so that each pays for the teacher's answers. After each
record `docs/sources.md` is written; a system without one is "not run". Where no candidate fits, the record says so:
remove it to search again.
"""

import argparse
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from eicompress.errors import BudgetError
from eicompress.metrics.significance import paired_difference
from eicompress.study.space_file import known_spaces

STUDIES = Path(__file__).parents[1]
PAGE = STUDIES.parent / "docs" / "sources.md"
RECORDS = Path(__file__).with_name("records")
SIZES = ("1.91MB", "1.0MB")
NOT_RUN = "not run"
"""What stands in place of records."""

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class System:
    """A published system: its name, its paper, the search space with its method, what it claims."""

    name: str
    arxiv: str
    space: str
    claims: str


SYSTEMS = (
    System("EI-BERT", "2507.04636", "ei-bert", "a model of 1.91 MB, 99.5 % smaller than BERT-base, on Chinese tasks"),
    System("ALBERT", "1909.11942", "albert", "base: 12 million parameters where BERT-base has 108 million"),
    System(
        "MobileBERT",
        "2004.02984",
        "mobilebert",
        "4.3 times smaller and 5.5 times faster than BERT-base, 0.6 points of GLUE behind it",
    ),
    System("oBERTa", "2303.17612", "oberta", "3.8 to 24.3 times faster, on a runtime for sparse weights"),
    System(
        "AutoDistill",
        "2201.08539",
        "autodistill",
        "81.69 on GLUE with 28.5 million parameters; up to 1.44 times faster than MobileBERT on a TPU",
    ),
    System(
        "EfficientBERT",
        "2109.07222",
        "efficientbert",
        "6.9 times smaller and 4.4 times faster than BERT-base; GLUE 77.7",
    ),
    System(
        "RefBERT",
        "2106.08898",
        "refbert",
        "94 % of BERT-base on GLUE, 7.4 times smaller and 9.5 times faster, without counting what it looks up",
    ),
    System(
        "ConvBERT",
        "2008.02496",
        "convbert",
        "base: GLUE 86.4, 0.7 over ELECTRA-base with a quarter of its training cost",
    ),
    System("DeeBERT", "2004.12993", "deebert", "up to 40 % less inference time with minimal loss"),
    System("DynaBERT", "2004.04037", "supernet", "one training for 12 sizes; 82.7 on GLUE (development) at 60 million"),
)
"""DynaBERT's own space, `dynabert`, has the whole model: below 2 MB its method begins with a thin student."""
DEFAULT = System("eicompress's default", "", "edge", "")
"""What users get who name no space, beside the systems."""
SEARCHED = (*SYSTEMS, DEFAULT)


def main() -> None:
    asked = arguments()
    if asked.model:
        for system in (each for each in SEARCHED if each.space in asked.systems):
            for size in asked.sizes:
                run_cell(asked, system, size)
                write_page(asked.records, asked.page)
    write_page(asked.records, asked.page)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    spaces = [each.space for each in SEARCHED if each.space in known_spaces()]
    parser.add_argument("--model", help="the teacher; without it the page alone is written")
    parser.add_argument("--data")
    parser.add_argument("--systems", nargs="+", choices=spaces, default=spaces, help="by their search spaces")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--latency", default=None)
    parser.add_argument("--timeout", default="30m")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where searches and rebuilds are kept")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    if asked.model and not (asked.data and asked.output):
        parser.error("`--model` must have `--data` and `--output` beside it")
    return asked


def run_cell(asked: argparse.Namespace, system: System, size: str) -> None:
    """A record of a system at a budget; where no candidate fits, one that says so."""
    path, quality = asked.records / f"{system.space}-{size}.json", study("quality")
    name = Path(asked.data).name
    # In a common one, a later search would find the teacher's answers, and train for longer in the same time.
    os.environ["EICOMPRESS_CACHE"] = str(asked.output.resolve() / "caches" / path.stem)
    try:
        quality.run_cell(asked, path, name, asked.model, asked.data, size, system.space)
    except BudgetError as error:
        asked_for = {"space": system.space, "data": name, "timeout": asked.timeout}
        nothing = {"set": name, "budget": size, "asked": asked_for, "recipe": [], "seeds": [], "why": str(error)}
        quality.write_cell(nothing, path)


def study(name: str) -> ModuleType:
    """The command of another study."""
    spec = importlib.util.spec_from_file_location(f"{name}_study", STUDIES / name / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_page(records: Path, page: Path) -> None:
    written = study("results").with_tables(page.read_text(encoding="utf-8"), tables(records))
    page.write_text(written, encoding="utf-8")


def tables(records: Path) -> dict[str, list[str]]:
    """The lines of each table of the page."""
    cells = {each: cells_of(records, each) for each in SEARCHED}
    claims = {each: cells[each] for each in SYSTEMS}
    return {"systems": list(measured(cells)), "claims": list(beside_claims(claims))}


def cells_of(records: Path, system: System) -> list[Cell]:
    """The system's records, of the largest budget first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in records.glob(f"{system.space}-*MB.json")]
    return sorted(found, key=lambda each: -float(each["budget"].removesuffix("MB")))


def measured(systems: Mapping[System, Sequence[Cell]]) -> Iterator[str]:
    row = study("results").row
    columns = "system, space, data, budget, MB, ms, test (each seed), of the teacher, points beside the default's"
    yield from study("results").head([*columns.split(", "), "training", "search"])
    defaults = {(each["set"], each["budget"]): each for each in systems[DEFAULT]}
    for system, cells in systems.items():
        space = f"`{system.space}`"
        if not cells:
            yield row(system.name, space, "", "", "", "", NOT_RUN, "", "", "", "")
        for cell in cells:
            default = None if system == DEFAULT else defaults.get((cell["set"], cell["budget"]))
            yield row(system.name, space, cell["set"], cell["budget"], *figures(cell, default))


def figures(cell: Cell, default: Cell | None) -> tuple[str, ...]:
    """Megabytes, milliseconds, accuracy, its share of the teacher's, its difference to that of the default's record,
    seconds of a training and of the search."""
    if not cell["recipe"]:
        return "", "", "no candidate fits", "", "", "", ""
    right = np.array(cell["right"])
    each_seed = ", ".join(f"{each:.1%}" for each in right.mean(axis=1))
    return (
        f"{max(cell['size_mb']):.3f}",
        f"{np.mean(cell['latency_ms']):.2f}",
        f"**{right.mean():.2%}** ({each_seed})",
        f"{right.mean() / np.mean(cell['teacher_right']):.1%}",
        beside(right, default),
        f"{max(cell['training_s']):.0f} s",  # one that was in the cache takes none
        f"{cell['seconds'] / 60:.0f} min",
    )


def beside(right: np.ndarray, default: Cell | None) -> str:
    """The points by which a system is ahead of the default on the same texts, with their 95 % interval."""
    if default is None or not default["recipe"]:
        return ""
    seeds = min(len(right), len(default["right"]))
    points = paired_difference(right[:seeds], np.array(default["right"])[:seeds])
    return f"{100 * points.mean:+.2f} ({100 * points.low:+.2f} to {100 * points.high:+.2f})"


def beside_claims(systems: Mapping[System, Sequence[Cell]]) -> Iterator[str]:
    row = study("results").row
    yield from study("results").head(["system", "the paper claims", "seen here"])
    for system, cells in systems.items():
        seen = "; ".join(map(seen_in, cells)) or NOT_RUN
        yield row(f"{system.name} ([arXiv {system.arxiv}](https://arxiv.org/abs/{system.arxiv}))", system.claims, seen)


def seen_in(cell: Cell) -> str:
    """What a record says in the words of a claim: shares and factors of the teacher."""
    if not cell["recipe"]:
        return f"no candidate within {cell['budget']}"
    share = np.mean(cell["right"]) / np.mean(cell["teacher_right"])
    smaller = cell["teacher_size_mb"] / max(cell["size_mb"])
    faster = 1 / np.mean(cell["latency_ratio"])
    return f"{share:.1%} of the teacher's accuracy, {smaller:.1f} times smaller and {faster:.1f} times faster than it"


if __name__ == "__main__":
    main()
