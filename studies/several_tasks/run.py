"""What does one encoder for several tasks cost in quality, against a model for each task of the same bytes in all?

    python studies/several_tasks/run.py --budget 1.91MB --timeout 60m --seeds 3 --output prices \\
      --set clinc150=clinc150-teacher,clinc150 --set qnli=qnli-teacher,qnli

Each seed is a search on all tasks at the whole budget, and one on each task at its share of bytes and time, all from
the same teachers: folders as `eicompress teach` writes them, or of `transformers`. The qualities of the best artifacts
are compared with those of the teachers, on validation and on the test split, which each search reads once. A search
that was interrupted goes on.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import eicompress
from eicompress.cache import write_whole
from eicompress.parsing import seconds, size_mb
from eicompress.study.quality_words import quality_name
from eicompress.study.result import Result
from eicompress.values import Record

SPLITS = {"validation": "", "test": "_test"}
"""How the names of qualities end on each split."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", dest="sets", action="append", required=True, help="NAME=TEACHER,DATA", type=named)
    parser.add_argument("--model", default="builtin:minilm", help="what the encoder of all tasks is trained from")
    parser.add_argument("--budget", default="1.91MB", help="of all tasks together")
    parser.add_argument("--timeout", default="60m", help="for all tasks together")
    parser.add_argument("--space", default="edge")
    parser.add_argument("--rows", type=int, help="of train and of validation of each task")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    rows = [row for seed in range(asked.seeds) for row in prices(asked, dict(asked.sets), seed)]
    write_whole(asked.output / "prices.json", json.dumps(rows, indent=1).encode() + b"\n")
    print(table(rows))


def named(text: str) -> tuple[str, tuple[str, str]]:
    name, _, rest = text.partition("=")
    teacher, _, data = rest.partition(",")
    if not (name and teacher and data):
        raise argparse.ArgumentTypeError(f"must be NAME=TEACHER,DATA, but got `{text}`")
    return name, (teacher, data)


def prices(asked: argparse.Namespace, sets: Mapping[str, tuple[str, str]], seed: int) -> list[dict[str, Any]]:
    """A row for each task and split: the quality of the teacher, together and alone, and the bytes."""
    together = best(
        searched(
            asked,
            f"together-{seed}",
            1,
            seed,
            model=asked.model,
            data=[f"{name}={data}" for name, (_, data) in sets.items()],
            teacher=[f"{name}={teacher}" for name, (teacher, _) in sets.items()],
        )
    )
    found = []
    for name, (teacher, data) in sets.items():
        result = searched(asked, f"{name}-{seed}", len(sets), seed, model=teacher, data=data)
        alone = best(result)
        assert result.baseline is not None
        of_teacher = {"validation": result.baseline.value("quality"), "test": alone.facts["baseline"]["quality_test"]}
        for split, end in SPLITS.items():
            qualities = {
                "teacher": of_teacher[split],
                "together": together.value(f"{name}_{quality_name(result.baseline)}{end}"),
                "alone": alone.value(f"quality{end}"),
            }
            sizes = {"together_mb": together.value("size_mb"), "alone_mb": alone.value("size_mb")}
            found.append({"task": name, "split": split, "seed": seed, **qualities, **sizes})
    return found


def searched(asked: argparse.Namespace, study: str, parts: int, seed: int, **inputs: Any) -> Result:
    """A search with one of `parts` equal shares of bytes and time."""
    budget, timeout = size_mb(asked.budget) / parts, seconds(asked.timeout) / parts
    if asked.rows is not None:
        inputs["rows"] = asked.rows
    return eicompress.search(
        **inputs,
        space=asked.space,
        budget=f"{budget:.6f}MB",
        timeout=f"{timeout:.0f}s",
        promotion_seeds=1,
        study=study,
        studies=asked.output / "studies",
        seed=seed,
    )


def best(result: Result) -> Record:
    if result.best_candidate is None:
        raise SystemExit(f"no candidate of `{result.folder}` is within the budget: give it more time, or more bytes")
    return result.best_candidate[1]


def table(rows: list[dict[str, Any]]) -> str:
    """Mean shares of the teachers over the tasks, seed by seed, in Markdown."""
    lines = ["| split | seed | together | alone | price, points |", "|---|---|---|---|---|"]
    for split in SPLITS:
        apart = []
        for seed in sorted({row["seed"] for row in rows}):
            of_seed = [row for row in rows if (row["split"], row["seed"]) == (split, seed)]
            together, alone = (
                statistics.fmean(row[how] / row["teacher"] for row in of_seed) for how in ("together", "alone")
            )
            apart.append(100 * (alone - together))
            lines.append(f"| {split} | {seed} | {together:.2%} | {alone:.2%} | {apart[-1]:+.2f} |")
        lines.append(f"| {split} | mean | | | {statistics.fmean(apart):+.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
