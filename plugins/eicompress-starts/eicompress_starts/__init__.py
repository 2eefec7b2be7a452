"""`starting_point`: encoders that learned the states of a sentence encoder on general English, before any task.

Their weights ship with this package, in 8 bits: three encoders that read one whole vocabulary through the same
factorized table. `make` trains them.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution

from eicompress import Candidate, Context, Encoder, Inapplicable, ModelStrategy, Origin, Strategy, hookimpl
from eicompress.contracts import Array
from eicompress.training.regression import least_squares
from eicompress.training.teacher import answers_of
from eicompress.training.token_counts import with_needed_positions
from eicompress_starts.weights import NAMES, SHA256, load

EICOMPRESS_INTERFACE = 1
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""On the squared weights of the classifier. Below 0.1, weights fitted to many rows grow too large for 2 bits."""


@dataclass(frozen=True)
class StartingPoint(ModelStrategy):
    """Start from an encoder that learned general English, instead of one cut out of the baseline.

    Its classifier is the best linear one for the teacher's logits of the training texts: least squares with a penalty
    chosen by generalized cross-validation. Any baseline may be the teacher, with any tokenizer; of one that is no
    MiniLM of width 384 the layers and dimensions that it corresponds to are arbitrary, so that losses between states
    mean little.
    Facts: `positions` and `share_of_training_texts_cut`, and the `penalty`.
    """

    encoder: Annotated[Literal["minilm-0", "minilm-1", "minilm-3"], CategoricalDistribution(NAMES)] = "minilm-1"
    """By the number of its layers."""
    length_coverage: Annotated[float, FloatDistribution(0.5, 1.0)] = 0.999
    """Share of the training texts that must fit the positions kept; longer texts are cut."""

    name: ClassVar[str] = "starting_point"
    paper: ClassVar[str] = "TinyBERT's general distillation, arXiv 1909.10351; MiniLM, arXiv 2002.10957"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        if subject.encoder.config != context.baseline.encoder.config:
            raise Inapplicable(f"`{self.name}` takes the place of the whole model: put it before all other steps")
        start, facts = with_needed_positions(
            replace(load(self.encoder, context.task.answer.outputs), facts=subject.facts, texts=subject.texts),
            self.length_coverage,
            context,
        )
        start = replace(start, origin=_within(start.origin, context.baseline.encoder))
        if not context.preview:
            facts["penalty"] = self._set_classifier(start, context)
        return replace(start, facts={**start.facts, self.name: facts})

    def _set_classifier(self, start: Candidate, context: Context) -> float:
        """Read the teacher's logits off the states of this encoder as well as a linear map can; the penalty taken."""
        texts, model = context.train.texts, start.encoder

        def compute() -> dict[str, Array]:
            return {"states": answers_of(start, texts, context.compute_device)[1]}

        key = f"{self.name} {self.encoder} {SHA256} {self.length_coverage}"
        states = np.asarray(context.cache(key, compute)["states"], np.float64)
        wanted = np.asarray(context.teacher.outputs(texts).logits, np.float64)
        weight, bias, penalty = least_squares(states, wanted, PENALTIES)
        with torch.no_grad():
            model.classifier.weight.copy_(torch.from_numpy(weight))
            model.classifier.bias.copy_(torch.from_numpy(bias))
        return penalty


def _within(origin: Origin, baseline: Encoder) -> Origin:
    """The origin as it is, where the baseline has such layers and dimensions; otherwise others of its."""
    layers, width = len(baseline.layers), baseline.config.hidden
    return Origin(tuple(each % max(1, layers) for each in origin.layers), tuple(each % width for each in origin.hidden))


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [StartingPoint]
