from collections.abc import Sequence

import numpy as np
import pytest

from eicompress.answers import TeacherOutputs
from eicompress.trials import training_time
from eicompress.trials.training_time import _FewAnswers
from eicompress.values import Text


class Slow:
    """A teacher whose answers take `call_s` a call and `text_s` a text."""

    digest, aligned = "slow", False

    def __init__(self, call_s: float, text_s: float) -> None:
        self.call_s, self.text_s, self.now = call_s, text_s, 0.0
        self.asked: list[int] = []

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        self.asked.append(len(texts))
        self.now += self.call_s + self.text_s * len(texts)
        return TeacherOutputs.of(np.zeros((len(texts), 2), np.float16), np.zeros((len(texts), 4), np.float16), 0)


@pytest.mark.parametrize(
    ("teacher", "count", "asked", "seconds"),
    [
        (Slow(0.064, 0.005), 1000, [64, 256], 1000 * (0.005 + 0.064 / 256)),
        (Slow(0.064, 0.1), 1000, [64], 1000 * (0.1 + 0.001)),
        (Slow(0.0, 0.005), 100, [64], 0.5),
    ],
)
def test_a_quick_teacher_is_timed_by_more_texts(
    teacher: Slow, count: int, asked: list[int], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_time.time, "perf_counter", lambda: teacher.now)
    few = _FewAnswers(teacher)
    outputs = few.outputs([f"text {number}" for number in range(count)])
    assert teacher.asked == asked and len(outputs.of_texts) == count
    assert few.seconds == [pytest.approx(seconds)]
