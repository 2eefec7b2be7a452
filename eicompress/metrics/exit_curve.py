"""The quality and the milliseconds of one artifact with early exits at many thresholds."""

import time
from collections.abc import Sequence

import numpy as np
from filelock import FileLock

from eicompress.measures import Subject
from eicompress.metrics.latency import lock_of
from eicompress.metrics.this_machine import ThisMachine
from eicompress.runtime import EXIT_THRESHOLD, LAYERS
from eicompress.values import ExitPoint

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Beside the artifact's own. At 1 all layers are run."""
TEXTS = 1000


def exit_curve(subject: Subject) -> Sequence[ExitPoint]:
    """The points of an artifact with early exits, by threshold, on this machine and the first 1,000 examples.

    Each text is run at all thresholds in turn. Empty for an artifact in which no text exits.
    """
    model = subject.model
    if model.exits is None or not model.depends_on_text:
        return ()
    examples = subject.examples.take(range(min(TEXTS, len(subject.examples))))
    thresholds = sorted({*THRESHOLDS, model.exits.threshold})
    given = [{EXIT_THRESHOLD: np.array(each, np.float32)} for each in thresholds]
    logits = np.zeros((len(thresholds), len(examples), subject.task.answer.outputs), np.float32)
    layers, times = np.zeros((2, len(thresholds), len(examples)))
    with FileLock(lock_of(ThisMachine())), subject.conditions.quiet():
        for row, feeds in enumerate(model.feeds(examples.texts)):
            for place, threshold in enumerate(given):
                start = time.perf_counter()
                found, ran = model.session.run(["logits", LAYERS], {**feeds, **threshold})
                times[place, row] = 1000 * (time.perf_counter() - start)
                logits[place, row], layers[place, row] = found[0], ran
    return tuple(
        ExitPoint(
            threshold,
            subject.task.score(subject.task.answer.standard(logits[place]), examples.targets),
            float(times[place].mean()),
            float(layers[place].mean()),
            threshold == model.exits.threshold,
        )
        for place, threshold in enumerate(thresholds)
    )
