from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_builder import measured

from eicompress.answers.kind import Chart, Curve, Mistakes
from eicompress.reporting import data
from eicompress.reporting.anatomy import shares
from eicompress.reporting.answer import answer, command, cost, more, sentence
from eicompress.reporting.answer import simple as beside_simple
from eicompress.reporting.files import length_of
from eicompress.reporting.record_text import cut_texts, to_try
from eicompress.reporting.search_figures import quality_against
from eicompress.study.objective import Objective, built_in
from eicompress.study.result import Result
from eicompress.values import Measurement, Record

NO_CURVE = Curve("", (), (), ())
NO_CHART = Chart("", "", "", "", "", "", (0.0, 1.0), False, "", NO_CURVE, NO_CURVE)
BASELINE = Record(recipe=(), draw=-1, outcome="complete", measurements=measured(90.0, 20.0, 0.96))


def trial(size: float, latency: float, quality: float | None, **more: Any) -> Record:
    fields: dict[str, Any] = {
        "recipe": ({"strategy": "thin_student", "layers": 2, "neurons": 0.251234},),
        "draw": 0,
        "outcome": "complete" if quality is not None else "over budget",
        "trained": quality is not None,
        "fidelity": 0.25,
        "measurements": measured(size, latency, quality),
        "bytes_by_group": {"layers": 600_000, "embedding": 900_000},
        "seconds_by_phase": {"training": 100.0},
    }
    return Record(**{**fields, **more})


def found(*records: Record, promoted: dict[int, Record] | None = None, **more: Any) -> Result:
    fields: dict[str, Any] = {
        "folder": Path("studies/mine"),
        "objective": Objective("quality", {"size_mb": 2.0, "latency_ms": 2.0}),
        "baseline": BASELINE,
        "records": dict(enumerate(records)),
        "rebuilds": {number: (each,) for number, each in (promoted or {}).items()},
        "seconds": 3600.0,
    }
    return Result(**{**fields, **more})


def said(result: Result) -> data.Numbers:
    return data.numbers(result, {}, {})


def test_the_front_is_what_nothing_within_budget_beats() -> None:
    result = found(
        trial(1.0, 0.5, 0.80),
        trial(1.5, 0.4, 0.79),
        trial(1.9, 0.9, 0.90),
        trial(2.5, 0.2, 0.95),
        trial(3.0, 1.0, None),
    )
    points = data.points(result)
    assert len(points) == 5
    assert [each.trial for each in data.front(points, built_in()["size_mb"])] == [0, 2]
    assert [each.trial for each in data.front(points, built_in()["latency_ms"])] == [1, 0, 2]


def test_repeats_are_not_drawn_twice() -> None:
    one = trial(1.0, 0.5, 0.8)
    assert len(data.points(found(one, replace(one, repeat_of=0)))) == 1


def test_a_recipe_reads_as_words() -> None:
    assert data.in_words(trial(1.0, 1.0, 0.8).recipe) == "thin student: layers 2, neurons 0.251"


def test_the_best_so_far_never_falls_and_ignores_what_does_not_fit() -> None:
    result = found(trial(3.0, 1.0, None), trial(1.0, 1.0, 0.8), trial(2.5, 1.0, 0.9), trial(1.0, 1.0, 0.7))
    steps = data.steps(result)
    assert [each.quality for each in steps] == [None, 0.8, None, 0.7]
    assert [each.best for each in steps] == [None, 0.8, 0.8, 0.8]


def test_what_was_spared_counts_at_the_median_of_what_was_trained() -> None:
    result = found(trial(1.0, 1.0, 0.8), trial(3.0, 1.0, None), trial(4.0, 1.0, None))
    spent = data.effort(result)
    assert (spent.trained, spent.training_s, spent.saved_s) == (1, 100.0, 200.0)
    assert spent.skipped[data.PREVIEW] == 2
    assert spent.saved[data.PREVIEW] == 200.0


def test_an_early_stop_spares_the_rest_of_a_training() -> None:
    stopped = trial(1.0, 1.0, 0.5, outcome="stopped early", seconds_by_phase={"training": 30.0})
    spent = data.effort(found(trial(1.0, 1.0, 0.8), trial(1.1, 1.0, 0.7), stopped))
    assert (spent.stopped, spent.saved[data.STOPPED], spent.training_s) == (1, 70.0, 230.0)


def test_bytes_are_compared_part_by_part_heaviest_first() -> None:
    baseline = replace(BASELINE, bytes_by_group={"embedding": 47_000_000, "head": 5})
    parts = shares(baseline, trial(1.0, 1.0, 0.8))
    assert [(each.name, each.before, each.after) for each in parts] == [
        ("embedding", 47_000_000, 900_000),
        ("layers", 0, 600_000),
        ("head", 5, 0),
    ]


def test_the_last_bytes_are_compared_with_the_rest_of_the_budget() -> None:
    bytes_bought = data.more_bytes(found(trial(1.4, 1.0, 0.8), trial(1.9, 1.0, 0.85)))
    assert bytes_bought == data.MoreBytes(2.0, 0.85, 1.5, 0.8)
    alone = data.more_bytes(found(trial(1.9, 1.0, 0.85)))
    assert alone is not None and alone.smaller is None


def simple(quality: float, size: float | None = None, note: str = "") -> Record:
    """The record of a simple baseline."""
    values = measured(size, 0.03, quality)
    return replace(BASELINE, measurements=values, trained=True, facts={"simple": {"note": note}})


def test_simple_baselines_come_first_and_the_baseline_last() -> None:
    known = {"tf-idf": simple(0.7, 0.5, "words"), "majority class": simple(0.1)}
    found_ones = data.contenders(found(trial(1.0, 1.0, 0.8), simple=known))
    assert [each.name for each in found_ones] == ["majority class", "tf-idf", "this artifact", "baseline"]
    assert (found_ones[1].size_mb, found_ones[1].note) == (0.5, "words")


def test_the_answer_is_one_sentence_with_the_baseline_beside_it() -> None:
    rebuilt = trial(1.8, 0.5, 0.912, fidelity=1.0)
    turns = Measurement("latency_ratio", 0.5 / 20, "")
    on_test = replace(measured(None, None, 0.9)[0], name="quality_test")
    rebuilt = replace(rebuilt, measurements=(*rebuilt.measurements, turns, on_test))
    data = said(found(trial(1.8, 0.5, 0.9), promoted={0: rebuilt}))
    assert sentence(data) == (
        "The best artifact is 1.80 MB (50 times smaller than the baseline), answers in 0.50 ms (40 times faster than "
        "the baseline), reaches 90.0% quality on test, and reaches 91.2% quality on validation, 95.0% of the "
        "baseline's 96.0%. It was chosen by validation, where its quality is therefore optimistic."
    )
    assert [tile.value for tile in answer(data)] == ["1.80 MB", "0.50 ms", "90.0%", "91.2%"]
    assert "4.8 points of quality less than the baseline on validation. The search took 1 h 0 min" in cost(data)
    assert "less than 4.8 points" in more(data)


def test_a_correlation_is_a_number_and_no_percentage() -> None:
    def correlated(record: Record) -> Record:
        known = {"metric": "spearman", "correlation": True}
        return replace(record, measurements=tuple(replace(each, conditions=known) for each in record.measurements))

    result = found(correlated(trial(1.8, 0.5, 0.912)), baseline=correlated(BASELINE), simple={"words": simple(0.7)})
    numbers = said(result)
    assert "reaches 0.912 spearman on validation, 95.0% of the baseline's 0.960." in sentence(numbers)
    assert answer(numbers)[-1].value == "0.912" and "baseline 0.960" in answer(numbers)[-1].lines
    assert "0.048 of spearman less than the baseline on validation." in cost(numbers)
    assert "words, reaches 0.700." in beside_simple(numbers)
    assert "less than 0.048, the distance" in more(numbers)
    axis = quality_against(numbers, data.axes(result.objective)[0]).layout.yaxis
    assert axis.title.text == "spearman on validation" and all(0 <= float(each) <= 1 for each in axis.ticktext)


def test_what_is_right_on_test_has_its_interval_and_comes_first() -> None:
    on_test = Measurement("quality_test", 0.9, "", {"split": "test", "examples": 100})
    rebuilt = trial(1.8, 0.5, 0.912, fidelity=1.0)
    data = said(found(replace(rebuilt, measurements=(*rebuilt.measurements, on_test))))
    counted = replace(data, mistakes=Mistakes("", 0.01, True, (), NO_CHART))
    assert "reaches 90.0% quality on test (95 % interval 82.6% to 94.5%), and reaches 91.2%" in sentence(counted)
    assert "interval" not in sentence(data)


@pytest.mark.parametrize(
    ("quality", "size", "expected"),
    [
        (
            0.85,
            0.5,
            "Yes, by 5.0 points. The best simple baseline within the budgets, small, reaches 80.0% in 0.60 MB.",
        ),
        (0.80, 0.5, "A tie. The best simple baseline within the budgets, small, reaches 80.0% in 0.60 MB."),
    ],
)
def test_the_rival_is_the_best_simple_baseline_within_the_budgets(quality: float, size: float, expected: str) -> None:
    shipped = {"artifact": "somewhere"}
    known = {
        "small": replace(simple(0.8, 0.6), files=shipped),
        "large": replace(simple(0.95, 9.0), files=shipped),
        "majority class": simple(0.1),
    }
    assert beside_simple(said(found(trial(size, 0.5, quality, fidelity=1.0), simple=known))) == expected


def test_times_faster_is_what_was_measured_in_turns() -> None:
    def timed(ratio: float | None) -> Record:
        record = trial(1.8, 0.5, 0.9, fidelity=1.0)
        more = () if ratio is None else (Measurement("latency_ratio", ratio, ""),)
        return replace(record, measurements=(*record.measurements, *more))

    # The baseline's own record says 20 ms, which was taken at another time.
    slow = said(found(timed(0.25)))
    assert "answers in 0.50 ms (4.0 times faster)" in sentence(slow)
    assert answer(slow)[1].lines == ("budget 2.00 ms", "baseline 2.00 ms")
    untimed = said(found(timed(None)))
    assert "faster" not in sentence(untimed) and answer(untimed)[1].lines == ("budget 2.00 ms",)


def test_a_short_training_is_said() -> None:
    assert "25% of the full training" in cost(said(found(trial(1.8, 0.5, 0.9))))


def test_the_time_to_nearly_the_baseline_is_said_once_it_is_reached() -> None:
    near = trial(1.8, 0.5, 0.95, recorded_s=480.0)
    assert "98% of the baseline's quality was reached within the budgets after 8 min." in cost(said(found(near)))
    assert "was reached" not in cost(said(found(trial(1.8, 0.5, 0.9))))


def test_without_a_fitting_candidate_the_nearest_is_named() -> None:
    data = said(found(trial(3.0, 1.0, None), trial(2.2, 1.0, None)))
    assert sentence(data) == (
        "No candidate is within budget yet. The nearest is trial 1: size_mb 2.2 (budget 2), latency_ms 1 (budget 2); "
        "most of it is embedding 0.90 MB, layers 0.60 MB."
    )
    assert answer(data) == ()
    assert more(data) == ""


def test_what_the_best_artifact_cuts_is_reported_if_it_cuts_anything() -> None:
    cut = {"texts": 31, "of": 2_000, "tokens": 256}
    step = {"strategy": "starting_point", "length_coverage": 0.999}
    rebuilt = trial(1.8, 0.5, 0.9, fidelity=1.0, facts={"cut": cut}, recipe=(step,))
    said = "31 of 2,000 validation texts (1.6%) are cut after 256 tokens"
    knob = "`length_coverage` of `starting_point` sets that, up to what its encoder reads"
    assert cut_texts(rebuilt) == f"{said}: {knob}."
    assert cut_texts(replace(rebuilt, recipe=())) == f"{said}."
    whole = trial(1.8, 0.5, 0.9, fidelity=1.0, facts={"cut": {**cut, "texts": 0}})
    assert cut_texts(whole) == cut_texts(trial(1.8, 0.5, 0.88)) == cut_texts(None) == ""


def test_the_cost_counts_what_was_trained_briefly_too() -> None:
    result = found(trial(1.0, 0.5, 0.8), *[trial(1.0, 0.5, 0.5, outcome="stopped early")] * 8)
    assert "1 candidate trained to the end, 8 trained briefly" in cost(said(result))


def test_the_command_says_how_long_the_search_was_given() -> None:
    asked = {"data": "mine"} | length_of({"reason": "time is up", "trials": None, "timeout_s": 180.0, "stop_at": None})
    assert command(asked) == "eicompress search --data mine \\\n  --timeout 180s"
    assert length_of({}) == {}


def test_an_artifact_of_pairs_is_tried_with_a_pair(tmp_path: Path) -> None:
    assert to_try(str(tmp_path)).endswith(' "some text"')
    (tmp_path / "config.json").write_text('{"pairs": true}')
    assert to_try(str(tmp_path)).endswith(r" $'some text\tanother text'")
