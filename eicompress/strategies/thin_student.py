"""`thin_student`: a student cut out of its teacher, so that it starts from the teacher's own weights.

Heads and feed-forward neurons are kept by first-order Taylor importance (Michel et al., arXiv 1905.10650;
Molchanov et al., arXiv 1611.06440): the mean over examples of |sum over tokens of x * dL/dx|.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from eicompress.contracts import Array, Candidate, Context, ModelStrategy, Origin
from eicompress.encoder.blocks import LayerNorm
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import tokenize
from eicompress.encoder.vocabulary import with_max_length
from eicompress.errors import Inapplicable

EXAMPLES = 512
"""Training examples that importance is measured on."""
MULTIPLE = 8
"""Widths are rounded to a multiple of this, which matrix kernels like."""


@dataclass(frozen=True)
class ThinStudent(ModelStrategy):
    """Keep some layers, and a share of the heads, the neurons and the hidden width.

    With no layers left the student is a static-embedding model: the mean of its word vectors, then the head.
    """

    layers: Annotated[int, IntDistribution(0, 24)] = 3
    """How many layers to keep."""
    from_layers: Annotated[str, CategoricalDistribution(("spread", "first", "ends"))] = "spread"
    """Which: evenly spread up to the last one, the first ones, or the first ones and the last."""
    heads: Annotated[float, FloatDistribution(0.05, 1.0)] = 1.0
    """Share of each layer's heads."""
    neurons: Annotated[float, FloatDistribution(0.02, 1.0)] = 0.25
    """Share of each layer's feed-forward neurons."""
    hidden: Annotated[float, FloatDistribution(0.1, 1.0)] = 1.0
    """Share of the residual width."""
    length_coverage: Annotated[float, FloatDistribution(0.5, 1.0)] = 0.999
    """Share of the training texts that must fit the positions kept; longer texts are cut."""

    name: ClassVar[str] = "thin_student"
    paper: ClassVar[str] = "Patient knowledge distillation, arXiv 1908.09355; head importance, arXiv 1905.10650"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.model
        if not isinstance(model, Encoder):
            raise Inapplicable(f"`{self.name}` acts on an encoder, but got {type(model).__name__}")
        count = len(model.layers)
        if self.layers > count:
            raise Inapplicable(f"`{self.name}.layers` is {self.layers}, but the model has {count} layers")
        self._check(subject, context)
        importance = context.cache("importance", lambda: measure_importance(context))
        numbers = chosen_layers(count, self.layers, self.from_layers)
        sources = [subject.origin.layers[number] for number in numbers]
        model.keep_layers(numbers)
        for place, source in enumerate(sources):
            _thin_layer(model, place, importance, source, self)
        hidden = _most_important(importance["hidden"][list(subject.origin.hidden)], _width(model, self.hidden))
        if len(hidden) < model.config.hidden:
            model.keep_hidden(hidden)
        if not numbers:
            model.pool_by_mean()
        origin = Origin(tuple(sources), tuple(subject.origin.hidden[each] for each in hidden.tolist()))
        return _shortened(replace(subject, origin=origin), self, context)

    def _check(self, subject: Candidate, context: Context) -> None:
        """Importance is of the baseline's heads and neurons, so the layers must still have all of them."""
        model, baseline = subject.model, context.baseline.model
        assert isinstance(model, Encoder) and isinstance(baseline, Encoder)
        whole = [baseline.config.layers[source] for source in subject.origin.layers]
        if list(model.config.layers) != whole:
            raise Inapplicable(f"`{self.name}` cuts layers as the baseline has them: put it before what changes them")


def chosen_layers(count: int, kept: int, how: str) -> list[int]:
    """Numbers of the `kept` layers of `count`."""
    if how == "first":
        return list(range(kept))
    if how == "ends" and kept > 1:
        return [*range(kept - 1), count - 1]
    return [math.ceil((place + 1) * count / kept) - 1 for place in range(kept)]


def _thin_layer(model: Encoder, place: int, importance: Mapping[str, Array], source: int, knobs: ThinStudent) -> None:
    shape = model.config.layers[place]
    heads = _most_important(importance[f"heads.{source}"], max(1, round(knobs.heads * shape.heads)))
    if len(heads) < shape.heads:
        model.keep_heads(place, heads)
    neurons = _rounded(knobs.neurons * shape.ffn, shape.ffn)
    if neurons < shape.ffn:
        model.keep_neurons(place, _most_important(importance[f"neurons.{source}"], neurons))


def _width(model: Encoder, share: float) -> int:
    return _rounded(share * model.config.hidden, model.config.hidden)


def _rounded(width: float, most: int) -> int:
    return min(most, max(MULTIPLE, round(width / MULTIPLE) * MULTIPLE))


def _most_important(importance: Array, count: int) -> Tensor:
    order = np.argsort(-np.asarray(importance), kind="stable")[:count]
    return torch.from_numpy(np.sort(order).astype(np.int64))


def _shortened(subject: Candidate, knobs: ThinStudent, context: Context) -> Candidate:
    """Keep as many positions as the training texts need, and cut longer texts there."""
    model = subject.model
    assert isinstance(model, Encoder)
    lengths = np.sort(tokenize(with_max_length(subject.tokenizer, model.config.positions), context.train.texts).lengths)
    needed = int(lengths[min(len(lengths) - 1, math.ceil(knobs.length_coverage * len(lengths)) - 1)])
    positions = _rounded(math.ceil(needed / MULTIPLE) * MULTIPLE, model.config.positions)
    model.keep_positions(positions)
    cut = float((lengths > positions).mean())
    facts = {**subject.facts, knobs.name: {"positions": positions, "share_of_training_texts_cut": cut}}
    return replace(subject, tokenizer=with_max_length(subject.tokenizer, positions), facts=facts)


def measure_importance(context: Context) -> dict[str, Array]:
    """Taylor importance of the baseline's parts on training examples.

    `heads.<layer>` (heads,), `neurons.<layer>` (neurons,), `hidden` (hidden,).
    """
    model, tokenizer = context.baseline.model, context.baseline.tokenizer
    assert isinstance(model, Encoder)
    rows = np.random.default_rng(context.seed).permutation(len(context.train))[:EXAMPLES]
    examples = context.train.take(rows.tolist())
    tokens = tokenize(with_max_length(tokenizer, model.config.positions), examples.texts)
    sums: dict[str, Tensor] = {}
    with _recorded(model) as records, torch.enable_grad():
        for start in range(0, len(examples), 64):
            batch = tokens.batch(
                np.arange(start, min(start + 64, len(examples))), model.config.padding_id, context.device
            )
            logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            targets = torch.from_numpy(examples.targets[start : start + 64]).to(context.device)
            loss = context.task.loss(logits, targets)
            gradients = torch.autograd.grad(loss, [state for _, state in records])
            for (name, state), gradient in zip(records, gradients, strict=True):
                taylor = (state.detach() * gradient).sum(dim=1)
                heads = model.config.layers[int(name.split(".")[1])].heads if name.startswith("heads") else None
                grouped = taylor if heads is None else taylor.reshape(len(taylor), heads, -1).sum(dim=2)
                sums[name] = sums.get(name, torch.zeros(())) + grouped.abs().sum(dim=0).cpu()
            records.clear()
    return {name: (total / len(examples)).numpy() for name, total in sums.items()}


@contextmanager
def _recorded(model: Encoder) -> Iterator[list[tuple[str, Tensor]]]:
    """Collect the states whose importance is measured, as the model runs."""
    records: list[tuple[str, Tensor]] = []

    def inputs_as(name: str) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            records.append((name, arguments[0]))

        return hook

    def output(_: nn.Module, __: Any, state: Tensor) -> None:
        records.append(("hidden", state))

    handles = []
    for number in range(len(model.layers)):
        layer = model.layer(number)
        handles.append(layer.attention.output.register_forward_pre_hook(inputs_as(f"heads.{number}")))
        handles.append(layer.ffn.output.register_forward_pre_hook(inputs_as(f"neurons.{number}")))
    handles += [module.register_forward_hook(output) for module in model.modules() if isinstance(module, LayerNorm)]
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()
