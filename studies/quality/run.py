"""The best candidates of searches on several data sets and budgets, beside their teachers and simple methods.

    python studies/quality/run.py --set hwu64=TEACHER,DATA --set snips=TEACHER,DATA --output results/quality

One cell is one set at one budget: a search of `--timeout`, and its best candidate, also where a simple method is handed
out in its place, which the last column shows. Where the search had no time to rebuild it with `--seeds` seeds, the same
recipe is trained as long with the others afterwards. The test split is read once for each seed. A seed of a cell in the
output is not run again, and a search that was stopped goes on.
`studies/results/run.py` makes the tables of it.
"""

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import eicompress
from eicompress.cache import write_whole
from eicompress.errors import BudgetError
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.study.kept_answers import stored_logits
from eicompress.study.result import Result
from eicompress.trials.builder import open_builder
from eicompress.trials.task_data import read_data
from eicompress.values import SHARED, Record

SIZES = ("1.91MB", "1.0MB", "0.5MB", "0.25MB")
MEASURED = {name: name for name in ("size_mb", "latency_ms", "latency_ratio")} | {"validation": "quality"}
"""What a record says of each seed, and the metrics that it is; the ratio is to the teacher, timed in turns with it."""


def main() -> None:
    asked = arguments()
    for name, (model, data) in asked.sets.items():
        for size in asked.sizes:
            run_cell(asked, asked.output / f"{name}-{size}.json", name, model, data, size)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", metavar="NAME=TEACHER,DATA", action="append", default=[], type=named_set)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--latency", default=None)
    parser.add_argument("--timeout", default="40m")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    asked.sets = dict(asked.set)
    return asked


def named_set(text: str) -> tuple[str, tuple[str, str]]:
    name, _, rest = text.partition("=")
    model, _, data = rest.partition(",")
    if not (name and model and data):
        raise argparse.ArgumentTypeError(f"must be NAME=TEACHER,DATA, but got `{text}`")
    return name, (model, data)


def run_cell(
    asked: argparse.Namespace, path: Path, name: str, model: str, data: str, size: str, space: str = "edge"
) -> None:
    """Search at one budget, and train the best recipe with the seeds that are missing; `path` is the cell's record."""
    if path.is_file():
        cell = json.loads(path.read_text())
    else:
        words = {"model": model, "data": data, "budget": size, "latency": asked.latency, "timeout": asked.timeout}
        words |= {"space": space, "promotion_seeds": asked.seeds, "seed": asked.seed}
        print(f"{name} at {size}: searching for {asked.timeout}", file=sys.stderr, flush=True)
        result = eicompress.search(**words, study=path.stem, studies=asked.output / "studies")
        named = {**words, "model": Path(model).name, "data": Path(data).name}
        cell = {"set": name, "budget": size, "asked": named, **found(result, model, data)}
        write_cell(cell, path)
    for seed in range(asked.seed, asked.seed + asked.seeds):
        if seed not in cell["seeds"] and cell["recipe"]:
            print(f"{name} at {size}: seed {seed}", file=sys.stderr, flush=True)
            add_seed(asked, cell, model, data, seed)
            write_cell(cell, path)


def write_cell(cell: Mapping[str, Any], path: Path) -> None:
    write_whole(path, json.dumps(cell, separators=(",", ":")).encode() + b"\n")


def add_seed(asked: argparse.Namespace, cell: dict[str, Any], model: str, data: str, seed: int) -> None:
    """Train the cell's recipe once more, as long as at first."""
    registry, spec = discover(), read({"model": model, "data": data})
    recipe = Recipe.from_json(cell["recipe"], registry.strategies)
    task_data = read_data(registry, spec)
    test = task_data.examples["test"]
    builder = open_builder(spec, registry, folder=asked.output / "rebuilds", progress=lambda _: None)
    record = builder.timed(builder.build(recipe, fidelity=cell["fidelity"][0], seed=seed, progress=lambda _: None))
    right = task_data.task.correct(eicompress.load(record.files["artifact"]).logits(test.texts), test.targets)
    known = {name: record.value(metric) for name, metric in MEASURED.items()}
    known["training_s"] = training_seconds(record)
    for name, value in {**known, "fidelity": record.fidelity, "seeds": seed, "right": whole(right)}.items():
        cell[name].append(value)


def found(result: Result, model: str, data: str) -> dict[str, Any]:
    """The best candidate, with its other seeds, and its teacher, example by example on the test split."""
    task_data = read_data(discover(), read({"model": model, "data": data}))
    test = task_data.examples["test"]
    if result.best_candidate is None or result.baseline is None:
        raise BudgetError(f"no candidate of `{result.folder}` is within the budgets: give it more time, or more bytes")
    number, best = result.best_candidate
    same = result.rebuilds.get(number, ())
    # A trial that its rebuild fell behind is handed out as it was.
    rebuilds = same if best in same else (best,)

    def right(record: Record) -> list[float]:
        return whole(task_data.task.correct(stored_logits(Path(record.files["test_logits"])), test.targets))

    teacher = eicompress.load(result.baseline.files["artifact"]).logits(test.texts)
    return {
        "trial": number,
        "recipe": best.recipe,
        "seconds": result.seconds,
        "fidelity": [each.fidelity for each in rebuilds],
        "seeds": [each.seed for each in rebuilds],
        **{name: [each.value(metric) for each in rebuilds] for name, metric in MEASURED.items()},
        "training_s": [training_seconds(each) for each in rebuilds],
        "teacher_validation": result.baseline.value("quality"),
        "teacher_size_mb": result.baseline.value("size_mb"),
        "simple": {name: simple_json(each) for name, each in result.simple.items()},
        "right": [right(each) for each in rebuilds],
        "teacher_right": whole(task_data.task.correct(teacher, test.targets)),
        "machine": platform.processor() or platform.machine(),
        "versions": {each: version(each) for each in ("eicompress", "torch", "onnxruntime", "optuna")},
        "date": date.today().isoformat(),
    }


def training_seconds(record: Record) -> float:
    """Of the artifact's last training, with the teacher's answers that it asked for and a training that it shares."""
    return sum(record.seconds_by_phase.get(phase, 0.0) for phase in ("applying", "training", "teacher", SHARED))


def whole(values: np.ndarray) -> list[float]:
    """Numbers as short as they are: right or wrong is 1 or 0."""
    return [int(each) if each == int(each) else float(each) for each in values]


def simple_json(record: Record) -> dict[str, float | None]:
    return {name: record.value(name) for name in ("quality", "size_mb", "latency_ms")}


if __name__ == "__main__":
    main()
