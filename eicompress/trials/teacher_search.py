"""The best teacher that a model and its training rows allow within a time.

A linear classifier on the model's states comes first: its penalty, and how the states are pooled, are chosen on
held-out training rows. From there all weights are trained (after LP-FT, arXiv 2202.10054) as `teacher_schedule` has it.
What won is trained again on all rows, and its logits are scaled.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch

from eicompress.answers.words import fitted
from eicompress.cache import Cache
from eicompress.contracts import Array, Candidate, Examples, Task, Training
from eicompress.errors import ModelError
from eicompress.training.linear_probe import calibrated, linear_classifiers
from eicompress.training.teacher import answers_of
from eicompress.training.trainer import Checkpoints, Diverged, Trainer
from eicompress.trials import candidate as candidates
from eicompress.trials.taught import Attempt, Pooling, Taught
from eicompress.trials.teacher_schedule import LEARNING_RATES, LEAST_STEPS, Schedule, best_of
from eicompress.trials.teacher_training import (
    TIMED_STEPS,
    folds_of,
    pooled,
    scale_logits,
    set_classifier,
    timed_step_s,
    training_of,
)
from eicompress.values import Progress, digest_of

FINETUNE_RATE, FINETUNE_EPOCHS = 5e-5, 4.0
"""Of plain fine-tuning."""
UNJUDGED = "one short training alone, with nothing held out"
"""What is done in too little time for a task without a linear classifier."""


@dataclass(frozen=True)
class TeacherSearch:
    """Looks for the best teacher that one model makes for one task."""

    source: Candidate
    """Never changed: each training starts from a copy of it."""
    poolings: tuple[Pooling, ...]
    task: Task
    train: Examples
    seed: int
    device: str
    limit_s: float
    cache: Cache
    key: object
    """Names model, data and code: what was tried before for the same key is not tried again."""
    progress: Callable[[Progress], None]
    on_attempt: Callable[[Attempt], None]
    clock: Callable[[], float] = time.monotonic

    def finetuned(self) -> Taught:
        """All weights trained at one rate for a set length, from a new head: nothing is chosen."""
        pooling: Pooling = "none" if self.task.answer.reads == "words" else "first"
        attempt = Attempt(pooling, learning_rate=FINETUNE_RATE, epochs=FINETUNE_EPOCHS, words=_reads_both(self.task))
        candidate = self._pooled(pooling)
        self._fit(candidate, attempt, np.arange(len(self.train)), self.seed, rate_steps=0)
        return Taught((candidate,), self.task.answer, attempt, ())

    def run(self, members: int = 1, *, linear_only: bool = False) -> Taught:
        """The best teacher found in the time, trained on all rows once for each member."""
        ends = self.clock() + self.limit_s
        if not self.task.answer.probed and linear_only:
            raise ModelError(
                f"`--teacher-training probe` must have a task with a linear {self.task.answer.head}, but got "
                f"`{self.task.name}`, of which all weights are trained: give teach or finetune"
            )
        attempts, notes = list(self._linear_attempts()), list[str]()
        linear = best_of(attempts) if attempts else Attempt(self.poolings[0], words=_reads_both(self.task))
        if not linear_only:
            schedule = Schedule(len(self.train), self._folds, members, lambda: ends - self.clock())
            train = partial(self._all_weights, linear)
            epoch_s = self._timed_epoch_s(linear)
            epochs = schedule.first_epochs(epoch_s)
            tried = list(schedule.at_rates(train, epochs, epoch_s))
            trained = [each for each in tried if each is not None]
            attempts += trained
            if trained:
                attempts += schedule.longer(train, best_of(trained))
            if not attempts:
                linear = replace(linear, learning_rate=LEARNING_RATES[0], epochs=schedule.only_epochs(epoch_s))
            head = f"the linear {self.task.answer.head} alone" if self.task.answer.probed else UNJUDGED
            notes += schedule.notes(self.limit_s, len(tried), epochs, epoch_s, head)
        chosen = best_of(attempts or [linear])
        # A single member is cached by the caller.
        make = self._member if members > 1 else self._trained
        made = tuple(make(chosen, self.seed + number) for number in range(members))
        return Taught(made, self.task.answer, chosen, tuple(attempts), tuple(notes))

    @cached_property
    def _folds(self) -> list[Array]:
        return folds_of(self.task.answer.strata(self.train.targets), self.seed)

    def _timed_epoch_s(self, linear: Attempt) -> float:
        """Seconds of an epoch over all rows, from a few steps of it."""
        rows = np.arange(min(len(self.train), TIMED_STEPS * Training.batch_size))
        candidate = self._pooled(linear.pooling)
        attempt = replace(linear, learning_rate=min(LEARNING_RATES))
        training = training_of(candidate, self.task, self.train.take(rows.tolist()), attempt)
        step_s = timed_step_s(candidate, training, self.seed, self.device, self.clock)
        return step_s * len(self.train) / Training.batch_size

    # A linear classifier.

    def _linear_attempts(self) -> Iterator[Attempt]:
        for pooling in self.poolings if self.task.answer.probed else ():
            begun = self.clock()
            features = self._features(pooling)
            held_out = np.concatenate(self._folds)
            logits: dict[float, list[Array]] = {}
            for rows in self._folds:
                for penalty, (weight, bias) in self._classifiers(features, self._others(rows)).items():
                    logits.setdefault(penalty, []).append(self._linear_logits(features[rows], weight, bias))
            seconds, head = (self.clock() - begun) / len(logits), f"linear {self.task.answer.head}"
            attempt = Attempt(pooling, seconds=seconds, head=head, words=_reads_both(self.task))
            for penalty, of in logits.items():
                yield self._judged(replace(attempt, penalty=penalty), np.concatenate(of), self.train.targets[held_out])

    def _classifiers(self, features: Array, rows: Array) -> dict[float, tuple[Array, Array]]:
        """Weights (outputs, width) and bias (outputs,) by penalty, learned from these rows."""
        found = linear_classifiers(self.task, features[rows], self.train.targets[rows])
        return {penalty: (weight, bias) for penalty, weight, bias in found}

    def _linear_logits(self, features: Array, weight: Array, bias: Array) -> Array:
        """(n, outputs); of words (n, W, outputs), with zeros for one that was not read."""
        logits: Array = features @ weight.T + bias
        return logits * features.any(axis=-1, keepdims=True) if self.task.answer.per_word else logits

    def _features(self, pooling: Pooling) -> Array:
        """(n, hidden) in single precision: what the classifier reads of each training row; of words (n, W, hidden) in
        half precision, since they are many."""

        def compute() -> Mapping[str, Array]:
            candidate = self._pooled(pooling)
            states = answers_of(candidate, self.train.texts, self.device, self._texts_read())[1]
            if self.task.answer.per_word:
                return {"features": states}
            states = states.astype(np.float32)
            with torch.inference_mode():
                return {"features": candidate.encoder.features(torch.from_numpy(states)).numpy()}

        return np.array(self.cache.arrays("teacher-features", [self.key, pooling], compute)["features"])

    # All weights.

    def _all_weights(self, linear: Attempt, rate: float, epochs: float) -> Attempt | None:
        """What comes of training all weights; None where the training diverges."""
        attempt = replace(linear, learning_rate=rate, epochs=epochs)
        held_out = np.concatenate(self._folds)

        def compute() -> Mapping[str, Array]:
            begun = self.clock()
            logits = []
            for rows in self._folds:
                candidate = self._fitted(attempt, self._others(rows), self.seed)
                answers, _ = answers_of(candidate, self.train.take(rows.tolist()).texts, self.device, states=False)
                logits.append(answers)
            if self.task.answer.per_word:
                widest = max(each.shape[1] for each in logits)
                logits = [fitted(each, widest) for each in logits]
            return {"logits": np.concatenate(logits), "seconds": np.array(self.clock() - begun)}

        key = [self.key, self.seed, linear.pooling, linear.penalty, rate, epochs]
        try:
            found = self.cache.arrays("teacher-attempt", key, compute)
        except Diverged:
            return None
        logits = np.asarray(found["logits"], np.float32)
        attempt = replace(attempt, seconds=float(found["seconds"]))
        return self._judged(attempt, logits, self.train.targets[held_out])

    def _member(self, attempt: Attempt, seed: int) -> Candidate:
        """As `_trained`, stored in the cache: a run that was killed between two members goes on with the next."""
        made_by = [attempt.pooling, attempt.penalty, attempt.learning_rate, attempt.epochs, attempt.scale]
        return candidates.load(
            self.cache.kept(
                "teacher-member",
                [self.key, made_by, seed],
                lambda folder: candidates.save(self._trained(attempt, seed), folder),
            )
        )

    def _trained(self, attempt: Attempt, seed: int) -> Candidate:
        """A teacher that learned from all rows, its logits scaled."""
        candidate = self._fitted(attempt, np.arange(len(self.train)), seed)
        scale_logits(candidate, attempt.scale)
        return candidate

    def _fitted(self, attempt: Attempt, rows: Array, seed: int) -> Candidate:
        """The model with a linear classifier of these rows, if there is one, and all its weights trained if the attempt
        says so."""
        candidate = self._pooled(attempt.pooling)
        if self.task.answer.probed:
            set_classifier(candidate, *self._classifiers(self._features(attempt.pooling), rows)[attempt.penalty])
        if attempt.learning_rate:
            self._fit(candidate, attempt, rows, seed)
        return candidate

    def _fit(
        self, candidate: Candidate, attempt: Attempt, rows: Array, seed: int, rate_steps: int = LEAST_STEPS
    ) -> None:
        """Train all weights on these rows."""
        key = [self.key, attempt.epochs, attempt.learning_rate, digest_of(rows.tolist()), seed]
        fit = Trainer(seed, 1.0, self.device, self._report, Checkpoints(self.cache, key))
        fit(candidate, training_of(candidate, self.task, self.train.take(rows.tolist()), attempt, rate_steps))

    # Common to both.

    def _pooled(self, pooling: Pooling) -> Candidate:
        return pooled(self.source, pooling, self.task.answer.word_outputs)

    def _others(self, held_out: Array) -> Array:
        return np.setdiff1d(np.arange(len(self.train)), held_out)

    def _judged(self, attempt: Attempt, logits: Array, targets: Array) -> Attempt:
        scale, loss = calibrated(self.task, logits, targets)
        judged = replace(attempt, quality=self.task.best_score(logits, targets), loss=loss, scale=scale)
        self.on_attempt(judged)
        return judged

    def _report(self, progress: Progress) -> None:
        self.progress(replace(progress, phase="teacher"))

    def _texts_read(self) -> Callable[[int], None]:
        """A progress that is given the number of texts of each batch."""
        done = 0

        def count_batch(count: int) -> None:
            nonlocal done
            done += count
            self.progress(Progress("teacher", done, len(self.train)))

        return count_batch


def _reads_both(task: Task) -> bool:
    """Whether some heads read pooled states and others those of words."""
    return task.answer.reads == "both"
