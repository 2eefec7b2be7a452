"""`starting_point`: encoders that learned the states of a sentence encoder on general English, before any task.

Their weights ship with this package, in 8 bits: three encoders that read one whole vocabulary through the same
factorized table. `make` trains them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution

from eicompress import Candidate, Context, Encoder, Inapplicable, ModelStrategy, Origin, Strategy, hookimpl
from eicompress.answers import Answer, MultiTask
from eicompress.contracts import Array
from eicompress.encoder.heads import answer_words
from eicompress.training.regression import least_squares
from eicompress.training.teacher import answers_of
from eicompress.training.token_counts import with_needed_positions
from eicompress_starts.weights import NAMES, SHA256, load

EICOMPRESS_INTERFACE = 1
TEXTS_OF_WORDS = 2_000
"""Texts at most whose words are read, since each has many."""
ROWS = 50_000
"""Texts or words at most that a classifier is fitted to."""
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""On the squared weights of the classifier. Below 0.1, weights fitted to many rows grow too large for 2 bits."""


@dataclass(frozen=True)
class StartingPoint(ModelStrategy):
    """Start from an encoder that learned general English, instead of one cut out of the baseline.

    Its classifier is the best linear one for the teacher's logits of the training texts, or of their words: least
    squares with a penalty chosen by generalized cross-validation, for each of several tasks of its own. Any baseline
    may be the teacher, with any tokenizer; of one that is no MiniLM of width 384 the layers and dimensions that it
    corresponds to are arbitrary, so that losses between states mean little.
    Facts: `positions` and `share_of_training_texts_cut`, and the `penalties`.
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
        answer, loaded = context.task.answer, load(self.encoder, context.task.answer.outputs)
        if answer.per_word:
            answer_words(loaded.encoder, answer.word_outputs)
        loaded.encoder.config = replace(loaded.encoder.config, unit=answer.unit)
        start, facts = with_needed_positions(
            replace(loaded, facts=subject.facts, texts=subject.texts), self.length_coverage, context
        )
        start = replace(start, origin=_within(start.origin, context.baseline.encoder))
        if not context.preview:
            facts["penalties"] = self._set_classifier(start, context)
        return replace(start, facts={**start.facts, self.name: facts})

    def _set_classifier(self, start: Candidate, context: Context) -> list[float]:
        """Read the teacher's logits off the states of this encoder as well as a linear map can; the penalties taken,
        one for each task, or for begin and end of an answer."""
        texts, classifier, answer = context.train.texts, start.encoder.classifier, context.task.answer
        if answer.per_word and len(texts) > TEXTS_OF_WORDS:
            drawn = np.random.default_rng(context.seed).permutation(len(texts))[:TEXTS_OF_WORDS]
            texts = tuple(texts[at] for at in sorted(drawn.tolist()))

        def compute() -> dict[str, Array]:
            return {"states": answers_of(start, texts, context.compute_device)[1]}

        words = f" words {context.seed}" if answer.per_word else ""
        key = f"{self.name} {self.encoder} {SHA256} {self.length_coverage}{words}"
        states, wanted = context.cache(key, compute)["states"], context.teacher.outputs(texts).logits
        penalties = []
        for own, read, answers in _readings(answer, states, wanted):
            # Zeros are words that were not read, and tasks to which a text does not belong.
            known = np.flatnonzero(read.any(axis=1) & answers.any(axis=1))
            if len(known) > ROWS:
                known = np.random.default_rng(context.seed).choice(known, ROWS, replace=False)
            weight, bias, penalty = least_squares(
                read[known].astype(np.float64), answers[known].astype(np.float64), PENALTIES
            )
            with torch.no_grad():
                classifier.weight[own] = torch.from_numpy(weight).float()
                classifier.bias[own] = torch.from_numpy(bias).float()
            penalties.append(penalty)
        return penalties


def _readings(answer: Answer, states: Array, wanted: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Outputs that are fitted together, with the states (rows, width) that they are read off and their values (rows,
    outputs): all of them; those of each task; or the begin of an answer, read off the first token of a word, and its
    end, off the last one."""
    if answer.windowed:
        width = states.shape[-1] // 2
        for side in (0, 1):
            read = states[..., side * width : (side + 1) * width]
            yield slice(side, side + 1), *_rows(read, wanted[:, 1:, side : side + 1])
        return
    for own in [each.own for each in answer.places] if isinstance(answer, MultiTask) else [slice(None)]:
        yield own, *_rows(states, wanted[..., own])


def _rows(states: Array, wanted: Array) -> tuple[Array, Array]:
    """Both as (n, width): of texts as they are, of words those that both have read, all texts' in one list."""
    if states.ndim > 2:
        words = min(states.shape[1], wanted.shape[1])
        states, wanted = states[:, :words], wanted[:, :words]
    return states.reshape(-1, states.shape[-1]), wanted.reshape(-1, wanted.shape[-1])


def _within(origin: Origin, baseline: Encoder) -> Origin:
    """The origin as it is, where the baseline has such layers and dimensions; otherwise others of its."""
    layers, width = len(baseline.layers), baseline.config.hidden
    return Origin(tuple(each % max(1, layers) for each in origin.layers), tuple(each % width for each in origin.hidden))


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [StartingPoint]
