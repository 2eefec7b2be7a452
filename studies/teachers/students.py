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
from eicompress.contracts import Array
from eicompress.metrics.significance import paired_difference
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.study.kept_answers import stored_logits
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
    first: Array | None = None
    for each in asked.teachers:
        name, _, folder = each.partition("=")
        row, right = students(asked, name, folder)
        gain = paired_difference(right, right if first is None else first)
        first = right if first is None else first
        rows.append({**row, "gain": gain.mean, "interval": [gain.low, gain.high], "verdict": gain.verdict})
        write_whole(asked.output / f"{asked.recipe.stem}.json", json.dumps(rows, indent=1).encode())
        print("\r" + line(rows[-1], is_first=len(rows) == 1), flush=True)


def students(asked: argparse.Namespace, name: str, teacher: str) -> tuple[dict[str, Any], Array]:
    """What is known of this teacher's students, and (seeds, n) which validation examples they have right."""
    spec = read({"model": teacher, "data": asked.data})
    builder = open_builder(spec, discover(), folder=asked.output / "files", progress=lambda _: None)
    recipe = recipe_of(asked.recipe, builder.registry)
    examples, task = builder.examples["validation"], builder.task
    right, sizes = [], []
    for seed in range(asked.seeds):

        def watch(each: Progress, seed: int = seed) -> None:
            print(f"\r{name}, seed {seed}: {each.phase} {each.step}/{each.steps}", end="", file=sys.stderr, flush=True)

        record = builder.scored(recipe, fidelity=1.0, seed=seed, progress=watch)
        logits = stored_logits(Path(record.files["validation_logits"]))
        right.append(task.correct(logits, examples.targets))
        sizes.append(record.value("size_mb"))
    found = {
        "teacher": name,
        "rows": {split: len(builder.examples[split]) for split in ("train", "validation")},
        "teacher_quality": task.score(builder.teacher.outputs(examples.texts).logits, examples.targets),
        "qualities": [float(each.mean()) for each in right],
        "size_mb": sizes,
    }
    return found, np.stack(right)


def line(row: dict[str, Any], *, is_first: bool) -> str:
    low, high = row["interval"]
    gain = [f"{100 * row['gain']:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}", row["verdict"]]
    cells = [row["teacher"], f"{row['teacher_quality']:.2%}", ", ".join(f"{each:.2%}" for each in row["qualities"])]
    cells += [f"{np.mean(row['size_mb']):.3f}", *([""] * 3 if is_first else gain)]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
