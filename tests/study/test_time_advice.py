from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from fake_builder import PARTS, SPACE, Bench, bed

from eicompress.plugins import discover
from eicompress.spec import read_search
from eicompress.study.events import Event, Foreseen, Noticed
from eicompress.study.forecast import Forecast, forecast
from eicompress.study.plan import Plan
from eicompress.study.run import NO_TIME, prepared
from eicompress.study.space_file import read_space
from eicompress.study.time_advice import FIRST_SHARE, LEAST_STEPS, advice, shortened
from eicompress.trials.training_time import TimeEstimate

RUNGS = (0.05, 0.25)


class Rows(Bench):
    """A bench with a thousand training rows, whose trainings take as long as `estimate` says."""

    examples: ClassVar = {"train": range(1000)}
    estimate: ClassVar = TimeEstimate(training=400.0, teacher=60.0, epochs=5.0)

    def estimate_time(self, recipe: object) -> TimeEstimate:
        return self.estimate


def found(tmp_path: Path, **other: object) -> Forecast:
    made = bed(tmp_path)
    forecasted = forecast(Rows(tmp_path / "made"), made.space, made.goal.objective, 0)
    return replace(forecasted, rungs=RUNGS, full_steps=2000, **other)


def test_with_enough_time_trainings_are_as_long_as_the_space_has_them(tmp_path: Path) -> None:
    # A quarter of the texts is read in 5 % of the training.
    assert found(tmp_path).first_s(0.05) == 0.05 * 400 + 60 / 4
    assert shortened(found(tmp_path), 35.0 / FIRST_SHARE) == RUNGS


def test_in_little_time_all_rungs_are_shortened_alike_and_fewer_texts_are_answered(tmp_path: Path) -> None:
    short = shortened(found(tmp_path), 35.0)
    assert short == pytest.approx((0.05 * FIRST_SHARE, 0.25 * FIRST_SHARE), abs=1e-4)
    assert found(tmp_path).first_s(short[0]) == pytest.approx(FIRST_SHARE * 35.0, rel=0.01)


def test_where_all_texts_are_read_anyway_the_training_alone_is_shortened(tmp_path: Path) -> None:
    many = found(tmp_path, epochs=100.0)
    short = shortened(many, 70.0 / FIRST_SHARE)
    assert short[0] == pytest.approx((70 - 60) / 400, abs=1e-4)
    assert many.first_s(short[0]) == pytest.approx(70.0, rel=0.01)


def test_a_training_keeps_its_least_steps(tmp_path: Path) -> None:
    assert shortened(found(tmp_path), 0.1)[0] == LEAST_STEPS / 2000


def test_where_no_training_is_known_nothing_is_shortened(tmp_path: Path) -> None:
    assert shortened(found(tmp_path, training_s=None), 1.0) == RUNGS


def test_the_advice_is_a_time_and_rows_that_would_do(tmp_path: Path) -> None:
    few = found(tmp_path)
    said = advice(replace(few, rungs=(0.01, 0.05)), RUNGS, 120.0, 4000)
    assert said == (
        "`--timeout 8m` is enough for about 3 candidates with trainings as long as in the search space, or about "
        "`--rows 1000` in the time given"
    )
    seconds = few.seconds_for(3, RUNGS) or 0.0
    assert 7 * 60 < seconds <= 8 * 60 and (few.trials(8 * 60, RUNGS) or 0) >= 3
    assert advice(few, RUNGS, 480.0, 4000) == ""
    assert "--rows" not in advice(few, RUNGS, 120.0, 2000), "too few rows are not advised"


def prepare(tmp_path: Path, left_s: float, timeout: str, code: str = SPACE) -> tuple[Plan, list[Event], Rows]:
    path = tmp_path / "space.toml"
    made, events, bench = bed(tmp_path, code), list[Event](), Rows(tmp_path / "made")
    spec = read_search({"model": "m", "data": "d", "budget": "2MB", "timeout": timeout, "space": str(path)})
    plan = Plan(spec, discover(only=""), read_space(str(path), made.registry))
    with made.ledger() as ledger:
        return prepared(plan, bench, ledger, left_s, events.append), events, bench


def test_a_study_that_begins_in_little_time_says_and_records_its_shorter_trainings(tmp_path: Path) -> None:
    plan, events, _ = prepare(tmp_path, left_s=60.0, timeout="1m")
    (rung,) = plan.space.rungs
    assert 0.0 < rung < 0.25
    (foreseen,) = [event.forecast for event in events if isinstance(event, Foreseen)]
    assert foreseen.rungs == (rung,) and foreseen.advice.startswith("`--timeout ")
    said = [event.text for event in events if isinstance(event, Noticed)]
    assert said == [f"candidates are trained for {rung:.1%} of the full training"]
    on, events, _ = prepare(tmp_path, left_s=6000.0, timeout="100m")
    assert on.space.rungs == (rung,), "a study keeps its lengths"


@pytest.mark.parametrize(("teacher_s", "length"), [(60.0, 740 / 4000), (2000.0, 800 / (4000 + 2000 * 6))])
def test_a_shared_training_has_its_share_of_the_time_and_goes_on_with_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher_s: float, length: float
) -> None:
    shared = TimeEstimate(training=0.0, teacher=teacher_s, shared=4000.0, epochs=6.0, shared_epochs=6.0)
    monkeypatch.setattr(Rows, "estimate", shared)
    for left_s in (2000.0, 20_000.0):
        plan, events, _ = prepare(tmp_path, left_s=left_s, timeout="40m", code=PARTS)
        (step, _) = plan.space.recipe({}).to_json()
        assert step["strategy"] == "shared" and step["epochs"] == pytest.approx(6.0 * length, abs=0.01)
        if left_s == 2000.0:
            (found,) = [event.forecast for event in events if isinstance(event, Foreseen)]
            assert (found.shortened, found.shared_epochs) == (step["epochs"], 6.0)
            assert found.shared_s == pytest.approx(4000 * length, rel=0.01)


def test_with_enough_time_nothing_is_shortened_and_nothing_advised(tmp_path: Path) -> None:
    plan, events, _ = prepare(tmp_path, left_s=60_000.0, timeout="20h")
    assert plan.space.rungs == (0.25,)
    assert [event.forecast.advice for event in events if isinstance(event, Foreseen)] == [""]


def test_without_time_nothing_is_prepared(tmp_path: Path) -> None:
    plan, events, bench = prepare(tmp_path, left_s=-1.0, timeout="1s")
    assert plan.space.rungs == (0.25,)
    assert events == [Noticed(NO_TIME)] and "`--timeout`" in NO_TIME and "`--rows`" in NO_TIME
    assert set(bench.calls.values()) == {0}


def test_in_a_hurry_one_recipe_that_fits_is_foreseen(tmp_path: Path) -> None:
    made = bed(tmp_path)
    hurried = forecast(Rows(tmp_path / "made"), made.space, made.goal.objective, 0, hurry=lambda: True)
    assert hurried.fitting == 1 and hurried.training_s == 400.0
