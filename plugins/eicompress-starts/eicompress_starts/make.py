"""Train the starting points: `python -m eicompress_starts.make --text FILE --validation FILE --output FOLDER`.

Students of 0, 1 and 3 layers are cut out of all-MiniLM-L6-v2 with a quarter of its feed-forward neurons. They read one
factorized table of all its words and learn together its last states of each token and their mean over each text. These
states are computed once and cached in the output folder; the training is stored once a minute, and the same command
resumes, without the points of the curve that it had. SHA256 in `weights.py` must be set to what is printed at the end.

Rows of the files (JSONL) have `text`, or `tokens` to be joined, with or without `text_pair`; or a `question` and its
`context`. Labels are not read. Long texts are cut into passages of one to four sentences, and
from half of them a few words in a row are taken as a text of their own.
"""

import argparse
import copy
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress import Batch, Candidate, Encoder, Origin, Training
from eicompress.cache import Cache, arrays_in
from eicompress.contracts import Array
from eicompress.data.quickstart import builtin_model
from eicompress.encoder import convert
from eicompress.encoder.device import computes_with, fast_products, own_device
from eicompress.encoder.tokens import Tokens, in_order_of_length, tokenize
from eicompress.encoder.vocabulary import with_max_length
from eicompress.strategies.embedding_factorization import factorize
from eicompress.training.trainer import Checkpoints, Trainer
from eicompress.values import Progress, Text, digest_of
from eicompress_starts import weights

LAYERS = {"minilm-0": (), "minilm-1": (5,), "minilm-3": (1, 3, 5)}
"""Of the teacher's six, by name."""
SIZE = 96
"""Dimensions of a word vector."""
NEURONS = 0.25
"""Share of each layer's feed-forward neurons."""
LONGEST = 128
"""Tokens of a passage."""
PASSAGES = ((1, 2, 4), (0.7, 0.2, 0.1))
"""Sentences of a passage, and how often."""
SPANS, SPANS_SHARE = (3, 12), 0.5
"""Words of the spans that are cut out of passages, for short texts are read too, and of how many passages."""
LEAST_DEVIATION = 0.1
"""Dimensions that deviate less than this share of the median are not scaled up to the others."""
SAMPLE = 5_000
"""Passages that deviations are measured on."""
IMPORTANCE_TEXTS = 512
BATCH_SIZE, LEARNING_RATE = 64, 1e-3
PARTS = 8
"""The curve has a point after each part of the training."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_JOINT = re.compile(r" @([-,.])@ ")
"""What stands within words and numbers in WikiText's tokens."""


def main() -> None:
    asked = arguments()
    begun = time.monotonic()
    torch.set_num_threads(asked.threads)
    asked.output.mkdir(parents=True, exist_ok=True)
    source = convert.load(builtin_model("builtin:minilm"), outputs=1)
    source.encoder.pool_by_mean()
    source.encoder.drop_pooler()
    tokenizer = with_max_length(source.tokenizer, LONGEST)
    texts = read_texts(asked.text, asked.seed)
    tokens = tokenize(tokenizer, texts)
    count = int(tokens.starts[-1])
    print(f"{len(texts):,} passages, {count:,} tokens", flush=True)
    cache, key = Cache(asked.output / "cache"), digest_of([texts, asked.seed])
    states = teacher_states(source.encoder, tokens, cache, key)
    students = cut_students(source.encoder, tokens, asked.seed)
    lesson = Lesson(tokens, states, *deviations(tokens, states, asked.seed), students)
    first = Candidate(students["minilm-3"], tokenizer, _origin("minilm-3", students))

    held_out = tokenize(tokenizer, read_texts(asked.validation, asked.seed)[: asked.most_validation])
    wanted = np.empty((int(held_out.starts[-1]), states.shape[1]), np.float16)
    read_states(source.encoder, held_out, wanted, print_progress("validation"))
    curve = [{"epochs": 0.0, **cosines(students, held_out, wanted)}]
    print(json.dumps(curve[-1]), flush=True)

    def loss(batch: Batch) -> Tensor:
        part = max(1, batch.steps // PARTS)
        if 0 < batch.step <= batch.steps - part and batch.step % part == 0:
            share = batch.step / batch.steps
            curve.append({"epochs": round(asked.epochs * share, 2), **cosines(students, held_out, wanted)})
            print(json.dumps(curve[-1]), f"{time.monotonic() - begun:.0f} s", flush=True)
        return lesson.loss(batch)

    checkpoints = Checkpoints(cache, key)
    others = nn.ModuleDict({name: each for name, each in students.items() if name != "minilm-3"})
    training = Training(texts, loss, asked.epochs, LEARNING_RATE, BATCH_SIZE, extra=others)
    Trainer(asked.seed, 1.0, own_device(), print_progress("training"), checkpoints)(first, training)
    curve.append({"epochs": asked.epochs, **cosines(students, held_out, wanted)})

    made = {
        "teacher": "sentence-transformers/all-MiniLM-L6-v2",
        "seed": asked.seed,
        "passages": len(texts),
        "tokens": count,
        "epochs": asked.epochs,
        "tokens_read": round(count * asked.epochs),
        "curve": curve,
        "seconds": round(time.monotonic() - begun),
        "machine": computes_with(own_device()),
        "threads": asked.threads,
        "versions": {each: version(each) for each in ("eicompress", "torch", "tokenizers")},
    }
    whole = convert.load(builtin_model("builtin:minilm"), outputs=1).tokenizer
    named = {name: Candidate(students[name].eval(), whole, _origin(name, students)) for name in LAYERS}
    digest = weights.write(named, made, asked.output)
    print(json.dumps(curve[-1]), f"{made['seconds']} s, SHA256 {digest}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="JSONL files to learn from")
    parser.add_argument("--validation", type=Path, nargs="+", required=True, help="JSONL files that draw the curve")
    parser.add_argument("--most-validation", type=int, default=2000, help="passages of them that are read")
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


# Text.


def read_texts(files: Sequence[Path], seed: int) -> list[Text]:
    """Every passage once, in the order of the files."""
    chance = random.Random(seed)
    found: dict[Text, None] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            found |= dict.fromkeys(_texts_of(json.loads(line), chance))
    return list(found)


def _texts_of(row: dict[str, Any], chance: random.Random) -> Iterator[Text]:
    if "question" in row:
        yield str(row["question"])
        yield str(row["question"]), chance.choice(_SENTENCE_END.split(" ".join(str(row["context"]).split())))
        yield from _passages(str(row["context"]), chance)
    elif "text_pair" in row:
        yield str(row["text"]), str(row["text_pair"])
    else:
        yield from _passages(row["text"] if "text" in row else " ".join(row["tokens"]), chance)


def _passages(text: str, chance: random.Random) -> Iterator[str]:
    whole = _JOINT.sub(r"\1", " ".join(text.split())).replace("<unk>", "[UNK]")
    sentences = [each for each in _SENTENCE_END.split(whole) if each]
    at = 0
    while at < len(sentences):
        count = chance.choices(*PASSAGES)[0]
        passage = " ".join(sentences[at : at + count])
        yield passage
        words, length = passage.split(), chance.randint(*SPANS)
        if len(words) > length and chance.random() < SPANS_SHARE:
            begin = chance.randrange(len(words) - length)
            yield " ".join(words[begin : begin + length])
        at += count


# The teacher.


def teacher_states(teacher: Encoder, tokens: Tokens, cache: Cache, key: str) -> Array:
    """(tokens, hidden) in half precision: its last states, memory-mapped from the cache."""
    shape = (int(tokens.starts[-1]), teacher.config.hidden)

    def write(folder: Path) -> None:
        states = np.lib.format.open_memmap(folder / "states.npy", "w+", np.float16, shape)
        read_states(teacher, tokens, states, print_progress("teacher"))
        states.flush()

    return arrays_in(cache.kept("states", key, write))["states"]


@torch.no_grad()
def read_states(teacher: Encoder, tokens: Tokens, into: Array, progress: Callable[[Progress], None]) -> None:
    """Fill (tokens, hidden)."""
    device, done = own_device(), 0
    teacher.to(device)
    for rows in in_order_of_length(tokens.lengths):
        batch = tokens.batch(rows, teacher.config.padding_id, device)
        with fast_products(device):
            states = teacher.states(batch.input_ids, batch.attention_mask, batch.token_type_ids)[-1]
        for row, each in zip(rows, states.float().cpu().numpy(), strict=True):
            begin, end = tokens.starts[row], tokens.starts[row + 1]
            into[begin:end] = each[: end - begin]
        done += len(rows)
        progress(Progress("teacher", done, len(tokens.lengths)))
    teacher.to("cpu")


def deviations(tokens: Tokens, states: Array, seed: int) -> tuple[Tensor, Tensor]:
    """(hidden,) of tokens, and of means over a text, those of dimensions that hardly vary not far below the others."""
    rows = np.random.default_rng(seed).permutation(len(tokens.lengths))[:SAMPLE]
    parts = [np.asarray(states[tokens.starts[row] : tokens.starts[row + 1]], np.float32) for row in np.sort(rows)]
    found = (np.concatenate(parts).std(axis=0), np.stack([each.mean(axis=0) for each in parts]).std(axis=0))
    of_tokens, of_texts = (torch.from_numpy(each).clamp_min(LEAST_DEVIATION * float(np.median(each))) for each in found)
    return of_tokens, of_texts


# The students.


def cut_students(teacher: Encoder, tokens: Tokens, seed: int) -> dict[str, Encoder]:
    """Students that share their table of words."""
    counts = torch.bincount(torch.from_numpy(tokens.ids), minlength=teacher.config.vocabulary) + 0.5
    table, projection, mean, kept = factorize(teacher.words.weight.detach(), counts, SIZE, seed)
    print(f"{kept:.1%} of the variance of the words is in {SIZE} dimensions", flush=True)
    important = neuron_importance(teacher, tokens, seed)
    students: dict[str, Encoder] = {}
    for name, layers in LAYERS.items():
        made = copy.deepcopy(teacher)
        made.keep_layers(layers)
        for place, layer in enumerate(layers):
            most = torch.topk(important[layer], round(NEURONS * len(important[layer]))).indices
            made.keep_neurons(place, most.sort().values)
        made.factorize_words(table, projection)
        assert made.projection is not None
        made.projection.bias = nn.Parameter(mean)
        made.keep_positions(LONGEST)
        made.words = students["minilm-0"].words if students else made.words
        students[name] = made
    return students


@torch.no_grad()
def neuron_importance(teacher: Encoder, tokens: Tokens, seed: int) -> list[Tensor]:
    """(neurons,) of each layer: the mean size of what a neuron adds."""
    found = [torch.zeros(layer.ffn) for layer in teacher.config.layers]

    def watch(number: int) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[number] += given[0].abs().sum(dim=(0, 1))

        return hook

    outputs = [teacher.layer(number).ffn.output for number in range(len(found))]
    hooks = [each.register_forward_pre_hook(watch(number)) for number, each in enumerate(outputs)]
    rows = np.random.default_rng(seed).permutation(len(tokens.lengths))[:IMPORTANCE_TEXTS]
    for places in in_order_of_length(tokens.lengths[rows]):
        batch = tokens.batch(rows[places], teacher.config.padding_id, "cpu")
        teacher.states(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    for hook in hooks:
        hook.remove()
    return [sizes * each.weight.detach().norm(dim=0) for sizes, each in zip(found, outputs, strict=True)]


def _origin(name: str, students: dict[str, Encoder]) -> Origin:
    return Origin(LAYERS[name], tuple(range(students[name].config.hidden)))


@dataclass(frozen=True)
class Lesson:
    """The teacher's states of all tokens, and the loss of the students."""

    tokens: Tokens
    states: Array
    of_tokens: Tensor
    """Deviations of the teacher's states."""
    of_texts: Tensor
    students: dict[str, Encoder]

    def loss(self, batch: Batch) -> Tensor:
        """Squared distances, in deviations: of means over a text, and token by token where there are layers."""
        device = batch.input_ids.device
        mask, of_tokens, of_texts = batch.attention_mask[..., None], self.of_tokens.to(device), self.of_texts.to(device)
        wanted = padded(self.states, self.tokens, batch.rows.cpu().numpy(), batch.input_ids.shape[1]).to(device)
        loss = of_texts.new_zeros(())
        for student in self.students.values():
            own = student.states(batch.input_ids, batch.attention_mask, batch.token_type_ids)[-1].float()
            difference = (own - wanted) * mask
            loss = loss + (difference.sum(dim=1) / mask.sum(dim=1) / of_texts).square().mean()
            if len(student.layers):
                loss = loss + (difference / of_tokens).square().mean(dim=2).sum() / mask.sum()
        return loss


def padded(states: Array, tokens: Tokens, rows: Array, longest: int) -> Tensor:
    """(rows, longest, hidden) of (tokens, hidden)"""
    found = np.zeros((len(rows), longest, states.shape[1]), np.float32)
    for place, row in enumerate(rows):
        begin, end = tokens.starts[row], tokens.starts[row + 1]
        found[place, : end - begin] = states[begin:end]
    return torch.from_numpy(found)


@torch.no_grad()
def cosines(students: dict[str, Encoder], tokens: Tokens, states: Array) -> dict[str, float]:
    """Mean cosine between student's and teacher's state of a text, by student."""
    found: dict[str, list[float]] = {name: [] for name in students}
    for rows in in_order_of_length(tokens.lengths):
        device = str(next(iter(students.values())).classifier.weight.device)
        batch = tokens.batch(rows, 0, device)
        wanted = padded(states, tokens, rows, batch.input_ids.shape[1]).to(device)
        mask = batch.attention_mask.float()[..., None]
        for name, student in students.items():
            own = student.states(batch.input_ids, batch.attention_mask, batch.token_type_ids)[-1].float()
            found[name] += F.cosine_similarity((own * mask).sum(dim=1), (wanted * mask).sum(dim=1)).tolist()
    return {name: round(float(np.mean(each)), 4) for name, each in found.items()}


def print_progress(what: str) -> Callable[[Progress], None]:
    """A line a minute."""
    last = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > 60:
            last = time.monotonic()
            print(f"{what}: {progress.step} of {progress.steps}, {progress.loss}", flush=True)

    return report


if __name__ == "__main__":
    main()
