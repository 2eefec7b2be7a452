"""Applies recipes to a tiny model and runs the result."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime import InferenceSession
from torch import nn

from eicompress.cache import Cache
from eicompress.contracts import Array, Candidate, Context, GraphStrategy, Strategy
from eicompress.errors import PluginError
from eicompress.export import folder as artifacts
from eicompress.recipe import Recipe
from eicompress.testing.tiny import tiny_examples, tiny_task
from eicompress.trials import candidate as candidates
from eicompress.values import Text


@dataclass(frozen=True)
class Built:
    candidate: Candidate
    graph: onnx.ModelProto


def build(steps: tuple[Strategy, ...], context: Context, folder: Path) -> Built:
    """The candidate of a recipe, built by the same code as in a study.

    What a claim forbids, such as pickle, raises an `AssertionError` inside of the strategy, and here too.
    """
    recipe = Recipe(steps)
    try:
        candidate = candidates.build(recipe, context, Cache(folder / "cache"), lambda prefix: prefix.digest)
    except PluginError as error:
        if isinstance(error.__cause__, AssertionError):
            raise error.__cause__ from None
        raise
    return Built(candidate, apply_graph_steps(recipe, artifacts.graph_of(candidate, pairs=context.task.pairs), context))


def apply_graph_steps(recipe: Recipe, graph: onnx.ModelProto, context: Context) -> onnx.ModelProto:
    """The graph after the recipe's steps that act on one."""
    for step in recipe.steps:
        if isinstance(step, GraphStrategy):
            graph = step.apply(graph, context)
    return graph


class Foreign(nn.Module):
    """A bag of words: not an encoder, with the same inputs and outputs."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, tiny_task().answer.outputs)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        words: torch.Tensor = self.words(input_ids) * attention_mask.unsqueeze(-1)
        return words.sum(dim=1)


def tiny_texts() -> Sequence[Text]:
    return tiny_examples(1).texts


def logits_of(session: InferenceSession, batch: int, length: int) -> Array:
    """(batch, outputs) of as many equal texts."""
    ids = np.full((batch, length), 5, np.int64)
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    logits: Array = session.run(["logits"], {each.name: given[each.name] for each in session.get_inputs()})[0]
    return logits
