"""The estimated time of a recipe's training: a few steps are timed, with the teacher's outputs for a few texts
repeated. Or all steps are counted, and none is run.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from eicompress.answers import TeacherOutputs
from eicompress.contracts import Candidate, Context, Fit, ModelStrategy, Training
from eicompress.encoder.tokens import Batch
from eicompress.recipe import Recipe
from eicompress.training.teacher import TeacherBefore
from eicompress.trials.candidate import applied
from eicompress.values import Text

ASKED = 64
"""Texts that the teacher answers."""
QUICK_S, MORE = 1.0, 4
"""Where that is quicker, it answers this many times as many, since there is less padding among many texts."""
TEXTS = 2048
"""Texts that the steps are drawn from."""
STEPS, WARM_UP = 12, 2
"""How many are taken, and how many of them are not counted."""


@dataclass(frozen=True)
class TimeEstimate:
    """Estimated seconds: of a training at full length, and of what is made once: the teacher's answers, and a training
    that all candidates share."""

    training: float
    teacher: float
    shared: float = 0.0
    epochs: float = 1.0
    """How often a training at full length reads each of its texts."""
    shared_epochs: float = 0.0
    """The same of the training that all candidates share."""


def estimate_time(recipe: Recipe, candidate: Candidate, context: Context) -> TimeEstimate:
    """What training the recipe would take here, estimated in a few seconds.

    `candidate` is the baseline to begin with and may be edited; `context.fit` trains at full length. Raises
    `Inapplicable`.
    """
    fit = _FewSteps(context.fit)
    teacher = _FewAnswers(context.teacher)
    context = replace(context, fit=fit, teacher=teacher)
    shared = _applied(recipe, candidate, context, lambda: len(fit.seconds))
    return TimeEstimate(
        sum(fit.seconds[shared:]),
        sum(teacher.seconds),
        sum(fit.seconds[:shared]),
        sum(fit.epochs),
        sum(fit.epochs[:shared]),
    )


def count_steps(recipe: Recipe, candidate: Candidate, context: Context) -> int:
    """Steps of all trainings of a recipe at full length, but for those that are shared; none of them is taken. As
    `estimate_time` otherwise."""
    fit = _NoSteps()
    context = replace(context, fit=fit, teacher=_FewAnswers(context.teacher))
    shared = _applied(recipe, candidate, context, lambda: len(fit.steps))
    return round(sum(fit.steps[shared:]))


def _applied(recipe: Recipe, candidate: Candidate, context: Context, so_far: Callable[[], int]) -> int:
    """Apply the model steps; how many trainings there were up to the last shared one, 0 without one."""
    shared = 0
    for step in recipe.steps:
        if isinstance(step, ModelStrategy):
            candidate = applied(step, candidate, context)
            shared = so_far() if step.shares_training else shared
    return shared


def _steps(training: Training) -> float:
    learned = len(training.texts) - len(training.held_out)
    return max(1.0, training.epochs * learned / training.batch_size)


@dataclass(frozen=True)
class _NoSteps:
    """A `fit` that trains nothing and notes how many steps it would have taken."""

    steps: list[float] = field(default_factory=list)

    def __call__(self, candidate: Candidate, training: Training) -> None:
        self.steps.append(_steps(training))


@dataclass(frozen=True)
class _FewSteps:
    """A `fit` that times a few steps and estimates the seconds of all steps."""

    fit: Fit
    seconds: list[float] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)

    def __call__(self, candidate: Candidate, training: Training) -> None:
        self.epochs.append(training.epochs)
        steps, texts, begun = _steps(training), training.texts[:TEXTS], []
        if training.prepare is not None:
            read = min(len(training.texts), max(len(texts), round(steps * training.batch_size)))
            training.prepare(np.arange(read))

        def loss(batch: Batch) -> Tensor:
            begun.append(time.perf_counter())
            return training.loss(batch)

        epochs = STEPS * training.batch_size / len(texts)
        self.fit(candidate, replace(training, texts=texts, loss=loss, epochs=epochs, held_out=(), prepare=None))
        self.seconds.append(float(np.median(np.diff(begun)[WARM_UP:])) * steps)


@dataclass(frozen=True)
class _FewAnswers(TeacherBefore):
    """A teacher that computes outputs for a few texts and repeats them for the others, each of which takes its time
    once."""

    seconds: list[float] = field(default_factory=list)
    asked: set[Text] = field(default_factory=set)

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        # By no seed: what was answered before is then met as often as it will be in the training.
        drawn = np.random.default_rng().permutation(len(texts))
        few, more = drawn[:ASKED], drawn[ASKED : (1 + MORE) * ASKED]
        outputs, text_s = self._timed([texts[row] for row in few])
        if text_s * len(few) < QUICK_S and len(more) == MORE * ASKED:
            text_s = self._timed([texts[row] for row in more])[1]
        self.seconds.append(text_s * len({*texts} - self.asked))
        self.asked.update(texts)
        return outputs.take(np.resize(np.arange(len(few)), len(texts)))

    def _timed(self, texts: Sequence[Text]) -> tuple[TeacherOutputs, float]:
        """The outputs for these texts, and the seconds of one text."""
        start = time.perf_counter()
        outputs = self.teacher.outputs(texts)
        return outputs, (time.perf_counter() - start) / len(texts)
