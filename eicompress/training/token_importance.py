"""The importance of each token of a candidate's vocabulary, for strategies that prune it."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from eicompress.contracts import Array, Context, Task
from eicompress.encoder.blocks import SelfAttention
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch
from eicompress.training.importance import measured_batches, watch_inputs
from eicompress.training.losses import sensitivity


def token_importance(context: Context, by: Literal["attention", "gradient"]) -> Array:
    """(vocabulary,) of the baseline: the mean importance of a token where it stands in the measured examples.

    - `attention`: the share of all attention that it receives, over layers, heads and queries (after EI-BERT, arXiv
      2507.04636, which reads all texts, not 512).
    - `gradient`: the first-order change of the loss if its word vector were zero (arXiv 1611.06440).

    A token that is in none of the examples gets the mean of the others.
    """
    model = context.baseline.encoder
    sums, counts = np.zeros(model.config.vocabulary), np.zeros(model.config.vocabulary)
    for batch, targets in measured_batches(context.baseline, context):
        said = _attention_received(model, batch) if by == "attention" else _moves(model, batch, targets, context.task)
        real = batch.attention_mask.bool()
        ids = batch.input_ids[real].numpy()
        np.add.at(sums, ids, said[real].double().numpy())
        np.add.at(counts, ids, 1)
    seen = counts > 0
    means = np.full(len(sums), sums.sum() / counts.sum())
    means[seen] = sums[seen] / counts[seen]
    return means


@torch.no_grad()
def _attention_received(model: Encoder, batch: Batch) -> Tensor:
    """(B, T), the sum over the tokens of an example is one."""
    received: list[Tensor] = []

    def collector(attention: SelfAttention) -> Callable[[Tensor, Tensor, int], None]:
        def look(states: Tensor, mask: Tensor, queries: int) -> None:
            shares = attention.attention_map(states, mask)[:, :, :queries].mean(dim=1)
            asked = mask[:, :queries, None].float()
            received.append((shares * asked).sum(dim=1) / asked.sum(dim=1))

        return look

    with watch_inputs([(each, collector(each)) for each in model.modules() if isinstance(each, SelfAttention)]):
        model.states(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return torch.stack(received).mean(dim=0)


def _moves(model: Encoder, batch: Batch, targets: Tensor, task: Task) -> Tensor:
    """(B, T): what each word vector changes in the loss of its example."""
    vectors: list[Tensor] = []
    handle = model.words.register_forward_hook(lambda _, __, output: vectors.append(output))
    try:
        with torch.enable_grad():
            logits = batch.logits(model)
            (gradient,) = torch.autograd.grad(sensitivity(task.answer, task.loss, logits, targets), vectors)
    finally:
        handle.remove()
    return (vectors[0].detach() * gradient).sum(dim=-1).abs() * len(targets)  # the loss is the mean of a batch
