"""Which trainings of all weights a search for a teacher runs within its time.

A few learning rates are tried for a short while, then the best of them for longer, as long as that gains. What is
chosen is trained again on all rows, once for each member, so nothing begins that would leave no time for that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from eicompress.contracts import Array, Training
from eicompress.trials.taught import Attempt

LEARNING_RATES = (1e-4, 3e-5, 3e-4)
"""In the order in which they are tried: of trainings of `LEAST_STEPS`, longer ones have lower rates."""
FIRST_EPOCHS, LEAST_STEPS = 2.0, 300
"""Length of the first trainings: where rows are few, the steps decide, and where time is short, half of the epochs or
a quarter."""
ONLY_SHARE = 0.8
"""Of the time that is left: that of a training where there is time for nothing else."""
LONGEST = 8.0
"""The longest training, as a multiple of the first ones."""

Train = Callable[[float, float], Attempt | None]
"""Trains at a learning rate for a number of epochs; None where that diverges."""


def best_of(attempts: Iterable[Attempt]) -> Attempt:
    """Of the highest quality; of several the one with the least loss."""
    return max(attempts, key=lambda each: (each.quality, -each.loss))


@dataclass(frozen=True)
class Schedule:
    """What is trained next, given the rows, the members and the time that is left."""

    rows: int
    folds: Sequence[Array]
    """Rows that an attempt holds out: it trains once for each, on all other rows."""
    members: int
    left_s: Callable[[], float]

    def first_epochs(self, epoch_s: float) -> float:
        """The length of the first trainings: halved while there is no time for one of them."""
        least = LEAST_STEPS * Training.batch_size / self.rows
        epochs = max(FIRST_EPOCHS, least)
        while epochs / 2 >= least and not self._time_for(epochs, epoch_s):
            epochs /= 2
        return epochs

    def only_epochs(self, epoch_s: float) -> float:
        """The length of one training of each member, with nothing held out, where there is no time for a first one."""
        least = Training.batch_size / self.rows
        return min(self.first_epochs(epoch_s), max(least, ONLY_SHARE * self.left_s() / epoch_s / self.members))

    def at_rates(self, train: Train, epochs: float, epoch_s: float) -> Iterator[Attempt | None]:
        """The first trainings, one for each learning rate, while there is time; None for one that diverged."""
        for rate in LEARNING_RATES:
            if not self._time_for(epochs, epoch_s):
                return
            attempt = train(rate, epochs)
            yield attempt
            if attempt is not None:
                epoch_s = self._epoch_s(attempt)

    def longer(self, train: Train, best: Attempt) -> Iterator[Attempt]:
        """Twice the length, as long as that gains and time allows."""
        longest = best.epochs * LONGEST
        while best.epochs * 2 <= longest:
            if not self._time_for(best.epochs * 2, self._epoch_s(best)):
                return
            longer = train(best.learning_rate, best.epochs * 2)
            if longer is None:
                return
            yield longer
            if best_of([longer, best]) is best:
                return
            best = longer

    def notes(self, limit_s: float, tried: int, epochs: float, epoch_s: float, alone: str) -> Iterator[str]:
        """What to say where the time was too short for all learning rates; `alone` is what it was enough for."""
        if tried == len(LEARNING_RATES):
            return
        what = f"{tried} of {len(LEARNING_RATES)} learning rates" if tried else alone
        yield (
            f"In {limit_s:.0f} s the teacher search tried {what}, since {epochs:.3g} epochs of training all "
            f"weights take about {epochs * epoch_s:.0f} s: more time may make a better teacher."
        )

    def _time_for(self, epochs: float, epoch_s: float) -> bool:
        """Whether there is time for an attempt, and then for as long a training of each member."""
        return self._attempt_s(epoch_s, epochs) + self.members * epochs * epoch_s <= self.left_s()

    def _epoch_s(self, attempt: Attempt) -> float:
        """Seconds of an epoch over all rows, as an attempt took them."""
        return attempt.seconds / self._attempt_s(1.0, attempt.epochs)

    def _attempt_s(self, epoch_s: float, epochs: float) -> float:
        """Seconds of an attempt, given the seconds of an epoch over all rows."""
        learned = sum(self.rows - len(held_out) for held_out in self.folds) / self.rows
        return epoch_s * epochs * learned
