"""Which of several teachers has the better students: one model, or the members of `teach --members`?

    python studies/teachers/students.py --data DATA --recipe RECIPE --teacher one=TEACHER --teacher three=MEMBERS

The same recipe is built from each teacher with every seed, and scored on the validation split. The gain is over the
students of the first teacher, example by example and seed by seed, and its interval a bootstrap over both. What was
built before is not built again, so the same command goes on. Results are written to `--output` as they come.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from eicompress.api.opening import recipe_of
from eicompress.cache import write_whole
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.study.with_seeds import WithSeeds, scored_with_seeds
from eicompress.trials.builder import open_builder
from eicompress.values import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--teacher", metavar="NAME=FOLDER", action="append", required=True, dest="teachers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("students"))
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    print(
        "| teacher | its quality | students, each seed | MB | gain, points | 95 % interval | |\n|---" + "|---" * 6 + "|"
    )
    rows: list[dict[str, Any]] = []
    first: WithSeeds | None = None
    for each in asked.teachers:
        name, _, folder = each.partition("=")
        row, own = students(asked, name, folder)
        first = first or own
        gain = own.gain_over(first)
        rows.append({**row, "gain": gain.mean, "interval": [gain.low, gain.high], "verdict": gain.verdict})
        write_whole(asked.output / f"{asked.recipe.stem}.json", json.dumps(rows, indent=1).encode())
        print("\r" + line(rows[-1], is_first=len(rows) == 1), flush=True)


def students(asked: argparse.Namespace, name: str, teacher: str) -> tuple[dict[str, Any], WithSeeds]:
    """What is known of this teacher's students, and they themselves."""
    spec = read({"model": teacher, "data": asked.data})
    builder = open_builder(spec, discover(), folder=asked.output / "files", progress=lambda _: None)
    examples, task = builder.examples["validation"], builder.task

    def watch(seed: int, each: Progress) -> None:
        print(f"\r{name}, seed {seed}: {each.phase} {each.step}/{each.steps}", end="", file=sys.stderr, flush=True)

    own = scored_with_seeds(builder, recipe_of(asked.recipe, builder.registry), range(asked.seeds), watch)
    found = {
        "teacher": name,
        "rows": {split: len(builder.examples[split]) for split in ("train", "validation")},
        "teacher_quality": task.score(builder.teacher.outputs(examples.texts).logits, examples.targets),
        "qualities": own.qualities,
        "size_mb": [record.value("size_mb") for record in own.records],
    }
    return found, own


def line(row: dict[str, Any], *, is_first: bool) -> str:
    low, high = row["interval"]
    gain = [f"{100 * row['gain']:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}", row["verdict"]]
    cells = [row["teacher"], f"{row['teacher_quality']:.2%}", ", ".join(f"{each:.2%}" for each in row["qualities"])]
    cells += [f"{np.mean(row['size_mb']):.3f}", *([""] * 3 if is_first else gain)]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
