"""Which tokens should stay: how much longer texts get, and what the model still gets right, by kind of importance.

    python studies/vocabulary/run.py MODEL DATA

MODEL is a folder, fine-tuned for the folder DATA. Tokens are chosen on the training texts; growth, unknown rate and
accuracy are of the validation texts, with no training after the pruning.
"""

import copy
import itertools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from eicompress.contracts import Candidate, Context, Examples
from eicompress.data.files import read_rows
from eicompress.encoder.convert import load
from eicompress.encoder.heads import answer_as
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import in_order_of_length, tokenize
from eicompress.encoder.vocabulary import compare_tokenizers, count_words
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.tasks.classification import Classification
from eicompress.testing import tiny_context
from eicompress.trials.inputs import whole_candidate

SIZES = (500, 1000, 2000, 4000)
TEXTS = 1000
"""Validation texts that accuracy is measured on; growth and unknown rate are of all."""
WAYS = ("frequency", "attention", "gradient")


def main(model: Path, data: Path, sizes: Sequence[int] = SIZES) -> None:
    source = load(model)
    columns = {"text": "text", "label": "label"}
    splits = {name: read_rows(data / f"{name}.jsonl") for name in ("train", "validation")}
    task, examples = Classification.read(splits, columns)
    assert answer_as(source.encoder, source.answer, task.answer)
    whole = whole_candidate(source.encoder, source.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        context = replace(tiny_context(Path(folder), whole, preview=True), task=task, train=examples["train"])
        validation = examples["validation"]
        rows = np.random.default_rng(0).permutation(len(validation))[:TEXTS]
        some = validation.take(rows.tolist())
        print(f"all tokens: accuracy {accuracy(whole, some, task):.1%}\n")
        print("| tokens | importance | pieces weighed | growth | unknown | accuracy |\n|---|---|---|---|---|---|")
        for size in sizes:
            for way, weigh_pieces in itertools.product(WAYS, (True, False)):
                made = pruned(whole, context, size, way, weigh_pieces)
                words = count_words(whole.tokenizer, [str(text) for text in validation.texts])
                facts = compare_tokenizers(whole.tokenizer, made.tokenizer, words)
                share = accuracy(made, some, task)
                cells = (
                    f"{size} | {way} | {weigh_pieces} | {facts.growth:.1%} | {facts.unknown_after:.3%} | {share:.1%}"
                )
                print(f"| {cells} |", flush=True)


def pruned(whole: Candidate, context: Context, size: int, importance: str, weigh_pieces: bool) -> Candidate:
    strategy = VocabularyPruning(size, importance=importance, weigh_pieces=weigh_pieces)  # type: ignore[arg-type]
    return strategy.apply(replace(whole, model=copy.deepcopy(whole.model)), context)


@torch.inference_mode()
def accuracy(candidate: Candidate, examples: Examples, task: Classification) -> float:
    assert isinstance(candidate.model, Encoder)
    tokens = tokenize(candidate.tokenizer, examples.texts)
    logits = np.zeros((len(examples), task.answer.outputs), np.float32)
    for rows in in_order_of_length(tokens.lengths):
        batch = tokens.batch(rows, candidate.model.config.padding_id, "cpu")
        logits[rows] = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids).numpy()
    return task.score(logits, examples.targets)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
