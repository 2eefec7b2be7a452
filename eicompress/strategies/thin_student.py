"""`thin_student`: a student cut out of its teacher, so that it starts from the teacher's own weights.

Heads, feed-forward neurons and residual dimensions are kept by first-order Taylor importance in the teacher.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.contracts import Array, Candidate, Context, ModelStrategy, Origin
from eicompress.encoder.elastic import rounded, spread
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.training.importance import measure_importance, most_important
from eicompress.training.token_counts import with_needed_positions


@dataclass(frozen=True)
class ThinStudent(ModelStrategy):
    """Keep some layers, and a share of the heads, the neurons and the hidden width.

    With no layers left the student is a static-embedding model: the mean of its word vectors, then the head.
    """

    layers: Annotated[int, IntDistribution(0, 24)] = 3
    """How many layers to keep."""
    from_layers: Annotated[str, CategoricalDistribution(("spread", "first", "ends"))] = "spread"
    """Which layers: evenly spread up to the last one, the first ones, or the first ones and the last."""
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
    example: ClassVar[Mapping[str, Any]] = {"layers": 2}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        count = len(model.layers)
        if self.layers > count:
            raise Inapplicable(f"`{self.name}.layers` is {self.layers}, but the model has {count} layers")
        self._check(subject, context)
        importance = context.cache("importance", lambda: measure_importance(context.baseline, context))
        numbers = chosen_layers(count, self.layers, self.from_layers)
        sources = [subject.origin.layers[number] for number in numbers]
        model.keep_layers(numbers)
        for place, source in enumerate(sources):
            _thin_layer(model, place, _of_layer(importance, context.baseline, source), self)
        worth = importance["hidden"][list(subject.origin.hidden)]
        hidden = most_important(worth, _width(model, self.hidden), model.config.hidden_groups)
        if len(hidden) < model.config.hidden:
            model.keep_hidden(hidden)
        if not numbers:
            model.pool_by_mean()
        origin = Origin(tuple(sources), tuple(subject.origin.hidden[each] for each in hidden.tolist()))
        made, facts = with_needed_positions(replace(subject, origin=origin), self.length_coverage, context)
        return replace(made, facts={**made.facts, self.name: facts})

    def _check(self, subject: Candidate, context: Context) -> None:
        """Importance is of the baseline's heads and neurons, so the layers must still have all of them."""
        model, baseline = subject.encoder, context.baseline.encoder
        whole = [baseline.config.layers[source] for source in subject.origin.layers]
        if list(model.config.layers) != whole:
            raise Inapplicable(f"`{self.name}` cuts layers as the baseline has them: put it before what changes them")


def chosen_layers(count: int, kept: int, how: str) -> list[int]:
    """Numbers of the `kept` layers of `count`."""
    if how == "first":
        return list(range(kept))
    if how == "ends" and kept > 1:
        return [*range(kept - 1), count - 1]
    return spread(count, kept)


def _of_layer(importance: Mapping[str, Array], baseline: Candidate, source: int) -> tuple[Array, Array]:
    """Importance of the heads and neurons of a layer of the baseline, which an earlier layer may own."""
    shape = baseline.encoder.config.layers[source]
    attention, ffn = (source if owner is None else owner for owner in (shape.attention_of, shape.ffn_of))
    return importance[f"heads.{attention}"], importance[f"neurons.{ffn}"]


def _thin_layer(model: Encoder, place: int, importance: tuple[Array, Array], knobs: ThinStudent) -> None:
    """Narrow a layer; what it shares with an earlier one was narrowed there."""
    shape = model.config.layers[place]
    heads, neurons = max(1, round(knobs.heads * shape.heads)), rounded(knobs.neurons * shape.ffn, shape.ffn)
    if heads < shape.heads and shape.attention_of is None:
        model.keep_heads(place, most_important(importance[0], heads))
    if neurons < shape.ffn and shape.ffn_of is None:
        model.keep_neurons(place, most_important(importance[1], neurons, shape.ffn_groups))


def _width(model: Encoder, share: float) -> int:
    return rounded(share * model.config.hidden, model.config.hidden)
