"""How long a browser takes to open a report: a study of made-up numbers, its page, and Chromium's own clock.

    python studies/report_speed/run.py --trials 200 --output report.html

It needs Chromium and chromedriver.

Prints the page's size, the milliseconds until there is text and the first figures, and what the console said. Each
load is the first one of a new Chromium, so that nothing is in its caches, once it has come to rest.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna

from eicompress.answers import Labels
from eicompress.plugins import discover
from eicompress.reporting.data import numbers
from eicompress.reporting.page import page
from eicompress.study.objective import Objective
from eicompress.study.result import Result
from eicompress.study.space_file import read_space
from eicompress.values import Json, Measurement, Record

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from browser import browser

LABELS = tuple(f"{verb}_{noun}" for verb in ("ask", "change", "cancel") for noun in ("flight", "meal", "card", "alarm"))
TEXTS = 1000
LOADS = 5
REST_SECONDS = 3.0
CLOCK = """<script>
const started = setInterval(() => {
  const near = [...document.querySelectorAll(".figure")].filter(each => each.offsetTop < 2 * innerHeight);
  if (near.some(each => !each.matches(".js-plotly-plot"))) return;
  clearInterval(started);
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  document.body.dataset.ms = JSON.stringify([paint.startTime, performance.now()]);
}, 5);
</script></body>"""


def measured(size: float, latency: float | None, quality: float | None, test: float | None = None) -> list[Measurement]:
    conditions = {"threads": 1, "batch": 1, "sequence_length": 19, "machine": "a made-up machine"}
    of = {"metric": "accuracy", "split": "validation", "examples": TEXTS}
    values = [Measurement("size_mb", size, "MB"), Measurement("latency_ms", latency or 0.0, "ms", conditions)]
    values += [] if quality is None else [Measurement("quality", quality, "", of)]
    return values + ([] if test is None else [Measurement("quality_test", test, "", {**of, "split": "test"})])


def invented(trials: int, folder: Path) -> Result:
    """A study whose numbers follow a formula with noise."""
    generator, space = np.random.default_rng(0), read_space("edge", discover(only=""))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    records: dict[int, Record] = {}
    for number in range(trials):
        recipe = space.suggest(study.ask())
        steps = {each["strategy"]: each for each in recipe.to_json()}
        layers, wide = steps["thin_student"]["layers"], steps["thin_student"]["neurons"]
        bits = steps["quantization"]["layer_bits"]
        size = 0.3 + layers * (0.15 + 0.7 * wide) * bits / 4 + steps["embedding_factorization"]["size"] / 250
        fits = size <= 2.0
        quality = 0.962 - 0.09 * np.exp(-1.5 * size) - 0.01 * generator.exponential() if fits else None
        parts = {"embedding": 0.3, "layers": 0.5, "head": 0.05, "tokenizer": 0.1, "graph": 0.04, "config": 0.01}
        records[number] = Record(
            recipe=tuple(recipe.to_json()),
            draw=number,
            outcome="complete" if fits else "over budget",
            reason="" if fits else f"size_mb {size / 2 - 1:.1%} over budget",
            fidelity=0.25,
            trained=fits,
            measurements=tuple(measured(size, 0.1 + 0.15 * layers, quality)),
            bytes_by_group={name: int(share * size * 1e6) for name, share in parts.items()},
            seconds_by_phase={"training": 150.0, "export": 0.5, "measuring": 6.0} if fits else {"preview": 1.0},
        )
    promoted = {}
    trained = (each for each in records.items() if each[1].trained)
    best = sorted(trained, key=lambda each: -(each[1].value("quality") or 0.0))
    for number, record in best[:5]:
        size, quality = record.value("size_mb") or 0.0, (record.value("quality") or 0.0) + 0.002 * generator.random()
        facts: dict[str, Json] = {
            "baseline": {"quality_test": 0.962},
            "steps": {"mb": [47.2, 3.9 * size, 3.1 * size, size, size]},
            "tensors": {"largest": tensors(record)},
            "operators": {
                "ms": {
                    "DynamicQuantizeMatMul": 0.22,
                    "MultiHeadAttention": 0.09,
                    "SkipLayerNormalization": 0.03,
                    "FastGelu": 0.02,
                    "Gather": 0.01,
                    "MatMul": 0.01,
                }
            },
        }
        logits = {"validation_logits": logits_of(quality, folder / f"{number}.npz")}
        values = tuple(measured(size, record.value("latency_ms"), quality, quality - 0.003))
        promoted[number] = (replace(record, measurements=values, fidelity=1.0, facts=facts, files=logits),)
    examples = folder / "examples.json"
    targets = np.random.default_rng(0).integers(0, len(LABELS), TEXTS)
    texts = [f"please {LABELS[target].replace('_', ' my ')} number {row}" for row, target in enumerate(targets)]
    answer = Labels(LABELS).to_json()
    examples.write_text(json.dumps({"answer": answer, "targets": targets.tolist(), "texts": texts}))
    baseline = Record(
        recipe=(),
        draw=-1,
        outcome="complete",
        measurements=tuple(measured(91.6, 4.1, 0.965)),
        bytes_by_group={
            "embedding": 47_000_000,
            "layers": 42_600_000,
            "head": 800_000,
            "tokenizer": 700_000,
            "graph": 490_000,
            "config": 10_000,
        },
        files={"validation_examples": str(examples), "validation_logits": logits_of(0.965, folder / "baseline.npz")},
        versions={"eicompress": "0.1.0", "machine": "a made-up machine"},
    )
    budgets = {"size_mb": 2.0, "latency_ms": 2.0}
    simple = {
        "majority class": _simple(None, 0.09, "one answer for every text"),
        "tf-idf": _simple(1.32, 0.882, "8,797 words and pairs of words"),
        "static embeddings": _simple(2.01, 0.893, "5,156 tokens"),
    }
    objective = Objective("quality", budgets)
    return Result(folder, objective, baseline, records, promoted, 7100.0, "the time is used up", simple)


def _simple(size: float | None, quality: float, note: str) -> Record:
    values = tuple(each for each in measured(size or 0.0, 0.03, quality) if size or each.name != "size_mb")
    return Record(recipe=(), draw=-1, outcome="complete", measurements=values, facts={"simple": {"note": note}})


def tensors(record: Record) -> list[tuple[str, str, int]]:
    """The groups' bytes cut into tensors of falling size."""
    found = []
    for group in ("embedding", "layers", "head"):
        left = record.bytes_by_group[group]
        for place in range(8):
            size = left if place == 7 else left // 2
            found.append((group, f"{group}.{place}", size))
            left -= size
    return sorted(found, key=lambda each: -each[2])


def logits_of(quality: float, path: Path) -> str:
    """Logits that are right on that share of the texts."""
    generator = np.random.default_rng(int(1e4 * quality))
    targets = np.random.default_rng(0).integers(0, len(LABELS), TEXTS)
    logits = generator.normal(size=(TEXTS, len(LABELS)))
    logits[np.arange(TEXTS), targets] += 9.0
    # The same texts are hard for everybody, so that answers agree as those of teacher and student do.
    hard = np.random.default_rng(1).permutation(TEXTS)[: round((1 - quality) * TEXTS)]
    logits[hard] = generator.normal(size=(len(hard), len(LABELS)))
    logits[hard, (targets[hard] + 1) % len(LABELS)] += 5.0
    np.savez(path, logits=logits.astype(np.float32))
    return str(path)


def opened(path: Path) -> tuple[float, float, list[str]]:
    """Milliseconds until there is text, and until the first figures are drawn; what the console complained of."""
    with browser() as window:
        window.open("about:blank")
        time.sleep(REST_SECONDS)
        window.open(path.as_uri())
        text, figures = json.loads(window.wait("return document.body.dataset.ms"))
        return text, figures, window.complaints()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--output", type=Path, help="Keep the page here.")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "made-up"
        folder.mkdir()
        importance = {"thin_student.layers": 0.5, "thin_student.neurons": 0.3, "quantization.layer_bits": 0.2}
        asked = {"model": "my-model", "data": "my-data", "budget": "2MB", "latency": "2ms", "study": "made-up"}
        text = page(numbers(invented(given.trials, folder), importance, asked))
        if given.output:
            given.output.write_text(text, encoding="utf-8")
        path = folder / "report.html"
        path.write_text(text.replace("</body>", CLOCK), encoding="utf-8")
        loads = [opened(path) for _ in range(LOADS)]
    print(f"{given.trials} trials, {len(text.encode()) / 1e6:.2f} MB")
    text_ms, figures_ms = statistics.median(load[0] for load in loads), statistics.median(load[1] for load in loads)
    print(f"text after {text_ms:.0f} ms, the first figures after {figures_ms:.0f} ms (medians of {LOADS} loads)")
    print(f"console: {loads[0][2] or 'empty'}")


if __name__ == "__main__":
    main()
