"""Parts of a shared training: all are scored on a part of the validation texts, and the best of them on all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_builder import PARTS, REGISTRY, Bed, Bench, bed

from eicompress.errors import BudgetError, SpecError
from eicompress.recipe import Recipe
from eicompress.study.forecast import in_rungs
from eicompress.study.pick import check_finish, finished, picked
from eicompress.study.result import Result
from eicompress.trials.training_time import TimeEstimate
from eicompress.values import Progress, Record

FINISH = """
[[finish]]
strategy = "alone"
"""


def made_in(folder: Path, code: str = PARTS, **goal: Any) -> Bed:
    goal = {"trials": 35, "metrics": ("quality", "size_mb"), **goal}
    return bed(folder, code, budgets={}, objective="pareto", sampler="nsga2", **goal)


def searched(made: Bed, bench: Bench | None = None) -> Result:
    bench = bench or Bench(made.root)
    made.space, steps = in_rungs(made.space, None, bench, 0)
    assert made.space.rungs == (0.25, 1.0) and steps is None
    return made.run(bench)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    return made_in(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def result(made: Bed) -> Result:
    return searched(made)


def parts_and_whole(result: Result) -> tuple[list[Record], list[Record]]:
    by_outcome = [
        [each for each in result.records.values() if each.outcome == outcome and each.repeat_of is None]
        for outcome in ("stopped early", "complete")
    ]
    return by_outcome[0], by_outcome[1]


def test_in_little_time_too_only_what_was_scored_on_all_texts_is_a_result(tmp_path: Path) -> None:
    result = searched(made_in(tmp_path, trials=None, timeout_s=80.0))
    assert {each.fidelity for each in result.records.values() if each.outcome == "complete"} == {1.0}


def test_the_best_and_one_in_ten_are_scored_on_all_texts(result: Result) -> None:
    parts, whole = parts_and_whole(result)
    assert {each.fidelity for each in parts} == {0.25} and {each.fidelity for each in whole} == {1.0}
    assert len(parts) > len(whole) and all(len(each.rungs) == 2 for each in whole)
    drawn = {each.draw for each in result.records.values() if each.repeat_of is None}
    assert {each.draw for each in whole} >= {0, 10, 20, 30} & drawn
    assert all(each.reason == "behind others after 25% of the validation texts" for each in parts)
    assert {record.fidelity for _, record in result.front} == {1.0}


def test_the_agreement_of_both_scores_is_that_of_parts_that_nobody_chose(result: Result) -> None:
    (found,) = result.agreements
    controls = [each for each in result.records.values() if each.draw % 10 == 0 and each.repeat_of is None]
    assert found.pairs == len(controls) >= 3 and found.to_json()["whole"] == "validation texts"
    assert str(found).startswith("Rank correlation between 25.0% and 100.0% of the validation texts: ")


def test_a_sampler_learns_the_score_that_all_have(made: Bed, result: Result) -> None:
    with made.ledger() as ledger:
        learned = {each.number: each.values for each in ledger.study.get_trials(deepcopy=False)}
    scored = {number: each for number, each in result.records.items() if each.rungs and each.repeat_of is None}
    assert all(learned[number] == [each.rungs[0].quality, each.value("size_mb")] for number, each in scored.items())
    assert len({len(each.rungs) for each in scored.values()}) == 2


@pytest.mark.slow
def test_a_search_that_was_killed_scores_as_it_would_have(result: Result, tmp_path: Path) -> None:
    other = made_in(tmp_path)

    def killed(stage: str, recipe: object, count: int) -> None:
        if stage == "build" and count == 23:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(other, bench=Bench(other.root, fails=killed))
    again = searched(other)
    assert [record.recipe for _, record in again.front] == [record.recipe for _, record in result.front]


def test_what_did_better_on_a_part_of_the_texts_is_tried_beside_the_best(result: Result) -> None:
    parts, _ = parts_and_whole(result)
    bound = sorted(each.value("size_mb") or 0.0 for each in parts)[len(parts) // 2]
    found = picked(result, {"size_mb": bound}, REGISTRY)
    assert all((record.value("size_mb") or 0.0) <= bound for _, record in found) and len(found) <= 3
    first = {number: each.rungs[0].quality for number, each in result.records.items() if each.rungs}
    assert all(first[number] > first[found[0][0]] for number, _ in found[1:])
    # A bound below all that was scored on all texts.
    least = min(each.value("size_mb") or 0.0 for each in result.records.values())
    with pytest.raises(BudgetError, match="They reach"):
        picked(result, {"size_mb": least / 2}, REGISTRY)
    with pytest.raises(BudgetError, match="They reach no energy_mj, which the search has not measured: ask for"):
        picked(result, {"energy_mj": 1.0}, REGISTRY)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bed, Bench, Result]:
    made = made_in(tmp_path_factory.mktemp("finished"), PARTS + FINISH)
    bench = Bench(made.root)
    return made, bench, searched(made, bench)


def test_the_best_parts_are_trained_by_themselves_and_no_others(done: tuple[Bed, Bench, Result]) -> None:
    made, _, result = done
    assert len(result.rebuilt) == 4 and result.promoted == result.rebuilt
    for number, record in result.rebuilt.items():
        part = result.records[number]
        assert record.recipe == made.space.finished(part.recipe) != part.recipe
        assert record.value("quality") == pytest.approx((part.value("quality") or 0.0) + 0.02)
    assert all(each.recipe[-1]["strategy"] == "thin" for each in result.records.values())


class Slow(Bench):
    """Finishing takes 200 seconds, of which others know."""

    def estimate_time(self, recipe: Recipe) -> TimeEstimate:
        assert recipe.steps[-1].name == "alone"
        return TimeEstimate(training=200.0, teacher=5.0)

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        self.now += 160 * fidelity if recipe.steps[-1].name == "alone" else 0.0
        return super().build(recipe, fidelity=fidelity, seed=seed, progress=progress)


def test_parts_share_the_time_that_is_left_for_finishing(tmp_path: Path) -> None:
    made = made_in(tmp_path, PARTS + FINISH, timeout_s=700.0)
    bench = Slow(made.root)
    lengths = [each.fidelity for each in searched(made, bench).rebuilt.values()]
    assert len(lengths) > 1 and max(lengths) < 1.0 and max(lengths) - min(lengths) < 0.2
    assert bench.now <= 700


def test_a_pick_is_what_was_finished_or_can_be(done: tuple[Bed, Bench, Result]) -> None:
    made, _, result = done
    for number, record in result.rebuilt.items():
        assert picked(result, {"size_mb": record.value("size_mb") or 0.0}, REGISTRY)[0] == (number, record)
        again, first = (finished(each, made.space) for each in (record, result.records[number]))
        assert again.recipe == first.recipe == record.recipe and (first.fidelity, first.only_shared) == (1.0, False)
        assert made.space.parameters(record.recipe) == made.space.parameters(result.records[number].recipe)


def test_finishing_takes_a_space_that_says_how(made: Bed) -> None:
    with pytest.raises(SpecError, match="`--finish` must have steps"):
        check_finish(made.space)
