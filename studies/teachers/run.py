"""Is a teacher of `eicompress teach` at least as good as plain fine-tuning of the same model with `transformers`?

    python studies/teachers/run.py --model builtin:minilm --set hwu64=TEACHER,DATA --set snips=TEACHER,DATA

Plain fine-tuning is what most people do: AdamW, batches of 32, a new head, a rate that rises over the first tenth of
the steps and falls to zero, and dropout as the model has it. Of several rates the one that is best on validation is
taken, which favours plain fine-tuning: `teach` chooses on held-out training rows. The test split is read once for each
training, and nothing is chosen on it. Results are kept in `--output` and not made again.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from eicompress.cache import write_whole
from eicompress.contracts import Array, Examples, Task
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.trials.builder import Builder, open_builder
from eicompress.trials.inputs import model_folder
from eicompress.values import Text

RATES = (2e-5, 5e-5, 1e-4)
BATCH, WARM_UP = 32, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--set", metavar="NAME=TEACHER,DATA", action="append", required=True, dest="sets")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("teachers"))
    asked = parser.parse_args()
    print("| set | plain fine-tuning: rate, validation | test | teach: validation | test |\n|---|---|---|---|---|")
    for each in asked.sets:
        name, _, rest = each.partition("=")
        teacher, _, data = rest.partition(",")
        print(row(name, found(asked, name, teacher, data)), flush=True)


def found(asked: argparse.Namespace, name: str, teacher: str, data: str) -> dict[str, Any]:
    path = asked.output / f"{name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"rates": {}}
    spec = read({"model": teacher, "data": data, "seed": asked.seed})
    builder = open_builder(spec, discover(), folder=asked.output / "files", progress=lambda _: None)
    for rate in asked.rates:
        if str(rate) not in kept["rates"]:
            kept["rates"][str(rate)] = fine_tuned(asked, builder, rate)
            write(path, kept)
    if "teach" not in kept:
        kept["teach"] = {split: of_teacher(builder, split) for split in ("validation", "test")}
        write(path, kept)
    return kept


def row(name: str, kept: dict[str, Any]) -> str:
    rate, plain = max(kept["rates"].items(), key=lambda each: each[1]["validation"])
    return (
        f"| {name} | {float(rate):.0e}: {plain['validation']:.2%} | {plain['test']:.2%} "
        f"| {kept['teach']['validation']:.2%} | {kept['teach']['test']:.2%} |"
    )


def fine_tuned(asked: argparse.Namespace, builder: Builder, rate: float) -> dict[str, float]:
    folder, task, train = model_folder(asked.model), builder.task, builder.examples["train"]
    torch.manual_seed(asked.seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=task.answer.outputs).train()
    steps = asked.epochs * -(-len(train) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARM_UP * steps), steps)
    generator = np.random.default_rng(asked.seed)
    for _ in range(asked.epochs):
        drawn = generator.permutation(len(train))
        for start in range(0, len(train), BATCH):
            rows = drawn[start : start + BATCH]
            logits = model(**tokens(tokenizer, [train.texts[at] for at in rows])).logits
            loss = task.loss(logits, torch.from_numpy(train.targets[rows]))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    return {split: score(task, builder.examples[split], model, tokenizer) for split in ("validation", "test")}


@torch.inference_mode()
def score(task: Task, examples: Examples, model: Any, tokenizer: Any) -> float:
    """In batches of texts of about the same length."""
    order = np.argsort([len(str(text)) for text in examples.texts], kind="stable")
    logits: Array = np.empty((len(order), task.answer.outputs), np.float32)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        logits[rows] = model(**tokens(tokenizer, [examples.texts[at] for at in rows])).logits.numpy()
    return task.score(logits, examples.targets)


def tokens(tokenizer: Any, texts: Sequence[Text]) -> Any:
    sides = [list(each) for each in zip(*texts, strict=True)] if isinstance(texts[0], tuple) else [list(texts)]
    return tokenizer(*sides, padding=True, truncation=True, max_length=128, return_tensors="pt")


def of_teacher(builder: Builder, split: str) -> float:
    examples = builder.examples[split]
    return builder.task.score(builder.teacher.outputs(examples.texts).logits, examples.targets)


def write(path: Path, kept: dict[str, Any]) -> None:
    write_whole(path, json.dumps(kept, indent=1).encode())


if __name__ == "__main__":
    main()
