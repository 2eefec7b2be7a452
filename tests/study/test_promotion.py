"""What is handed out in the end: recorded learning curves in place of trainings."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_builder import Alone, Bed, Bench, Curves, bed

from eicompress.recipe import Recipe
from eicompress.reporting.next_steps import advice
from eicompress.study.events import Comparing, Noticed, Promoted, Promoting
from eicompress.study.objective import Objective
from eicompress.study.promotion import (
    PromotionPlan,
    PromotionRung,
    ahead_of_rebuilds,
    promotion_plan,
    promotion_rung,
    rung_length,
    survivors,
)
from eicompress.study.result import Result, result_of
from eicompress.study.space import SearchSpace
from eicompress.study.store import read_ledger
from eicompress.values import Artifact, Measurement, Record
from tests.conftest import sampled

DRAWN = """
fidelity = 0.5
[[slot]]
strategy = "thin"
layers = { low = 1, high = 3 }
"""

FALLS = {1: {0.5: 0.60, 1.0: 0.65}, 2: {0.5: 0.878, 1.0: 0.863}, 3: {0.5: 0.70, 1.0: 0.75}}
"""The best after half of the training is no longer the same after all of it."""


def artifact_text(folder: Path) -> str:
    return Artifact(folder).onnx.read_text()


def falling(tmp_path: Path) -> tuple[Bed, Curves]:
    made = bed(tmp_path, DRAWN, budgets={"size_mb": 9.0}, sampler="random", trials=3)
    return made, Curves(tmp_path / "made", curves=FALLS)


def test_a_rebuild_that_falls_behind_its_trial_loses_to_it(tmp_path: Path) -> None:
    made, bench = falling(tmp_path)
    result = made.run(bench)
    assert result.best is not None
    number, best = result.best
    assert (best.fidelity, best.value("quality")) == (0.5, 0.878)
    assert result.rebuilt[number].value("quality") == 0.863
    assert best.value("quality_test") == 0.8
    folder = tmp_path / "study" / "artifacts" / f"trial-{number:04d}"
    assert best.files["artifact"] == str(folder)
    assert artifact_text(folder).endswith(" 0.5")
    assert artifact_text(Path(f"{folder}-rebuilt")).endswith(" 1")
    assert result.promoted[number] == best
    said = [str(each) for each in result.handed_out_as_they_were]
    assert said == [
        f"Trial {number} is kept as it was after 50% of the full training, with 0.8780 on validation: its "
        "rebuild at 100% came to 0.8630."
    ]
    assert result.to_json()["handed_out_as_they_were"] == [number]
    assert [event.number for event in made.events if isinstance(event, Promoted) and not event.rebuilt] == [number]


def test_where_rebuilding_falls_behind_the_advice_is_more_time_only_if_it_was_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, bench = falling(tmp_path)
    result = made.run(bench)
    lines = advice(result)
    assert any(line.startswith("longer training made trial") for line in lines)
    assert not any("probably more" in line for line in lines)
    (kept,) = result.handed_out_as_they_were
    assert kept.rebuild is not None
    short = replace(kept, rebuild=replace(kept.rebuild, fidelity=0.03))
    monkeypatch.setattr(Result, "handed_out_as_they_were", [short])
    said = f"the longest training of trial {kept.trial} was 3% of the full length, so more time probably helps: "
    assert any(line.startswith(said) for line in advice(result))


def test_a_trial_whose_artifact_was_removed_is_built_again_to_be_handed_out(tmp_path: Path) -> None:
    made, bench = falling(tmp_path)

    def removed(stage: str, recipe: Recipe, calls: int) -> None:
        if stage == "build" and calls == 4:
            shutil.rmtree(tmp_path / "made")

    bench.fails = removed
    result = made.run(bench)
    assert result.best is not None
    assert [fidelity for _, fidelity in bench.built] == [0.5] * 3 + [1.0] * 2 + [0.5]
    assert artifact_text(Path(result.best[1].files["artifact"])).endswith(" 0.5")


def test_what_no_rebuild_is_ahead_of_is_handed_out_though_it_was_not_rebuilt_itself(tmp_path: Path) -> None:
    made, _ = falling(tmp_path)

    def fails(stage: str, recipe: Recipe, calls: int) -> None:
        if stage == "build" and calls == 4:
            raise ZeroDivisionError("the best cannot be rebuilt")

    result = made.run(Curves(tmp_path / "made", fails, curves=FALLS))
    assert result.best is not None
    number, best = result.best
    assert number not in result.rebuilds
    assert (best.fidelity, best.value("quality"), best.value("quality_test")) == (0.5, 0.878, 0.8)
    assert "nothing that was rebuilt is ahead of it" in str(result.handed_out_as_they_were[0])


def test_a_study_that_was_killed_before_its_trial_was_kept_shows_the_better_one_and_goes_on(tmp_path: Path) -> None:
    made, bench = falling(tmp_path)

    def killed(stage: str, recipe: Recipe, calls: int) -> None:
        if stage == "extras" and calls == 3:
            raise KeyboardInterrupt

    bench.fails = killed
    with pytest.raises(KeyboardInterrupt):
        made.run(bench)
    left = result_of(read_ledger(tmp_path / "study"), made.goal.objective)
    assert left.best is not None and not left.kept
    assert left.best[1].value("quality") == 0.878
    result = made.run(Curves(tmp_path / "made", curves=FALLS))
    assert result.best is not None and result.best[0] == left.best[0]
    assert result.best[1].value("quality_test") == 0.8


def test_more_time_rebuilds_what_was_kept_and_the_better_one_has_the_trials_name(tmp_path: Path) -> None:
    made = late(tmp_path, trials=None, timeout_s=70.0)
    first = made.run(Curves(tmp_path / "made", curves=LATE))
    assert first.best is not None and first.kept
    number, before = first.best
    assert before.fidelity < 1.0
    made.goal = replace(made.goal, timeout_s=1000.0)
    result = made.run(Curves(tmp_path / "made", curves=LATE))
    assert result.best is not None and result.best[0] == number
    assert not result.kept
    best = result.best[1]
    assert best.fidelity == 1.0
    assert artifact_text(Path(best.files["artifact"])).endswith(" 1")


def test_a_rebuild_that_has_the_trials_name_makes_way_for_what_is_ahead_of_it(tmp_path: Path) -> None:
    made, bench = falling(tmp_path)
    result = made.run(bench)
    assert result.best is not None
    number, folder = result.best[0], tmp_path / "study" / "artifacts" / f"trial-{result.best[0]:04d}"
    # As an earlier version left it: the rebuild under the trial's name, and nothing kept.
    shutil.rmtree(folder)
    Path(f"{folder}-rebuilt").rename(folder)
    with made.ledger() as ledger:
        rebuild = ledger.rebuilds()[number][0]
        ledger.promote(number, replace(rebuild, files={**rebuild.files, "artifact": str(folder)}))
        ledger.forget_kept(number)
    again = made.run(bench)
    assert again.best is not None
    assert artifact_text(folder).endswith(" 0.5")
    assert artifact_text(Path(again.rebuilt[number].files["artifact"])).endswith(" 1")
    assert again.best[1].files["artifact"] == str(folder)


def test_rebuilds_that_are_ahead_leave_trials_as_they_were(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=5)
    result = made.run(Bench(tmp_path / "made"))
    assert result.handed_out_as_they_were == []
    assert not result.kept
    assert not list((tmp_path / "study" / "artifacts").glob("*-rebuilt"))


GIVEN = """
fidelity = 0.1
[[slot]]
strategy = "thin"
layers = { low = 1, high = 4 }
[[recipe]]
steps = [{ strategy = "thin", layers = 2 }]
"""

LATE = {
    1: {0.1: 0.80, 0.31: 0.81, 1.0: 0.82},
    2: {0.1: 0.60, 0.31: 0.90, 1.0: 0.95},
    3: {0.1: 0.82, 0.31: 0.83, 1.0: 0.84},
    4: {0.1: 0.70, 0.31: 0.75, 1.0: 0.80},
}
"""The recipe that is given, of two layers, begins as the worst and ends as the best."""


def late(tmp_path: Path, **goal: Any) -> Bed:
    return bed(tmp_path, GIVEN, budgets={"size_mb": 9.0}, sampler="random", **{"trials": 4, **goal})


def layers_of(record: Record) -> int:
    layers: int = record.recipe[0]["layers"]
    return layers


def test_the_given_recipe_that_wins_long_is_handed_out_though_draws_win_short(tmp_path: Path) -> None:
    made, bench = late(tmp_path), Curves(tmp_path / "made", curves=LATE)
    result = made.run(bench)
    assert result.best is not None
    assert (layers_of(result.best[1]), result.best[1].fidelity, result.best[1].value("quality")) == (2, 1.0, 0.95)
    assert [fidelity for _, fidelity in bench.built] == [0.1] * 4 + [0.31] * 3 + [1.0]
    assert sorted(layers_of(each) for each in result.compared.values()) == [1, 2, 3]
    assert len([event for event in made.events if isinstance(event, Comparing)]) == 3
    said = [event.text for event in made.events if isinstance(event, Noticed)]
    assert said[0].startswith("compared after 31% of the full training: trial 0 (given) 0.9000, trial ")
    (agreement,) = result.agreements
    assert (agreement.short, agreement.full, agreement.pairs) == (0.1, 0.31, 3)
    assert result.to_json()["compared"][0]["trial"] == 0


def test_time_for_comparing_and_rebuilding_is_kept(tmp_path: Path) -> None:
    bench = Curves(tmp_path / "made", curves=LATE)
    result = late(tmp_path, trials=None, timeout_s=400.0).run(bench)
    assert bench.now <= 400
    assert result.best is not None
    assert (layers_of(result.best[1]), result.best[1].fidelity) == (2, 1.0)


@pytest.mark.parametrize("timeout_s", [60.0, 70.0, 90.0])
def test_in_little_time_the_best_draw_and_the_given_recipe_share_it(tmp_path: Path, timeout_s: float) -> None:
    made, bench = late(tmp_path, trials=None, timeout_s=timeout_s), Curves(tmp_path / "made", curves=LATE)
    result = made.run(bench)
    assert bench.now <= timeout_s
    assert sorted(layers_of(each) for each in result.compared.values()) == [2, 3]
    assert len({each.fidelity for each in result.compared.values()}) == 1
    assert result.best is not None
    assert layers_of(result.best[1]) == 2
    assert result.best[1].value("quality_test") == 0.8
    assert not [event for event in made.events if isinstance(event, Promoting)]


@pytest.mark.parametrize("calls", sampled(4, range(5, 9)))
def test_a_promotion_that_was_killed_goes_on_where_it_was(tmp_path: Path, calls: int) -> None:
    def killed(stage: str, recipe: Recipe, number: int) -> None:
        if (stage, number) == ("build", calls):
            raise KeyboardInterrupt

    made = late(tmp_path)
    first, second = Curves(tmp_path / "made", killed, curves=LATE), Curves(tmp_path / "made", curves=LATE)
    with pytest.raises(KeyboardInterrupt):
        made.run(first)
    result = made.run(second)
    assert [fidelity for _, fidelity in first.built + second.built] == [0.1] * 4 + [0.31] * 3 + [1.0]
    assert result.best is not None
    assert (layers_of(result.best[1]), result.best[1].fidelity) == (2, 1.0)
    third = Curves(tmp_path / "made", curves=LATE)
    made.run(third)
    assert third.built == []


def test_more_time_compares_anew_and_reuses_what_has_the_same_length(tmp_path: Path) -> None:
    made = late(tmp_path, trials=2)
    made.run(Curves(tmp_path / "made", curves=LATE))
    made.goal = replace(made.goal, trials=4)
    bench = Curves(tmp_path / "made", curves=LATE)
    result = made.run(bench)
    assert len(result.compared) == 3
    lengths = [fidelity for _, fidelity in bench.built]
    assert lengths.count(0.1) == 2
    assert lengths.count(0.31) < 3
    assert lengths.count(1.0) <= 1


def test_a_front_is_rebuilt_from_what_it_came_to_at_the_promotion_rung(tmp_path: Path) -> None:
    made = late(tmp_path, objective="pareto", metrics=("quality", "size_mb"))
    result = made.run(Curves(tmp_path / "made", curves=LATE))
    # The smallest, and the one that is best in the end; three layers are behind it in both by then.
    assert sorted(layers_of(each) for each in result.promoted.values()) == [1, 2]
    assert result.best is not None and layers_of(result.best[1]) == 2


@pytest.mark.parametrize(
    ("last", "length"), [(0.03, 0.17), (0.1, 0.31), (0.25, 0.5), (0.26, 0.0), (0.5, 0.0), (1.0, 0.0)]
)
def test_the_promotion_rung_lies_between_the_last_rung_and_the_full_length(last: float, length: float) -> None:
    assert rung_length(last) == length


def test_what_promotion_takes_is_known_before(tmp_path: Path) -> None:
    alone, trade = Objective("quality", {}), Objective("pareto", {}, metrics=("quality", "size_mb"))
    space = bed(tmp_path, GIVEN).space

    def ending(last: float) -> SearchSpace:
        return replace(space, rungs=(last,))

    assert promotion_plan(ending(0.1), alone) == PromotionPlan(3, 0.31, 1)
    assert promotion_plan(replace(ending(0.1), known=()), alone, seeds=3) == PromotionPlan(2, 0.31, 3)
    assert promotion_plan(ending(0.1), trade) == PromotionPlan(5, 0.31, 4)
    assert promotion_plan(ending(0.5), alone) == PromotionPlan(0, 0.0, 2)
    assert promotion_plan(ending(0.25), alone).trainings == 2.5
    assert promotion_plan(replace(ending(1.0), finish=(Alone(),)), trade) == PromotionPlan(0, 0.0, 4, 0.25)


ONE, TRADE = Objective("quality", {}), Objective("pareto", {}, metrics=("quality", "size_mb"))


def came_to(quality: float, *, fidelity: float = 0.1, size: float = 1.0) -> Record:
    values = (Measurement("quality", quality, ""), Measurement("size_mb", size, "MB"))
    return Record((), 0, "complete", fidelity=fidelity, trained=True, measurements=values)


def takes(record: Record, fidelity: float) -> float:
    """100 seconds for a training in full."""
    return 100 * fidelity


@pytest.mark.parametrize(
    ("left_s", "given", "expected"),
    [
        (math.inf, {3}, PromotionRung(0.31, (2, 3, 1))),
        (math.inf, set(), PromotionRung(0.31, (2, 1))),
        (math.inf, {2}, PromotionRung(0.31, (2, 1))),
        (200.0, {3}, PromotionRung(0.31, (2, 3, 1))),
        (190.0, {3}, PromotionRung(0.76, (2, 3))),
        (60.0, {3}, PromotionRung(0.24, (2, 3))),
        (40.0, {3}, PromotionRung()),
        (60.0, {2}, PromotionRung()),
    ],
)
def test_who_is_compared_and_how_long_depends_on_the_time_that_is_left(
    left_s: float, given: set[int], expected: PromotionRung
) -> None:
    records = {1: came_to(0.7), 2: came_to(0.8), 3: came_to(0.6)}
    assert promotion_rung(records, given, ONE, 0.1, left_s, takes) == expected


def test_nothing_is_compared_where_there_is_one_candidate_or_no_room_above_the_last_rung() -> None:
    assert promotion_rung({1: came_to(0.7)}, (), ONE, 0.1, math.inf, takes) == PromotionRung()
    assert promotion_rung({1: came_to(0.7), 2: came_to(0.8)}, (), ONE, 0.5, math.inf, takes) == PromotionRung()


def test_who_wins_the_comparison_is_rebuilt() -> None:
    records = {1: came_to(0.7), 2: came_to(0.8), 3: came_to(0.6)}
    compared = {1: came_to(0.9, fidelity=0.31), 2: came_to(0.85, fidelity=0.31)}
    assert [number for number, _ in survivors(compared, records, ONE)] == [1]
    assert [number for number, _ in survivors({}, records, ONE)] == [2, 1]
    assert len(survivors({1: came_to(0.9, size=2.0), 2: came_to(0.8)}, records, TRADE)) == 2


def test_a_trial_is_handed_out_as_it_was_where_no_rebuild_is_ahead_of_it() -> None:
    before, better, worse = came_to(0.8), came_to(0.9, fidelity=1.0), came_to(0.7, fidelity=1.0)
    assert ahead_of_rebuilds({1: better}, {1: before, 2: came_to(0.6)}, ONE) == {}
    assert ahead_of_rebuilds({1: before}, {1: before}, ONE) == {1: before}
    assert ahead_of_rebuilds({1: worse}, {1: came_to(0.5), 2: before}, ONE) == {2: before}
    assert ahead_of_rebuilds({}, {1: before}, ONE) == {1: before}
