"""Early exits against the same model without them, by wall clock over the texts of the test split, in turns.

    python studies/early_exit/run.py --model FOLDER --data FOLDER --output FOLDER [--recipe FILE]

The steps of the recipe come first, then `early_exit`. The last lines are a curve: the quality and the mean milliseconds
of the same file at other thresholds. Artifacts that lie under `--output` are not built again.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import eicompress
from eicompress import runtime
from eicompress.api.opening import recipe_of
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.runtime import EXIT_THRESHOLD, LAYERS
from eicompress.spec import read
from eicompress.strategies.early_exit import EarlyExit
from eicompress.trials.evaluation import rows_for

CURVE = (0.3, 0.5, 0.7, 0.9, 0.99, 1.0)
"""Thresholds."""


def build(given: argparse.Namespace) -> dict[str, runtime.Model]:
    """The artifact without early exits, and with them."""
    before = recipe_of(given.recipe, discover()) if given.recipe else Recipe(())
    step = EarlyExit(criterion=given.criterion, loss=given.loss)
    made = {}
    for name, recipe in (("plain", before), (f"exits-{given.criterion}", Recipe((*before.steps, step)))):
        folder = Path(given.output) / name
        if not folder.is_dir():
            record = eicompress.compress(
                model=given.model, data=given.data, recipe=recipe, output=folder, seed=given.seed
            )
            print(name, record.facts.get(EarlyExit.name, {}), flush=True)
        made[name] = runtime.load(folder)
    return made


def timed(model: runtime.Model, feed: Mapping[str, Any], more: Mapping[str, Any]) -> tuple[np.ndarray, int, float]:
    """Logits (outputs,), layers that were run, or 0 where the file does not say, and milliseconds."""
    wanted = ["logits"] if model.exits is None else ["logits", LAYERS]
    start = time.perf_counter()
    logits, *layers = model.session.run(wanted, {**feed, **more})
    return logits[0], int(layers[0]) if layers else 0, 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--recipe")
    parser.add_argument("--criterion", default="margin")
    parser.add_argument("--loss", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=4500, help="texts, the first ones (default: %(default)s)")
    given = parser.parse_args()
    models = build(given)
    plain, exits = models.values()
    spec = read({"model": given.output, "data": given.data})
    rows = rows_for(plain, spec, discover())
    task, examples = rows.task, rows.examples.take(range(min(given.most, len(rows.examples))))
    ways: dict[str, tuple[runtime.Model, dict[str, Any]]] = {
        "plain": (plain, {}),
        "exits": (exits, {}),
        **{f"exits at {each}": (exits, {EXIT_THRESHOLD: np.array(each, np.float32)}) for each in CURVE},
    }
    found: dict[str, list[tuple[np.ndarray, int, float]]] = {name: [] for name in ways}
    for ours, theirs in zip(plain.feeds(examples.texts), exits.feeds(examples.texts), strict=True):
        for name, (model, more) in ways.items():
            found[name].append(timed(model, ours if model is plain else theirs, more))
    whole = float(np.mean([each[2] for each in found["plain"]]))
    for name, runs in found.items():
        quality = task.score(np.stack([logits for logits, _, _ in runs]), examples.targets)
        layers, times = [run[1] for run in runs], [run[2] for run in runs]
        p50, p95 = np.percentile(times, (50, 95))
        print(
            f"{name:16} {100 * quality:.2f} %  mean {np.mean(times):.3f} ms ({np.mean(times) / whole:.0%})  "
            f"p50 {p50:.3f}  p95 {p95:.3f}  layers {np.mean(layers):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
