from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ContextMaker
from fake_builder import SPACE, Bench, bed, knobs_of

from eicompress.contracts import Candidate, Training
from eicompress.errors import BudgetError, Inapplicable
from eicompress.metrics.latency import WHOLE_DEPTH
from eicompress.recipe import Recipe
from eicompress.reporting.plan_text import in_short
from eicompress.strategies.distillation import Distillation
from eicompress.study.forecast import forecast, in_rungs
from eicompress.study.promotion import PromotionPlan, kept_for_promotion
from eicompress.testing import tiny_candidate
from eicompress.training.trainer import Trainer
from eicompress.trials.training_time import TimeEstimate, count_steps, estimate_time
from eicompress.values import Record


def test_a_forecast_trains_nothing_and_tells_what_fits(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path)
    found = forecast(bench, made.space, made.goal.objective, seed=0)
    assert bench.calls["build"] == 0
    assert found.draws == 16
    # Of 1 to 8 layers of 0.5 ms, those of up to 4 answer in 2 ms.
    assert 4 <= found.fitting <= 12
    assert found.share == found.fitting / 16
    assert found.least == pytest.approx({"size_mb": 0.4, "latency_ms": 0.5})
    assert found.training_s == 40.0
    assert (found.records, found.given) == (0, True)
    assert found.knobs == 3


class ByRate(Bench):
    """Its trainings take as long as the rate says."""

    def estimate_time(self, recipe: Recipe) -> TimeEstimate:
        return TimeEstimate(training=1000 * knobs_of(recipe)[2], teacher=5.0)


def test_a_training_is_that_of_the_first_given_recipe_within_budget(tmp_path: Path) -> None:
    made = bed(tmp_path)
    found = forecast(ByRate(tmp_path / "made"), made.space, made.goal.objective, seed=0)
    assert found.training_s == 500.0
    assert "a few steps of the first given recipe" in "\n".join(in_short(found))
    over = 'steps = [{ strategy = "words" }, { strategy = "thin", layers = 8, rate = 0.9 }]'
    longer = bed(tmp_path, SPACE.replace("[[recipe]]", f"[[recipe]]\n{over}\n[[recipe]]")).space
    assert forecast(ByRate(tmp_path / "made"), longer, made.goal.objective, seed=0).training_s == 500.0
    drawn = forecast(ByRate(tmp_path / "made"), replace(made.space, known=()), made.goal.objective, seed=0)
    assert (drawn.given, drawn.training_s) != (True, 500.0)
    assert "a few steps of random recipes" in "\n".join(in_short(drawn))


def test_where_no_draw_fits_but_a_given_recipe_does_candidates_are_foreseen(tmp_path: Path) -> None:
    made = bed(tmp_path, budgets={"latency_ms": 1.0})
    seeds = (forecast(ByRate(tmp_path / "made"), made.space, made.goal.objective, each, draws=1) for each in range(20))
    found = next(each for each in seeds if not each.fitting)
    assert (found.given, found.training_s) == (True, 500.0)
    kept = kept_for_promotion(10_000.0, 500.0, found.promotion)
    assert found.trials(10_000.0, [0.25]) == int((10_000 - kept - 5) / (125 + found.preview_s))


class WithExits(Bench):
    """Its candidates have early exits, and are timed through all layers."""

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        record = super().preview(recipe, size_only=size_only, careful=careful)
        conditions = {"latency_ms": {WHOLE_DEPTH: True}}
        taken = (replace(each, conditions=conditions.get(each.name, {})) for each in record.measurements)
        return replace(record, measurements=tuple(taken))


def test_the_least_latency_says_that_it_is_through_all_layers(tmp_path: Path) -> None:
    bench, made = WithExits(tmp_path / "made"), bed(tmp_path)
    said = "\n".join(in_short(forecast(bench, made.space, made.goal.objective, seed=0)))
    assert "latency 0.5 ms (all layers)" in said
    made = bed(tmp_path, budgets={"latency_ms": 0.1})
    with pytest.raises(BudgetError, match=r"smallest reachable is 0.5 ms \(all layers\)"):
        forecast(bench, made.space, made.goal.objective, seed=0)


def test_equal_seeds_foresee_the_same(tmp_path: Path) -> None:
    made = bed(tmp_path)
    several = [forecast(Bench(tmp_path / "made"), made.space, made.goal.objective, seed=each) for each in (3, 3)]
    assert several[0] == several[1]


def test_a_budget_out_of_reach_ends_before_anything_is_drawn(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path, budgets={"size_mb": 0.2})
    with pytest.raises(BudgetError, match=r"budget of 0.2 MB.*smallest reachable is 0.4 MB"):
        forecast(bench, made.space, made.goal.objective, seed=0)
    assert bench.calls["preview"] <= 2 * len(made.space.domains) * 3
    assert bench.calls["build"] == 0


def test_where_no_random_recipe_fits_a_training_is_not_known(tmp_path: Path) -> None:
    def fails(stage: str, recipe: Recipe, calls: int) -> None:
        if calls > 1:
            raise Inapplicable("never")

    made = bed(tmp_path)
    found = forecast(Bench(tmp_path / "made", fails), made.space, made.goal.objective, seed=0)
    assert (found.fitting, found.training_s) == (0, None)
    assert found.trials(3600.0, [0.25]) is None
    assert found.seconds(10, [0.25]) is None


def test_a_study_with_records_knows_its_own_seconds(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path, trials=5)
    records = made.run(bench).records
    found = forecast(bench, made.space, made.goal.objective, 0, records.values())
    assert found.records == 5
    # Ten seconds at a quarter of the length.
    assert found.training_s == 40.0


def test_time_buys_trainings_and_trainings_take_time(tmp_path: Path) -> None:
    made = bed(tmp_path)
    found = forecast(Bench(tmp_path / "made"), made.space, made.goal.objective, seed=0)
    # Three at half of the length, and one in full.
    assert found.promotion == PromotionPlan(3, 0.5, 1)
    assert kept_for_promotion(1000.0, 40.0, found.promotion) == 125.0
    assert kept_for_promotion(100.0, 40.0, found.promotion) == 60.0
    # 1000 s, of which 125 are kept and the teacher takes 5, at 10 s each.
    assert found.trials(1000.0, [0.25]) == 87
    assert found.seconds(87, [0.25]) == 5 + 870 + 100
    # A fifth of them goes on to the second rung, which is five times as long.
    assert found.seconds(90, [0.05, 0.25]) == 5 + 90 * 2 + 18 * 10 + 100
    assert str(found.promotion) == "the best 3 are compared at 50% of the full length, then the best is rebuilt"


def test_promotion_in_little_time_says_what_is_kept_for_it(tmp_path: Path) -> None:
    made = bed(tmp_path)
    found = forecast(Bench(tmp_path / "made"), made.space, made.goal.objective, seed=0)
    assert (found.promoting_s, found.kept_s) == (100.0, None)
    short, enough = replace(found, left_s=100.0), replace(found, left_s=1000.0)
    assert (short.kept_s, enough.kept_s) == (60.0, None)
    whole = "then the best is rebuilt, 1:40"
    assert f"{whole}; 1:00 are kept for it, so all of it is shortened" in "\n".join(in_short(short))
    assert "\n".join(in_short(enough)).partition(whole)[2].startswith("\n")


STEPS = SPACE.replace("fidelity = 0.25", "fidelity = [0.03, 0.1]\nrung_steps = [200, 800]")


def test_rungs_have_their_least_steps_of_a_typical_training(tmp_path: Path) -> None:
    made = bed(tmp_path, STEPS)
    space, steps = in_rungs(made.space, None, Bench(tmp_path / "made"), 0)
    # The fake builder's recipes have 2,000 steps.
    assert (space.rungs, steps) == ((0.1, 0.4), 2000)
    without = bed(tmp_path, STEPS.partition("[[recipe]]")[0]).space
    assert in_rungs(without, None, Bench(tmp_path / "made"), 0)[0].rungs == (0.1, 0.4)


def test_a_study_keeps_the_rungs_that_it_began_with(tmp_path: Path) -> None:
    class Longer(Bench):
        def count_steps(self, recipe: Recipe) -> int:
            return 20_000

    made = bed(tmp_path, STEPS)
    with made.ledger() as ledger:
        space, steps = in_rungs(made.space, ledger, Bench(tmp_path / "made"), 0)
        ledger.set_rungs(space.rungs, steps)
        assert in_rungs(made.space, ledger, Longer(tmp_path / "made"), 0) == (space, 2000)


def test_a_study_that_began_without_least_steps_keeps_its_shares(tmp_path: Path) -> None:
    made = bed(tmp_path, STEPS, trials=1)
    made.run(Bench(tmp_path / "made"))
    with made.ledger() as ledger:
        assert in_rungs(made.space, ledger, Bench(tmp_path / "made"), 0) == (made.space, None)


def test_steps_are_counted_as_the_trainer_takes_them_and_none_is_taken(
    make_context: ContextMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, taken = Recipe((Distillation(epochs=3.0, distortions=1, batch_size=8),)), []
    fit = Trainer.__call__

    def counted(self: Trainer, candidate: Candidate, training: Training) -> None:
        loss = training.loss
        fit(self, candidate, replace(training, loss=lambda batch: taken.append(batch) or loss(batch)))

    monkeypatch.setattr(Trainer, "__call__", counted)
    steps = count_steps(recipe, tiny_candidate(), make_context())
    assert not taken
    recipe.steps[0].apply(tiny_candidate(), make_context())  # type: ignore[union-attr]
    assert len(taken) == steps > 10


def test_an_estimate_of_the_time_takes_a_few_steps_of_a_long_training(
    make_context: ContextMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    fit = Trainer.__call__

    def counted(self: Trainer, candidate: Candidate, training: Training) -> None:
        loss = training.loss
        fit(self, candidate, replace(training, loss=lambda batch: taken.append(len(batch.rows)) or loss(batch)))

    monkeypatch.setattr(Trainer, "__call__", counted)
    found = estimate_time(
        Recipe((Distillation(epochs=100.0, distortions=2, max_steps=100_000),)), tiny_candidate(), make_context()
    )
    assert len(taken) == 12
    assert found.training > 0
    assert found.teacher > 0
