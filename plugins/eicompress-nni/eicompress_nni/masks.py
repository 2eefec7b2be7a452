"""The masks that NNI's pruners make of an encoder. NNI takes seconds to import: not before it is asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import nni
import torch
from nni.compression.pruning import (
    FPGMPruner,
    L1NormPruner,
    L2NormPruner,
    LevelPruner,
    MovementPruner,
    TaylorPruner,
)
from nni.compression.utils import Evaluator
from torch import nn

from eicompress import Batch, Candidate, Context, Training
from eicompress.contracts import Array
from eicompress.training.importance import measured_batches
from eicompress_nni import Parts

SCORE_RATE = 1e-2
"""Learning rate of movement scores, as in NNI."""
GROWING = 0.5
"""Share of the steps in which the share that is masked grows to what was asked."""

_NORMS = {"l1_norm": L1NormPruner, "l2_norm": L2NormPruner, "fpgm": FPGMPruner}

nni.silence_stdout()  # where `--json` prints


def after_measuring(pruner: str, parts: list[Parts], subject: Candidate, context: Context) -> list[Array]:
    """How many weights of each part the mask of a pruner leaves, (count,) for each of `parts`. Trains nothing."""
    model = subject.model
    if pruner == "level":
        made = LevelPruner(model, [_weights(each) for each in parts])
    elif pruner == "taylor":
        batches = list(measured_batches(subject, context))
        losses = _Passes(lambda after: _gradients(model, batches, context, after))
        made = TaylorPruner(model, [_blocks(each) for each in parts], losses, len(batches))
    else:
        made = _NORMS[pruner](model, [_blocks(each) for each in parts])
    with _unwrapped_in_the_end(made):
        _, masks = made.compress()
    return _left(parts, masks)


def after_training(
    epochs: float, learning_rate: float, parts: list[Parts], subject: Candidate, context: Context
) -> list[Array]:
    """The same for movement pruning, whose scores and masks are learned with the model, through `context.fit`."""
    model = subject.encoder
    targets = torch.from_numpy(context.train.targets)

    def loss(batch: Batch) -> torch.Tensor:
        pruner.total_times = max(1, round(GROWING * batch.steps))
        pruner.update_sparse_goals(min(batch.step, pruner.total_times))
        pruner.update_masks(pruner.generate_masks())
        logits = batch.logits(model)
        return context.task.loss(logits, targets[batch.rows.cpu()].to(context.compute_device))

    def train(_: Callable[[], None]) -> None:
        scores = [score for of_module in pruner.scores.values() for score in of_module.values()]
        rates = dict.fromkeys(scores, SCORE_RATE / learning_rate)
        context.fit(subject, Training(context.train.texts, loss, epochs, learning_rate, rates=rates))

    # The scores learn in `fit`, with everything else, and the masks are made anew in every step: a training that was
    # killed then goes on as if it had not been. NNI's own counting of steps is of no use.
    pruner = MovementPruner(model, [_blocks(each) for each in parts], _Passes(train), 0, 1)
    with _unwrapped_in_the_end(pruner):
        _, masks = pruner.compress(1, None)
    return _left(parts, masks)


class _Passes(Evaluator):
    """How NNI has the model run: `train` is handed what is to be called after each step."""

    _initialization_complete = True

    def __init__(self, train: Callable[[Callable[[], None]], None]) -> None:
        self._train = train
        self._after: list[Callable[[], None]] = []

    def bind_model(self, model: nn.Module, param_names_map: dict[str, str] | None = None) -> None:
        self._after.clear()

    def unbind_model(self) -> None:
        self.remove_all_hooks()

    def patch_loss(self, patch: Callable[..., torch.Tensor]) -> None:
        """Only a threshold of movement scores has a loss of its own, and shares are what is asked for here."""

    def patch_optimizer_step(
        self, before_step_tasks: list[Callable[[], None]], after_step_tasks: list[Callable[[], None]]
    ) -> None:
        self._after += after_step_tasks

    def train(self, max_steps: int | None = None, max_epochs: int | None = None) -> None:
        self._train(self._after_step)

    def _after_step(self) -> None:
        for task in self._after:
            task()


def _gradients(model: nn.Module, batches: list[tuple[Batch, Any]], context: Context, after: Callable[[], None]) -> None:
    """Let the hooks on the weights see the gradients of each batch. Weights are rounded in it, activations not."""
    was_training = model.training
    model.train()
    model.zero_grad(set_to_none=True)  # an earlier step may have left gradients of other shapes
    try:
        with torch.enable_grad():
            for batch, targets in batches:
                logits = batch.logits(model)
                context.task.loss(logits, targets).backward()
                after()
    finally:
        model.zero_grad(set_to_none=True)
        model.train(was_training)


@contextmanager
def _unwrapped_in_the_end(pruner: Any) -> Iterator[None]:
    """NNI puts wrappers into the model that it is given."""
    try:
        yield
    finally:
        pruner.unwrap_model()


def _weights(parts: Parts) -> dict[str, Any]:
    """NNI's setting for a mask of single weights."""
    # NNI rounds down: half a part more makes as many as meant.
    return {
        "op_names": [parts.matrix],
        "target_names": ["weight"],
        "sparse_ratio": (parts.count - parts.stay + 0.5) / parts.count,
    }


def _blocks(parts: Parts) -> dict[str, Any]:
    """NNI's setting for a mask of whole parts."""
    return {**_weights(parts), "granularity": parts.block}


def _left(parts: list[Parts], masks: dict[str, dict[str, torch.Tensor]]) -> list[Array]:
    return [each.left(masks[each.matrix]["weight"].cpu().numpy()) for each in parts]
