"""Scores every choice of feed-forward blocks of one super-network, so that samplers can be compared without training.

    python studies/ffn_search/score.py --model builtin:minilm --data builtin:docstrings

Trains a narrow student of three layers as a super-network (`ffn_super_network`), then counts the right answers on
validation for each of the choices for its layers: 24 a layer (six expressions, one or two blocks, half or all of the
neurons), 13,824 together. What two choices have in common is computed once, layer by layer. Writes `table.json` beside
this file: the choices with their parameters, and the counts in the order of `itertools.product`.
"""

import argparse
import copy
import itertools
import json
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eicompress.contracts import Array, Candidate
from eicompress.encoder.elastic_ffn import BlockChoice, choose
from eicompress.encoder.expression import plain
from eicompress.encoder.tokens import Batch, tokenize
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import read
from eicompress.strategies.embedding_factorization import EmbeddingFactorization
from eicompress.strategies.ffn_search import FfnSuperNetwork
from eicompress.strategies.thin_student import ThinStudent
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.trials import candidate as candidates
from eicompress.trials.builder import open_builder
from eicompress.trials.starting_point import write_starting_point

TABLE = Path(__file__).parent / "table.json"
LAYERS = 3
EXPRESSIONS = [
    *(plain(activation) for activation in ("gelu", "relu", "tanh", "sigmoid")),
    "linear2(mul(relu(linear1(x)), relu(linear1(x))))",
    "tanh(linear2(gelu(linear1(x))))",
]
BLOCKS, SHARES = (1, 2), (0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:minilm")
    parser.add_argument("--data", default="builtin:docstrings")
    parser.add_argument("--epochs", type=float, default=2.0, help="of the super-network (default: %(default)s)")
    parser.add_argument("--distortions", type=int, default=1, help="of each text (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe(
        (
            VocabularyPruning(num_tokens=4000),
            ThinStudent(layers=LAYERS, heads=0.34, neurons=1 / 12, hidden=1 / 3),
            EmbeddingFactorization(size=64),
            FfnSuperNetwork(
                expressions="; ".join(EXPRESSIONS),
                blocks=max(BLOCKS),
                neurons=min(SHARES),
                epochs=asked.epochs,
                distortions=asked.distortions,
            ),
        )
    )
    spec = read({"model": asked.model, "data": asked.data, "teacher_training": "probe", "seed": asked.seed})
    with tempfile.TemporaryDirectory() as name:
        builder = open_builder(spec, discover(only=""), folder=Path(name), progress=lambda _: None)
        write_starting_point(builder, recipe, Path(name) / "made", progress=lambda step: print(step, flush=True))
        made = candidates.load(Path(name) / "made")
    examples = builder.examples["validation"]
    padding = made.encoder.config.padding_id
    batch = tokenize(made.tokenizer, examples.texts).batch(np.arange(len(examples)), padding, "cpu")
    width = made.encoder.config.layers[0].ffn
    choices = [
        BlockChoice(expression, blocks, round(share * width))
        for expression, blocks, share in itertools.product(EXPRESSIONS, BLOCKS, SHARES)
    ]
    right = scored(made, choices, batch, lambda logits: int(builder.task.correct(logits, examples.targets).sum()))
    table = {
        "recipe": recipe.to_json(),
        "model": asked.model,
        "data": asked.data,
        "seed": asked.seed,
        "torch": version("torch"),
        "examples": len(examples),
        "choices": [[each.expression, each.blocks, each.neurons, parameters(made, each)] for each in choices],
        "right": right,
    }
    TABLE.write_text(json.dumps(table) + "\n")


@torch.inference_mode()
def scored(made: Candidate, choices: list[BlockChoice], batch: Batch, count: Callable[[Array], int]) -> list[int]:
    """The right answers of each choice for the layers, in the order of `itertools.product`."""
    model, mask = made.encoder.eval(), batch.attention_mask
    chosen = [copy.deepcopy(model) for _ in choices]
    for encoder, choice in zip(chosen, choices, strict=True):
        choose(encoder, [choice] * LAYERS)
    found: list[int] = []

    def go_on(states: Tensor, number: int) -> None:
        if number == LAYERS:
            pooled = model.pool(states, batch.input_ids, mask)
            found.append(count(model.head(pooled).numpy()))
            return
        layer, queries = model.layer(number), 1 if number == LAYERS - 1 else states.shape[1]
        states = layer.attention_norm(states[:, :queries] + layer.attention(states, mask, queries))
        for encoder in chosen:
            ffn = encoder.layer(number).ffn
            go_on(layer.ffn_norm(states + ffn(states, mask[:, :queries])), number + 1)

    go_on(model.embed(batch.input_ids, mask, batch.token_type_ids), 0)
    return found


def parameters(made: Candidate, choice: BlockChoice) -> int:
    """Of the blocks of one layer."""
    model = copy.deepcopy(made.encoder)
    choose(model, [choice] * LAYERS)
    return sum(each.numel() for each in model.layer(0).ffn.parameters())


if __name__ == "__main__":
    main()
