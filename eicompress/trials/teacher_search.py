"""The best teacher that a model and its training rows allow within a time.

A linear classifier on the model's states comes first: its penalty, and how the states are pooled, are chosen on
held-out training rows. From there all weights are trained, at a few learning rates for a short while, then at the best
of them for longer, as long as the held-out rows gain (after LP-FT, arXiv 2202.10054). What won is trained again on all
rows. Logits are scaled so that the loss on the held-out rows is least (arXiv 1706.04599): a student learns from
probabilities, and those of a classifier that is too sure, or not sure enough, say little.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from eicompress.cache import Cache
from eicompress.contracts import Array, Candidate, Examples, Task, Training
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch
from eicompress.training.teacher import answers_of, ignore
from eicompress.training.trainer import Checkpoints, Diverged, Trainer
from eicompress.trials import candidate as candidates
from eicompress.trials.taught import Attempt, Pooling, Taught
from eicompress.values import Progress, digest_of, seed_of

PENALTIES = (2e-2, 6e-3, 2e-3, 6e-4, 2e-4)
"""Of the sum of a linear classifier's squared weights, on standardized states; the flattest answers first."""
LEAST_DEVIATION = 0.1
"""Dimensions that deviate less than this share of the median are not scaled up to the others."""
PENALTY_STEPS = 100
"""L-BFGS iterations at each penalty, which begins where the one before it ended."""
LEARNING_RATES = (1e-4, 3e-5, 3e-4)
"""In the order in which they are tried."""
LEAST_EPOCHS, LEAST_STEPS = 2.0, 300
"""The first trainings take both at least; where rows are few, the steps decide."""
LONGEST = 8.0
"""The longest training, as a multiple of the first ones."""
FINETUNE_RATE, FINETUNE_EPOCHS = 5e-5, 4.0
"""Of plain fine-tuning."""
LAYER_DECAY = 0.9
"""Each layer learns at this share of the rate of the one above it (ULMFiT, arXiv 1801.06146)."""
HELD_OUT_SHARE, MOST_HELD_OUT = 0.2, 2000
ENOUGH_HELD_OUT, MOST_FOLDS = 800, 5
"""Where one part of the rows is smaller than this, several are held out in turn."""
TIMED_STEPS = 8
"""From which the time of a training is estimated, until one was run."""
SCALES = np.geomspace(0.25, 4.0, 33)
"""What logits are multiplied by, to choose from."""


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
    _started: list[float] = field(default_factory=list, init=False, repr=False)

    def finetuned(self) -> Taught:
        """All weights trained at one rate for a set length, from a new head: nothing is chosen."""
        attempt = Attempt("first", learning_rate=FINETUNE_RATE, epochs=FINETUNE_EPOCHS)
        candidate = self._pooled("first")
        self._fit(candidate, attempt, np.arange(len(self.train)), self.seed)
        return Taught((candidate,), tuple(self.task.labels), attempt, ())

    def run(self, members: int = 1, *, linear_only: bool = False) -> Taught:
        """The best teacher found in the time, trained on all rows once for each member."""
        self._started[:] = [self.clock()]
        attempts, notes = list(self._linear_attempts()), []
        linear = _best(attempts)
        if not linear_only:
            epoch_s = self._timed_epoch_s(linear)
            tried = list(self._at_rates(linear, epoch_s, members))
            trained = [each for each in tried if each is not None]
            attempts += trained
            if trained:
                attempts += self._longer(linear, _best(trained), members)
            if len(tried) < len(LEARNING_RATES):
                notes.append(_too_short(self.limit_s, len(tried), epoch_s, self._first_epochs))
        chosen = _best(attempts)
        # A single member is cached by the caller.
        train = self._member if members > 1 else self._trained
        made = tuple(train(chosen, self.seed + number) for number in range(members))
        return Taught(made, tuple(self.task.labels), chosen, tuple(attempts), tuple(notes))

    # What is tried, and for how long.

    @property
    def _left_s(self) -> float:
        return self.limit_s - (self.clock() - self._started[0])

    @property
    def _first_epochs(self) -> float:
        return max(LEAST_EPOCHS, LEAST_STEPS * Training.batch_size / len(self.train))

    def _at_rates(self, linear: Attempt, epoch_s: float, members: int) -> Iterator[Attempt | None]:
        """The first trainings, one for each learning rate, while there is time; None for one that diverged."""
        for rate in LEARNING_RATES:
            if not self._time_for(self._first_epochs, epoch_s, members):
                return
            attempt = self._all_weights(linear, rate, self._first_epochs)
            yield attempt
            if attempt is not None:
                epoch_s = self._epoch_s(attempt)

    def _longer(self, linear: Attempt, best: Attempt, members: int) -> Iterator[Attempt]:
        """Twice the length, as long as that gains and time allows."""
        while best.epochs * 2 <= self._first_epochs * LONGEST:
            if not self._time_for(best.epochs * 2, self._epoch_s(best), members):
                return
            longer = self._all_weights(linear, best.learning_rate, best.epochs * 2)
            if longer is None:
                return
            yield longer
            if _best([longer, best]) is best:
                return
            best = longer

    def _time_for(self, epochs: float, epoch_s: float, members: int) -> bool:
        """Whether there is time for an attempt, and then for as long a training of each member."""
        return self._attempt_s(epoch_s, epochs) + members * epochs * epoch_s <= self._left_s

    def _epoch_s(self, attempt: Attempt) -> float:
        """Seconds of an epoch over all rows, as an attempt took them."""
        return attempt.seconds / self._attempt_s(1.0, attempt.epochs)

    def _attempt_s(self, epoch_s: float, epochs: float) -> float:
        """Seconds of an attempt, given the seconds of an epoch over all rows."""
        learned = sum(len(self.train) - len(held_out) for held_out in self._folds) / len(self.train)
        return epoch_s * epochs * learned

    def _timed_epoch_s(self, linear: Attempt) -> float:
        """Seconds of an epoch over all rows, from a few steps of it."""
        rows = np.arange(min(len(self.train), TIMED_STEPS * Training.batch_size))
        begun: list[float] = []
        candidate = self._pooled(linear.pooling)
        training = self._training(candidate, replace(linear, learning_rate=min(LEARNING_RATES)), rows)

        def loss(batch: Batch) -> torch.Tensor:
            begun.append(self.clock())
            return training.loss(batch)

        epochs = TIMED_STEPS * Training.batch_size / len(rows)
        Trainer(self.seed, 1.0, self.device, ignore)(candidate, replace(training, loss=loss, epochs=epochs))
        return float(np.median(np.diff(begun))) * len(self.train) / Training.batch_size

    @cached_property
    def _folds(self) -> list[Array]:
        """Rows that are held out, in several parts where they are few; each part has every label's share."""
        targets = self.train.targets
        wanted = round(max(1 / HELD_OUT_SHARE, len(self.train) / MOST_HELD_OUT))
        parts = max(2, min(wanted, len(self.train)))
        order = np.random.default_rng(seed_of(self.seed, "teacher")).permutation(len(self.train))
        if targets.ndim == 1:
            order = order[np.argsort(targets[order], kind="stable")]
        folds = [np.sort(order[part::parts]) for part in range(parts)]
        return folds[: max(1, min(MOST_FOLDS, ENOUGH_HELD_OUT // max(1, len(folds[0]))))]

    # A linear classifier.

    def _linear_attempts(self) -> Iterator[Attempt]:
        for pooling in self.poolings:
            begun = self.clock()
            features = self._features(pooling)
            held_out = np.concatenate(self._folds)
            logits: dict[float, list[Array]] = {}
            for rows in self._folds:
                learned = np.setdiff1d(np.arange(len(self.train)), rows)
                for penalty, weight, bias in self._classifiers(features, learned):
                    logits.setdefault(penalty, []).append(features[rows] @ weight.T + bias)
            seconds = (self.clock() - begun) / len(logits)
            for penalty, parts in logits.items():
                attempt = Attempt(pooling, penalty, seconds=seconds)
                yield self._judged(attempt, np.concatenate(parts), self.train.targets[held_out])

    def _classifiers(self, features: Array, rows: Array) -> Iterator[tuple[float, Array, Array]]:
        """Weights (outputs, width) and bias (outputs,) at each penalty, least free first."""
        mean, deviation = features[rows].mean(axis=0), features[rows].std(axis=0)
        # What hardly varies in the model may vary in its students, so it must not weigh much.
        deviation = deviation.clip(LEAST_DEVIATION * np.median(deviation))
        states = torch.from_numpy((features[rows] - mean) / deviation)
        targets = torch.from_numpy(self.train.targets[rows])
        weight = torch.zeros(len(self.task.labels), states.shape[1], requires_grad=True)
        bias = torch.zeros(len(self.task.labels), requires_grad=True)
        for penalty in PENALTIES:
            _descend(self.task, states, targets, weight, bias, penalty)
            scaled = weight.detach().numpy() / deviation
            yield penalty, scaled, bias.detach().numpy() - scaled @ mean

    def _features(self, pooling: Pooling) -> Array:
        """(n, hidden) float32: what the classifier reads of each training row."""

        def compute() -> Mapping[str, Array]:
            candidate = self._pooled(pooling)
            states = answers_of(candidate, self.train.texts, self.device, self._texts_read())[1].astype(np.float32)
            with torch.inference_mode():
                return {"features": candidate.model.features(torch.from_numpy(states)).numpy()}  # type: ignore[operator]

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
                learned = np.setdiff1d(np.arange(len(self.train)), rows)
                candidate = self._fitted(attempt, learned, self.seed)
                logits.append(answers_of(candidate, self.train.take(rows.tolist()).texts, self.device)[0])
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
        classifier = candidate.model.classifier
        with torch.no_grad():
            classifier.weight.mul_(attempt.scale)  # type: ignore[operator, union-attr]
            classifier.bias.mul_(attempt.scale)  # type: ignore[operator, union-attr]
        return candidate

    def _fitted(self, attempt: Attempt, rows: Array, seed: int) -> Candidate:
        """The model with a linear classifier of these rows, and all its weights trained if the attempt says so."""
        candidate = self._pooled(attempt.pooling)
        model = candidate.encoder
        found = {each[0]: each[1:] for each in self._classifiers(self._features(attempt.pooling), rows)}
        with torch.no_grad():
            for part, values in zip(
                (model.classifier.weight, model.classifier.bias), found[attempt.penalty], strict=True
            ):
                part.copy_(torch.from_numpy(values))
        if attempt.learning_rate:
            self._fit(candidate, attempt, rows, seed)
        return candidate

    def _fit(self, candidate: Candidate, attempt: Attempt, rows: Array, seed: int) -> None:
        """Train all weights on these rows."""
        key = [self.key, attempt.epochs, attempt.learning_rate, digest_of(rows.tolist()), seed]
        fit = Trainer(seed, 1.0, self.device, self._report, Checkpoints(self.cache, key))
        fit(candidate, self._training(candidate, attempt, rows))

    def _training(self, candidate: Candidate, attempt: Attempt, rows: Array) -> Training:
        model, learned = candidate.encoder, self.train.take(rows.tolist())
        targets = torch.from_numpy(learned.targets)

        def loss(batch: Batch) -> torch.Tensor:
            logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            return self.task.loss(logits, targets[batch.rows.cpu()].to(logits.device))

        rates = _rates_by_depth(model)
        return Training(learned.texts, loss, attempt.epochs, attempt.learning_rate, rates=rates)

    # Common to both.

    def _pooled(self, pooling: Pooling) -> Candidate:
        """A copy of the model that pools in this way: the mean, or the first token through the model's own pooler."""
        candidate = replace(self.source, model=copy.deepcopy(self.source.model))
        model = candidate.encoder
        if pooling == "mean":
            model.pool_by_mean()
            model.drop_pooler()
        return candidate

    def _judged(self, attempt: Attempt, logits: Array, targets: Array) -> Attempt:
        scale, loss = _calibrated(self.task, logits, targets)
        judged = replace(attempt, quality=self.task.score(logits, targets), loss=loss, scale=scale)
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


def _best(attempts: "Sequence[Attempt] | Iterator[Attempt]") -> Attempt:
    """Of the highest quality; of several the one with the least loss."""
    return max(attempts, key=lambda each: (each.quality, -each.loss))


def _descend(
    task: Task, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, penalty: float
) -> None:
    """Minimise the task's loss with a ridge penalty, from the weights as they are."""
    solver = torch.optim.LBFGS([weight, bias], max_iter=PENALTY_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = task.loss(states @ weight.T + bias, targets) + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]


def _calibrated(task: Task, logits: Array, targets: Array) -> tuple[float, float]:
    """The scale of the logits with the least loss, and that loss."""
    given, wanted = torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(targets)
    losses = [float(task.loss(given * float(scale), wanted)) for scale in SCALES]
    least = int(np.argmin(losses))
    return float(SCALES[least]), losses[least]


def _rates_by_depth(model: Encoder) -> dict[torch.nn.Parameter, float]:
    """Shares of the learning rate: all of it for the head, less for each layer below."""
    depth = len(model.layers)
    rates = {each: LAYER_DECAY ** (depth + 1) for each in model.parameters()}
    for number in range(depth):
        rates.update({each: LAYER_DECAY ** (depth - number) for each in model.layer(number).parameters()})
    for head in filter(None, (model.pooler, model.classifier)):
        rates.update(dict.fromkeys(head.parameters(), 1.0))
    return rates


def _too_short(limit_s: float, rates: int, epoch_s: float, epochs: float) -> str:
    tried = f"{rates} of {len(LEARNING_RATES)} learning rates" if rates else "the linear classifier alone"
    return (
        f"In {limit_s:.0f} s the teacher search tried {tried}, since {epochs:.3g} epochs of training all weights take "
        f"about {epochs * epoch_s:.0f} s: more time may make a better teacher."
    )
