"""`my_metric`: tokens that a text has on average, which grow where tokens are pruned."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from eicompress import Measurement, Metric, Subject, hookimpl
from eicompress.values import Direction

EICOMPRESS_INTERFACE = 1


class MyMetric(Metric):
    """Tokens of a text, on average over the examples."""

    name: ClassVar[str] = "my_metric"
    unit: ClassVar[str] = "tokens"
    direction: ClassVar[Direction] = "minimize"
    label: ClassVar[str] = "tokens a text"
    preview: ClassVar[bool] = True  # training changes no tokenizer

    def measure(self, subject: Subject) -> Iterable[Measurement]:
        lengths = subject.model.lengths(subject.examples.texts)
        return (self.measurement(float(np.mean([each.tokens for each in lengths])), split=subject.split),)


@hookimpl
def register_metrics() -> list[type[Metric]]:
    return [MyMetric]
