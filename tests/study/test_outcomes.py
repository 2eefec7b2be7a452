from dataclasses import replace

import pytest

from eicompress.recipe import Recipe
from eicompress.study.objective import Objective
from eicompress.study.outcomes import completed, judged, repeated, share_text, trained
from eicompress.study.result import warning
from eicompress.values import Measurement, Record

OBJECTIVE = Objective("quality", {"size_mb": 2.0, "quality": 0.8, "latency_ms": 4.0})


def measured(**values: float) -> Record:
    found = tuple(Measurement(name, value, "") for name, value in values.items())
    return Record((), -1, "complete", measurements=found)


def timed(**conditions: object) -> Record:
    return Record((), -1, "complete", measurements=(Measurement("latency_ms", 5.0, "ms", conditions),))


@pytest.mark.parametrize(
    ("made", "outcome", "reason"),
    [
        (measured(size_mb=1.5, quality=0.9), "complete", ""),
        (measured(size_mb=2.5, quality=0.9), "over budget", "size_mb 25.0% over budget"),
        (measured(size_mb=1.5, quality=0.6), "over budget", "quality 25.0% below the least"),
        (measured(size_mb=1.5), "complete", ""),
        (timed(sequence_length=16), "over budget", "latency_ms 25.0% over budget"),
        (timed(whole_depth=True), "over budget", "latency_ms (all layers) 25.0% over budget"),
        (timed(texts=300), "over budget", "latency_ms (mean of 300 texts) 25.0% over budget"),
    ],
)
def test_what_was_measured_is_compared_with_the_budgets(made: Record, outcome: str, reason: str) -> None:
    record = judged(made, OBJECTIVE, Recipe(()), 7)
    assert (record.outcome, record.reason, record.draw) == (outcome, reason, 7)


def test_a_repeat_of_a_repeat_is_one_of_the_first() -> None:
    first = measured(quality=0.9)
    second = repeated(first, 3, draw=5)
    assert (second.repeat_of, second.draw) == (3, 5)
    assert repeated(second, 4, draw=6).repeat_of == 3


def test_a_preview_gives_what_was_not_measured_again() -> None:
    made = completed(measured(size_mb=1.5, quality=0.9), measured(size_mb=1.4, latency_ms=2.0))
    assert {each.name: each.value for each in made.measurements} == {"size_mb": 1.5, "quality": 0.9, "latency_ms": 2.0}


def test_a_record_remembers_its_rungs_or_whose_training_it_shares() -> None:
    short, long = (replace(measured(quality=0.9), fidelity=each) for each in (0.1, 0.3))
    assert [each.fidelity for each in trained([short, long], variant_of=None, in_rungs=True).rungs] == [0.1, 0.3]
    assert trained([long], variant_of=None, in_rungs=False) == long
    variant = trained([long], variant_of=2, in_rungs=True)
    assert (variant.variant_of, variant.rungs) == (2, ())


def test_a_model_that_reaches_nothing_is_said_to_have_nothing_to_teach() -> None:
    def of(quality: float) -> Record:
        return Record((), -1, "complete", measurements=(Measurement("quality", quality, ""),))

    assert "must reach more than 0 on validation" in warning(of(0.0), {})
    assert "must be better than the simple baselines" in warning(of(0.5), {"tf-idf": of(0.6)})
    assert warning(of(0.5), {"tf-idf": of(0.4)}) == ""


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100%"), (0.344, "34%"), (0.03, "3%"), (0.0186, "1.9%"), (0.0048, "0.48%")]
)
def test_a_share_of_a_training_is_written_with_two_digits(share: float, text: str) -> None:
    assert share_text(share) == text
