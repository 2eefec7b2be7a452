"""What does each strategy alone cost and bring, at two or three strengths, from the same baseline?

    python studies/families/run.py --model FOLDER --data FOLDER

Writes the table of docs/families.md: megabytes saved, the ratio of the p50 latencies to the baseline's, and the quality
on validation before and after the same short training, a distillation without added text. What was built is kept in
the cache, so that the same command goes on where it ended.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from eicompress.contracts import Strategy
from eicompress.errors import EicompressError
from eicompress.metrics.this_machine import machine
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.strategies.distillation import Distillation
from eicompress.trials.builder import Builder, open_builder
from eicompress.values import Progress, Record, digest_of

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
BEGIN, END = "<!-- table -->", "<!-- end of the table -->"
BATCH = 32

STRENGTHS: dict[str, tuple[dict[str, object], ...]] = {
    "vocabulary_pruning": ({"num_tokens": 2000}, {"num_tokens": 1000}),
    "embedding_factorization": ({"size": 128}, {"size": 64}),
    "embedding_codebook": ({"piece": 4}, {"piece": 8}),
    "thin_student": ({"layers": 3, "neurons": 0.5}, {"layers": 2, "neurons": 0.25}),
    "layer_pruning": ({"count": 2}, {"count": 4}),
    "head_pruning": ({"share": 0.25}, {"share": 0.5}),
    "neuron_pruning": ({"share": 0.5}, {"share": 0.75}),
    "hidden_pruning": ({"share": 0.25}, {"share": 0.5}),
    "ffn_choice": (
        {"expression": "linear2(relu(linear1(x)))"},
        {"expression": "linear2(mul(relu(linear1(x)), relu(linear1(x))))"},
    ),
    "layer_sharing": ({"groups": 3}, {"groups": 1}),
    "svd": ({"share": 0.5}, {"share": 0.25}),
    "kronecker": ({"size": 4, "terms": 8}, {"size": 4, "terms": 4}),
    "sparse_training": (
        {"sparsity": 0.5, "rounds": 1, "score": "magnitude"},
        {"sparsity": 0.8, "rounds": 1, "score": "magnitude"},
        {"sparsity": 0.8, "rounds": 1, "score": "obs"},
    ),
    "quantization": (
        {"embedding_bits": 8, "layer_bits": 8},
        {"embedding_bits": 4, "layer_bits": 4},
        {"embedding_bits": 4, "layer_bits": 4, "block": 32},
        {"embedding_bits": 8, "layer_bits": 2, "rounding": "gptq"},
        {"embedding_bits": 8, "layer_bits": "ternary", "rounding": "gptq"},
    ),
    "mixed_precision": ({"mean_bits": 4.0}, {"mean_bits": 3.0}),
}


@dataclass(frozen=True)
class Row:
    """What a strategy reached, or why it did not."""

    step: Strategy
    before: Record | None = None
    after: Record | None = None
    timed: Record | None = None
    reason: str = ""


def silent(_: Progress) -> None:
    return None


def opened(given: argparse.Namespace, folder: Path) -> Builder:
    """The builder with fewer rows."""
    words = {"model": given.model, "data": given.data, "seed": given.seed, "teacher_training": "finetune"}
    builder = open_builder(read(words), discover(only=""), folder=folder, progress=silent)
    counts = {"train": given.rows, "validation": given.validation}
    examples = dict(builder.examples)
    for split, count in counts.items():
        # Drawn, since data are often sorted by label.
        drawn = np.random.default_rng(given.seed).permutation(len(examples[split]))[:count]
        examples[split] = examples[split].take(np.sort(drawn).tolist())
    digest = digest_of([builder.digest, counts, given.seed])
    return replace(builder, examples=examples, digest=digest)


def rows(builder: Builder, given: argparse.Namespace) -> Iterator[Row]:
    epochs = given.steps * BATCH / len(builder.examples["train"])
    recovery = Distillation(
        epochs=epochs, distortions=0, state_weight=1.0, learning_rate=given.learning_rate, batch_size=BATCH
    )
    for name, strengths in STRENGTHS.items():
        for knobs in strengths:
            if name == "sparse_training":
                knobs = {**knobs, "epochs": epochs}
            yield row(builder, builder.registry.strategy(name)(**knobs), recovery, given)


def row(builder: Builder, step: Strategy, recovery: Distillation, given: argparse.Namespace) -> Row:
    try:
        timed = builder.preview(Recipe((step,)))
        before, after = (
            builder.scored(Recipe(steps), fidelity=given.fidelity, seed=given.seed, progress=silent)
            for steps in ((step,), (step, recovery))
        )
    except EicompressError as error:
        return Row(step, reason=str(error))
    return Row(step, before, after, timed)


def line(each: Row, base: Record) -> str:
    given = {**Recipe((each.step,)).to_json()[0]}
    shown = STRENGTHS[each.step.name][0].keys() | {key for knobs in STRENGTHS[each.step.name] for key in knobs}
    named = ", ".join(f"{key} {value}" for key, value in given.items() if key in shown and value not in (0, "nearest"))
    if each.before is None or each.after is None or each.timed is None:
        return f"| `{each.step.name}` | {named} | {each.reason} |  |  |  |  |"
    size, whole = number(each.before, "size_mb"), number(base, "size_mb")
    values = (f"{size:.2f}", f"{whole - size:.2f}", f"{number(each.timed, 'latency_ratio'):.2f}")
    qualities = (f"{100 * number(record, 'quality'):.1f}" for record in (each.before, each.after))
    return f"| `{each.step.name}` | {named} | {' | '.join((*values, *qualities))} |"


def number(record: Record, name: str) -> float:
    value = record.value(name)
    assert value is not None
    return value


def write(lines: list[str], base: Record, given: argparse.Namespace) -> None:
    """Put the table between its marks on the page."""
    head = (
        f"Baseline: {number(base, 'size_mb'):.2f} MB, {number(base, 'latency_ms'):.2f} ms, "
        f"{100 * number(base, 'quality'):.1f} % on {given.validation} rows of validation. "
        f"Recovery: {given.steps} steps of "
        f"{BATCH} texts at fidelity {given.fidelity:g}, learning rate {given.learning_rate:g}, seed {given.seed}.\n"
        f"{machine()}, one thread; onnxruntime {version('onnxruntime')}, torch {version('torch')}.\n\n"
        "| strategy | knobs | MB | MB saved | p50 ratio | before, % | after, % |\n|---|---|---|---|---|---|---|\n"
    )
    page = PAGE.read_text(encoding="utf-8")
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    table = "\n\n" + head + "\n".join(lines) + "\n\n"
    PAGE.write_text(page[:start] + table + page[end:], encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a fine-tuned model's folder, or builtin:minilm")
    parser.add_argument("--data", required=True, help="a folder of splits, or builtin:docstrings")
    parser.add_argument("--rows", type=int, default=4000, help="training rows (default: %(default)s)")
    parser.add_argument("--validation", type=int, default=1000, help="validation rows (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="of the recovery (default: %(default)s)")
    parser.add_argument("--fidelity", type=float, default=1.0, help="share of these steps (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        builder = opened(given, Path(folder))
        base = builder.baseline()
        lines: list[str] = []
        began = time.monotonic()
        for each in rows(builder, given):
            lines.append(line(each, base))
            print(f"{time.monotonic() - began:5.0f} s  {lines[-1]}", flush=True)
            write(lines, base, given)


if __name__ == "__main__":
    main()
