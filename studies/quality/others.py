"""What others reach on the test split of a set: the teacher in 8 bits, model2vec, and the simple baseline of a search.

    pip install 'model2vec[distill]==0.8.0'
    python studies/quality/others.py --set hwu64=TEACHER,DATA --output results/quality

Reads the studies that `run.py` left in the output, and writes `others-NAME.json` beside them: name, megabytes, quality.
model2vec distills `--static-model`, by default the MiniLM that is built in, to 256 and 64 dimensions in 8 bits;
softmax regression on its vectors, its penalty chosen on held-out training rows, is its classifier, in 8 bits too.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from model2vec import StaticModel
from model2vec.distill import distill_from_model
from run import named_set
from transformers import AutoModel, AutoTokenizer

import eicompress
from eicompress.cache import write_whole
from eicompress.data.quickstart import builtin_model
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.training.regression import divided, trained, tuned
from eicompress.trials.task_data import TaskData, read_data
from eicompress.values import MEGABYTE

DIMENSIONS = (256, 64)
STRENGTHS = (0.01, 0.1, 1.0)
EIGHT_BITS = ({"strategy": "quantization", "layer_bits": 8, "embedding_bits": 8},)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", metavar="NAME=TEACHER,DATA", action="append", required=True, type=named_set)
    parser.add_argument("--static-model", type=Path, default=None, help="a folder of transformers for model2vec")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    for name, (model, data) in dict(asked.set).items():
        source = asked.static_model or builtin_model("builtin:minilm")
        found = list(others(asked.output, name, model, data, source))
        write_whole(asked.output / f"others-{name}.json", json.dumps({"set": name, "points": found}, indent=1).encode())
        print(name, json.dumps(found))


def others(output: Path, name: str, model: str, data: str, source: Path) -> Iterator[dict[str, Any]]:
    task_data = read_data(discover(), read({"model": model, "data": data}))
    yield from simple(output, name, task_data)
    for dimensions in DIMENSIONS:
        yield static(source, dimensions, task_data)
    with tempfile.TemporaryDirectory() as scratch:
        registry = discover()
        recipe = Recipe.from_json(EIGHT_BITS, registry.strategies)
        record = eicompress.compress(model=model, data=data, recipe=recipe, output=Path(scratch) / "teacher")
        quality = score(task_data, eicompress.load(Path(scratch) / "teacher").logits(task_data.examples["test"].texts))
        yield {"name": "teacher, 8 bits", "size_mb": record.value("size_mb"), "quality": quality}


def simple(output: Path, name: str, task_data: TaskData) -> Iterator[dict[str, Any]]:
    """The simple baselines that are artifacts; of several budgets each file once."""
    known = set()
    for folder in sorted((output / "studies").glob(f"{name}-*MB")):
        for of, record in eicompress.show(folder.name, studies=folder.parent).simple.items():
            size = record.value("size_mb")
            if "artifact" in record.files and (of, size) not in known:
                known.add((of, size))
                logits = eicompress.load(record.files["artifact"]).logits(task_data.examples["test"].texts)
                yield {"name": of, "size_mb": size, "quality": score(task_data, logits)}


def static(source: Path, dimensions: int, task_data: TaskData) -> dict[str, Any]:
    """model2vec with softmax regression. Pairs are their two vectors, distance and product."""
    model = distilled(source, dimensions)

    def vectors(texts: Any) -> np.ndarray:
        if all(isinstance(text, str) for text in texts):
            found: np.ndarray = model.encode(list(texts)).astype(np.float32)
            return found
        first, second = (model.encode([text[side] for text in texts]).astype(np.float32) for side in (0, 1))
        return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)

    train, test = task_data.examples["train"], task_data.examples["test"]
    found = vectors(train.texts)
    mean, spread = found.mean(axis=0), found.std(axis=0) + 1e-6
    chosen = tuned(task_data.task, (found - mean) / spread, train.targets, divided(train.targets, 0), STRENGTHS)
    answer = task_data.task.answer
    head = trained(answer, (found - mean) / spread, train.targets, chosen.strength)
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        needed = ("model.safetensors", "tokenizer.json", "config.json")
        size = sum((Path(scratch) / each).stat().st_size for each in needed) + answer.outputs * found.shape[1]
    quality = score(task_data, head.logits((vectors(test.texts) - mean) / spread))
    return {"name": f"model2vec, {dimensions} dimensions", "size_mb": size / MEGABYTE, "quality": quality}


@cache
def distilled(source: Path, dimensions: int) -> StaticModel:
    model, tokenizer = AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    return distill_from_model(model, tokenizer, pca_dims=dimensions, quantize_to="int8")


def score(task_data: TaskData, logits: np.ndarray) -> float:
    return float(task_data.task.score(logits, task_data.examples["test"].targets))


if __name__ == "__main__":
    main()
