"""The importance of each head, neuron, layer and residual dimension of a candidate, for strategies that prune.

- `taylor`: the first-order change of the loss if the part's output were zero, or the layer's input its output
  (Molchanov et al., arXiv 1611.06440; Michel et al., arXiv 1905.10650).
- `activation`: the root mean square of what the part says times the norm of the weights that read it (Wanda,
  arXiv 2306.11695); of a layer, how far it turns its input: one minus their cosine (ShortGPT, arXiv 2403.03853).
- `magnitude`: the norm of the weights that a part reads with times the norm of those it writes with; of a layer, the
  norm of all that it writes with.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.contracts import Array, Candidate, Context
from eicompress.encoder.blocks import FeedForward, Layer
from eicompress.encoder.linear import AnyLinear
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import BATCH, Batch, tokenize
from eicompress.encoder.vocabulary import with_max_length
from eicompress.training.losses import sensitivity

WAYS = ("taylor", "activation", "magnitude")
EXAMPLES = 512
"""Training examples that importance is measured on."""


def measure_importance(subject: Candidate, context: Context, by: str = "taylor") -> dict[str, Array]:
    """The importance of the parts of an encoder, by one of `WAYS`.

    `heads.<layer>` (heads,), `neurons.<layer>` (neurons,), `layers.<layer>` (1,), `hidden` (hidden,). What several
    layers share is listed once, under the first of them.
    """
    model = subject.encoder
    if by == "magnitude":
        found = _magnitudes(model)
    else:
        found = _taylor(subject, context) if by == "taylor" else _activations(subject, context)
    return {name: _of_attention(model, name, each).cpu().numpy() for name, each in found.items()}


def fingerprint(subject: Candidate) -> str:
    """Names a candidate by its shapes, its weights and its tokenizer: what is measured of it can be kept under it."""
    digest = hashlib.sha256(f"{subject.encoder.config}{subject.tokenizer.to_str()}".encode())
    for name, tensor in subject.model.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def most_important(importance: Array, count: int, groups: int = 1) -> Tensor:
    """Numbers of the `count` most important parts, ascending; as many, rounded up, of each of the groups in a row."""
    if groups > 1:
        size, of_group = len(importance) // groups, -(-count // groups)
        return torch.cat(
            [most_important(importance[at : at + size], of_group) + at for at in range(0, len(importance), size)]
        )
    order = np.argsort(-np.asarray(importance), kind="stable")[:count]
    return torch.from_numpy(np.sort(order).astype(np.int64))


def kept_parts(
    importance: Mapping[int, Array],
    share: float,
    budget: str,
    multiple: int = 1,
    whole: Mapping[int, int] | None = None,
) -> dict[int, Tensor]:
    """Numbers of the parts that stay in each layer where `share` of all of them goes.

    `whole` is how many there once were in each layer, where some are gone already: the share is of those.
    With a "uniform" budget every layer loses the same share; with a "global" one the layers compete, each one's
    importance divided by its norm. `multiple` parts stay or go at once, and some stay in every layer.
    """
    whole = whole or {layer: len(each) for layer, each in importance.items()}
    if budget == "uniform":
        return {
            layer: most_important(each, _blocks((1 - share) * whole[layer], multiple) * multiple)
            for layer, each in importance.items()
        }
    ranked = []
    for layer, each in importance.items():
        scores = -np.sort(-np.asarray(each, np.float64)) / max(float(np.linalg.norm(each)), 1e-30)
        ranked += [(-scores[at : at + multiple].sum(), at > 0, layer) for at in range(0, len(scores), multiple)]
    ranked.sort(key=lambda block: (block[1], block[0]))  # the best of every layer first
    total = _blocks((1 - share) * sum(whole.values()), multiple)
    stay = [layer for _, _, layer in ranked[: max(total, len(importance))]]
    return {layer: most_important(each, stay.count(layer) * multiple) for layer, each in importance.items()}


def _blocks(parts: float, multiple: int) -> int:
    return max(1, round(parts / multiple))


@dataclass(frozen=True)
class _Seen:
    """A state that the model computed, and what it would lose without the part."""

    name: str
    state: Tensor
    """(B, T, size)"""
    loss: Tensor
    """(B, T, size)"""
    groups: int | None
    """How many parts the state's dimensions belong to, where they are not parts themselves."""


def _taylor(subject: Candidate, context: Context) -> dict[str, Tensor]:
    model = subject.encoder
    sums: dict[str, Tensor] = {}
    count = 0
    with _recorded(model, training=True) as records, torch.enable_grad():
        for batch, targets in measured_batches(subject, context):
            logits = batch.logits(model)
            gradients = torch.autograd.grad(
                sensitivity(context.task.answer, context.task.loss, logits, targets), [each.state for each in records]
            )
            for seen, gradient in zip(records, gradients, strict=True):
                changes = _grouped((seen.loss.detach() * gradient).sum(dim=1), seen.groups).abs().sum(dim=0)
                changes = changes * len(targets)  # the loss is the mean of a batch
                sums[seen.name] = sums[seen.name] + changes if seen.name in sums else changes
            count += len(targets)
            records.clear()
    return {name: total / count for name, total in sums.items()}


def _activations(subject: Candidate, context: Context) -> dict[str, Tensor]:
    model = subject.encoder
    sums: dict[str, Tensor] = {}
    counts: dict[str, float] = {}
    with _recorded(model, training=False) as records, torch.inference_mode():
        for batch, _ in measured_batches(subject, context):
            model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            for seen in records:
                real = batch.attention_mask[:, : seen.state.shape[1], None].float()
                said = _turned(seen) if seen.name.startswith("layers") else seen.state.square()
                total = (said * real).sum(dim=(0, 1))
                sums[seen.name] = sums[seen.name] + total if seen.name in sums else total
                counts[seen.name] = counts.get(seen.name, 0.0) + real.sum().item()
            records.clear()
    means = {name: total / counts[name] for name, total in sums.items()}
    return {name: _read(model, name, each) for name, each in means.items()}


def _turned(layer: _Seen) -> Tensor:
    """(B, T, 1): one minus the cosine between what a layer was given and what it made of it."""
    return 1 - F.cosine_similarity(layer.state, layer.state - layer.loss, dim=-1).unsqueeze(-1)


def _read(model: Encoder, name: str, mean_square: Tensor) -> Tensor:
    """The importance of parts from the mean square of their outputs; of layers, the mean itself."""
    kind, _, number = name.partition(".")
    if kind == "layers":
        return mean_square
    said = mean_square.sqrt()
    if kind == "heads":
        attention = model.layer(int(number)).attention
        said = (said * _norms(attention.output)).reshape(attention.all_heads, -1).sum(dim=1)
    elif kind == "neurons":
        said = said * _norms(model.layer(int(number)).ffn.output)
    return said


def _magnitude_of_neurons(block: FeedForward) -> Tensor:
    """(neurons,)"""
    reads = block.input.weight.detach().norm(dim=1).reshape(1 + block.gated, -1).norm(dim=0)
    worth: Tensor = reads * _norms(block.output)
    return worth


def _norms(linear: AnyLinear) -> Tensor:
    """(inputs,): of the weights that read each input."""
    norms: Tensor = linear.weight.detach().norm(dim=0)
    return norms


@torch.no_grad()
def _magnitudes(model: Encoder) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {"hidden": torch.zeros(model.config.hidden)}
    for number, shape in enumerate(model.config.layers):
        layer = model.layer(number)
        attention, ffn = layer.attention, layer.ffn
        if shape.attention_of is None:
            reads = attention.qkv.weight.reshape(attention.parts, attention.heads, -1).norm(dim=(0, 2))
            if attention.value is not None:
                reads = reads.hypot(attention.value.weight.reshape(attention.heads, -1).norm(dim=1))
            writes = attention.output.weight.T.reshape(attention.all_heads, -1).norm(dim=1)
            found[f"heads.{number}"] = reads * writes[: attention.heads]
        if shape.ffn_of is None:
            found[f"neurons.{number}"] = torch.stack([_magnitude_of_neurons(each) for each in ffn.blocks]).sum(dim=0)
        written = attention.output.weight.square().sum() + ffn.output.weight.square().sum()
        found[f"layers.{number}"] = written.sqrt().reshape(1)
    for norm in model.residual_norms():
        found["hidden"] = found["hidden"] + norm.weight.abs().cpu()
    return found


def _of_attention(model: Encoder, name: str, importance: Tensor) -> Tensor:
    """The importance of a layer's heads without those of its convolution, which stand behind them."""
    kind, _, number = name.partition(".")
    return importance[: model.layer(int(number)).attention.heads] if kind == "heads" else importance


def _grouped(values: Tensor, groups: int | None) -> Tensor:
    """(B, size) -> (B, groups)"""
    return values if groups is None else values.reshape(len(values), groups, -1).sum(dim=2)


def measured_batches(
    subject: Candidate, context: Context, size: int = BATCH, examples: int = EXAMPLES
) -> Iterator[tuple[Batch, Tensor]]:
    """The examples that importance is measured on, as the candidate reads them, with their targets, by length."""
    model = subject.encoder
    rows = np.random.default_rng(context.seed).permutation(len(context.train))[:examples]
    taken = context.train.take(rows.tolist())
    tokenizer = with_max_length(subject.tokenizer, model.config.positions)
    tokens = tokenize(tokenizer, taken.texts, reads=model.config.reads)
    for places in tokens.in_order(size):
        targets = torch.from_numpy(taken.targets[places])
        yield tokens.batch(places, model.config.padding_id, "cpu"), targets


class Moments:
    """Mean and covariance of the states of real tokens."""

    def __init__(self, size: int) -> None:
        self._count = 0.0
        self._sum = torch.zeros(size, dtype=torch.float64)
        self._products = torch.zeros(size, size, dtype=torch.float64)

    def add(self, states: Tensor, mask: Tensor) -> None:
        """states (B, T, size), mask (B, T)"""
        real = states[mask[:, : states.shape[1]].bool()].double().cpu()
        self._count += len(real)
        self._sum += real.sum(dim=0)
        self._products += real.T @ real

    @property
    def mean(self) -> Tensor:
        return self._sum / self._count

    @property
    def covariance(self) -> Tensor:
        return self.products - torch.outer(self.mean, self.mean)

    @property
    def products(self) -> Tensor:
        """(size, size): the mean of x xᵀ."""
        return self._products / self._count


@contextmanager
def _recorded(model: Encoder, *, training: bool) -> Iterator[list[_Seen]]:
    """Collect the states whose importance is measured, as the model runs.

    In training mode weights are rounded but activations are not, which no gradient would pass.
    """
    records: list[_Seen] = []

    def reads(name: str, groups: int | None = None) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            records.append(_Seen(name, arguments[0], arguments[0], groups))

        return hook

    def normed(_: nn.Module, __: Any, state: Tensor) -> None:
        records.append(_Seen("hidden", state, state, None))

    def changed(name: str) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...], state: Tensor) -> None:
            records.append(_Seen(name, state, state - arguments[0][:, : state.shape[1]], 1))

        return hook

    handles = [norm.register_forward_hook(normed) for norm in model.residual_norms()]
    for number, shape in enumerate(model.config.layers):
        layer: Layer = model.layer(number)
        handles.append(layer.register_forward_hook(changed(f"layers.{number}")))
        outputs: list[tuple[AnyLinear, Any, bool]] = [
            (layer.attention.output, reads(f"heads.{number}", layer.attention.all_heads), shape.attention_of is None),
            *((each.output, reads(f"neurons.{number}"), shape.ffn_of is None) for each in layer.ffn.blocks),
        ]
        handles += [linear.register_forward_pre_hook(hook) for linear, hook, own in outputs if own]
    was_training = model.training
    model.train(training)
    try:
        yield records
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()


@contextmanager
def watch_inputs(hooks: list[tuple[nn.Module, Callable[..., None]]]) -> Iterator[None]:
    """Call each function with the inputs of its module, whenever the model runs."""

    def before(watch: Callable[..., None]) -> Any:
        return lambda _, inputs: watch(*inputs)

    handles = [module.register_forward_pre_hook(before(watch)) for module, watch in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
