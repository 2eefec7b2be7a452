import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_builder import FIVE_DRAWS, REGISTRY, SPACE, Bed, Bench, Several, bed, knobs_of, measured
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from eicompress.errors import BudgetError, Inapplicable, MeasureError, StudyError
from eicompress.export.folder import write_files
from eicompress.recipe import Recipe
from eicompress.study import ask_and_tell
from eicompress.study.ask_and_tell import RESTARTS
from eicompress.study.coordinator import run_search
from eicompress.study.events import Doing, Event, Noticed, Promoting, TrialEnded
from eicompress.study.importance import importance
from eicompress.study.ranking import ranked
from eicompress.study.record_files import RECORD_BYTES
from eicompress.study.result import Result
from eicompress.study.samplers import POPULATION
from eicompress.study.search import GRACE_S
from eicompress.study.store import read_ledger
from eicompress.study.streaks import REPEATS
from eicompress.values import Artifact, Measurement, Progress, Quantity, Record, digest_of
from tests.conftest import sampled


class Killed(BaseException):
    """Stands for the end of the process: nothing in the coordinator may survive it."""


def trial_states(folder: Path) -> list[TrialState]:
    return [trial.state for trial in read_ledger(folder / "study").study.get_trials()]


def test_a_search_finds_a_candidate_within_budget_and_rebuilds_it_at_full_length(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    result = bed(tmp_path, trials=8).run(bench)
    assert result.best is not None
    number, best = result.best
    assert result.objective.fits(best)
    assert best.fidelity == 1.0
    assert best.value("quality_test") == 0.8
    assert best.files["artifact"] == str(tmp_path / "study" / "artifacts" / f"trial-{number:04d}")
    assert Artifact(Path(best.files["artifact"])).onnx.is_file()
    assert result.counts.trained == 8
    assert [fidelity for _, fidelity in bench.built] == [0.25] * 8 + [0.5] * 3 + [1.0]


def test_when_a_candidate_was_first_near_its_baseline_is_known(tmp_path: Path) -> None:
    result = bed(tmp_path, trials=10).run(Bench(tmp_path / "made"))
    recorded = [record.recorded_s or 0.0 for record in result.records.values()]
    assert recorded == sorted(recorded) and 0 < recorded[-1] <= result.seconds
    first = next(each for each in result.records.values() if each.outcome == "complete")
    quality = first.value("quality")
    assert quality is not None and result.baseline is not None

    def beside(baseline: float) -> float | None:
        measurements = (Measurement("quality", baseline, ""),)
        return replace(result, baseline=replace(result.baseline, measurements=measurements)).seconds_to_near

    assert beside(quality / 0.981) == first.recorded_s
    assert beside(2.0) is None and result.to_json()["seconds_to_near"] == result.seconds_to_near


def test_known_recipes_are_tried_first(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=1)
    result = made.run(Bench(tmp_path / "made"))
    assert result.records[0].recipe[1] == {"strategy": "thin", "layers": 2, "rate": 0.5}


def test_the_filled_knob_uses_up_the_size_budget(tmp_path: Path) -> None:
    result = bed(tmp_path, trials=6).run(Bench(tmp_path / "made"))
    sizes = [record.value("size_mb") for record in result.records.values() if record.outcome == "complete"]
    assert all(size is not None and 1.98 <= size <= 2.0 for size in sizes)


def test_what_is_over_budget_is_previewed_and_never_trained(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    made = bed(tmp_path, trials=10)
    result = made.run(bench)
    counts = result.counts
    assert counts.over_budget > 0
    assert counts.reached == counts.trained == 10
    over = [record for record in result.records.values() if record.outcome == "over budget"]
    assert not any(record.trained for record in over)
    assert not {digest_of(list(record.recipe)) for record in over} & {digest for digest, _ in bench.built}
    assert "latency_ms" in over[0].reason or "size_mb" in over[0].reason


def test_every_trial_that_ends_has_all_its_constraints(tmp_path: Path) -> None:
    bed(tmp_path, trials=10).run(Bench(tmp_path / "made"))
    for trial in read_ledger(tmp_path / "study").study.get_trials():
        assert set(trial.constraints) == {"size_mb", "latency_ms"}
        expected = TrialState.PRUNED if max(trial.constraints.values()) > 0 else TrialState.COMPLETE
        assert trial.state == expected


def test_a_size_over_budget_after_training_is_over_budget_whatever_the_preview_said(tmp_path: Path) -> None:
    class Growing(Bench):
        def build(self, recipe: Recipe, **more: Any) -> Record:
            record = super().build(recipe, **more)
            grown = tuple(replace(each, value=2.5) if each.name == "size_mb" else each for each in record.measurements)
            return replace(record, measurements=grown)

    with pytest.raises(BudgetError, match=r"no candidate met the budget.*nearest is trial \d.*size_mb 2.5"):
        bed(tmp_path, trials=3).run(Growing(tmp_path / "made"))


def test_a_search_is_exhausted_when_every_recipe_was_drawn_and_not_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    made = bed(tmp_path, FIVE_DRAWS, timeout_s=1e9)
    result = made.run(bench)
    assert "exhausted" in made.ended()
    own = [record for record in result.records.values() if record.repeat_of is None]
    assert sorted(knobs_of(made.registry.recipe(record.recipe))[1] for record in own) == [1, 2, 3, 4, 5]
    assert result.counts.repeats >= REPEATS
    assert len({record.draw for record in result.records.values()}) == len(result.records)


def test_draws_that_repeat_give_way_to_recipes_that_were_never_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a sampler draws: this one knows a single recipe."""

    class Stubborn(RandomSampler):
        def sample_independent(self, *_: Any) -> int:
            return 3

    monkeypatch.setattr(ask_and_tell, "sampler", lambda *_, **__: Stubborn())
    made = bed(tmp_path, FIVE_DRAWS, budgets={"size_mb": 9.0}, timeout_s=1e9)
    assert made.run(Bench(tmp_path / "made")).counts.trained == 5
    assert "every recipe of it was drawn" in made.ended()


def test_the_time_that_a_study_took_is_known_while_a_trial_runs(tmp_path: Path) -> None:
    known: list[float] = []

    class Slow(Bench):
        def build(self, recipe: Recipe, *, progress: Any, **more: Any) -> Record:
            self.now += 100
            progress(Progress("training", 1, 2, 0.7))
            known.append(read_ledger(tmp_path / "study").seconds())
            return super().build(recipe, progress=progress, **more)

    bed(tmp_path, trials=1).run(Slow(tmp_path / "made"))
    assert known[0] >= 100


def test_a_repeat_teaches_the_sampler_nothing(tmp_path: Path) -> None:
    result = bed(tmp_path, FIVE_DRAWS, timeout_s=1e9).run(Bench(tmp_path / "made"))
    states = {trial.number: trial.state for trial in read_ledger(tmp_path / "study").study.get_trials()}
    repeats = {number for number, record in result.records.items() if record.repeat_of is not None}
    assert repeats == {number for number, state in states.items() if state == TrialState.FAIL}


def test_an_inapplicable_strategy_is_an_outcome(tmp_path: Path) -> None:
    def fails(stage: str, recipe: Recipe, calls: int) -> None:
        if stage == "preview" and knobs_of(recipe)[1] >= 3:
            raise Inapplicable("the model has 2 layers")

    result = bed(tmp_path, trials=3).run(Bench(tmp_path / "made", fails))
    reasons = {record.reason for record in result.records.values() if record.outcome == "inapplicable"}
    assert reasons == {"the model has 2 layers"}
    assert result.counts.inapplicable > 0
    pruned = [trial for trial in read_ledger(tmp_path / "study").study.get_trials() if trial.state.name == "PRUNED"]
    assert {tuple(trial.constraints.values()) for trial in pruned} >= {(1.0, 1.0)}


def test_a_crash_is_one_failed_trial_with_its_traceback(tmp_path: Path) -> None:
    def fails(stage: str, recipe: Recipe, calls: int) -> None:
        if stage == "build" and calls == 1:
            raise ZeroDivisionError("a bug in a plug-in")

    result = bed(tmp_path, trials=4).run(Bench(tmp_path / "made", fails))
    assert result.counts.failed == 1
    assert result.counts.trained == 3
    failed = next(record for record in result.records.values() if record.outcome == "failed")
    assert "in fails" in failed.reason
    assert "ZeroDivisionError: a bug in a plug-in" in failed.reason
    assert TrialState.FAIL in trial_states(tmp_path)


def test_ten_crashes_in_a_row_end_the_search_with_the_reason(tmp_path: Path) -> None:
    def fails(stage: str, recipe: Recipe, calls: int) -> None:
        if stage == "build":
            raise ZeroDivisionError("a bug in us")

    with pytest.raises(StudyError, match=r"10 candidates in a row crashed.*a bug in us"):
        bed(tmp_path, trials=99).run(Bench(tmp_path / "made", fails))


def test_a_full_disk_ends_the_search_with_one_message(tmp_path: Path) -> None:
    def fails(stage: str, recipe: Recipe, calls: int) -> None:
        if stage == "build":
            raise OSError(28, "No space left on device", "/somewhere")

    with pytest.raises(StudyError, match="`/somewhere` must be a place to write to, but: No space left"):
        bed(tmp_path, trials=9).run(Bench(tmp_path / "made", fails))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Of a search for five trials."""
    folder = tmp_path_factory.mktemp("whole")
    return bed(folder, trials=5, promotion_seeds=2).run(Bench(folder / "made"))


@pytest.mark.parametrize(
    ("stage", "calls", "end"), sampled(5, ("preview", "build", "extras"), (1, 2), (KeyboardInterrupt, Killed))
)
def test_a_search_that_was_interrupted_ends_where_it_would_have_ended(
    tmp_path: Path, stage: str, calls: int, end: type[BaseException], undisturbed: Result
) -> None:
    def fails(at: str, recipe: Recipe, number: int) -> None:
        if (at, number) == (stage, calls):
            raise end()

    made = bed(tmp_path, trials=5, promotion_seeds=2)
    first, second = Bench(tmp_path / "made", fails), Bench(tmp_path / "made")
    with pytest.raises(end):
        made.run(first)
    result = made.run(second)
    assert [record.recipe for _, record in ranked(result.records, result.objective)] == [
        record.recipe for _, record in ranked(undisturbed.records, undisturbed.objective)
    ]
    assert sorted(record.draw for record in result.records.values()) == sorted(
        record.draw for record in undisturbed.records.values()
    )
    trained = [digest for digest, fidelity in first.built + second.built if fidelity <= 0.25]
    assert len(trained) == len(set(trained)), "a trial with a record was trained again"
    assert result.best is not None
    assert result.best[1].fidelity == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("calls", [3, 22])
def test_evolution_that_was_killed_goes_on_and_trains_nothing_twice(tmp_path: Path, calls: int) -> None:
    def fails(at: str, recipe: Recipe, number: int) -> None:
        if (at, number) == ("build", calls):
            raise Killed()

    made = bed(tmp_path, sampler="nsga2", trials=POPULATION + 5)
    first, second = Bench(tmp_path / "made", fails), Bench(tmp_path / "made")
    with pytest.raises(Killed):
        made.run(first)
    result = made.run(second)
    trained = [digest for digest, fidelity in first.built + second.built if fidelity <= 0.25]
    assert len(trained) == len(set(trained)) == result.counts.trained == POPULATION + 5


@pytest.mark.slow
def test_evolution_finds_better_ones_than_it_began_with(tmp_path: Path) -> None:
    result = bed(tmp_path, sampler="nsga2", trials=4 * POPULATION).run(Bench(tmp_path / "made"))
    complete = [record.value("quality") or 0.0 for record in result.records.values() if record.outcome == "complete"]
    first, last = complete[:POPULATION], complete[-POPULATION:]
    assert sum(last) > sum(first) and max(last) > max(first)


def test_a_record_written_before_the_tell_is_used_and_not_built_again(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=3)

    def interrupted(event: Event) -> None:
        made.events.append(event)
        if isinstance(event, TrialEnded) and len(made.trials_ended()) == 2:
            raise KeyboardInterrupt

    first, second = Bench(tmp_path / "made"), Bench(tmp_path / "made")
    with made.ledger() as ledger, pytest.raises(KeyboardInterrupt):
        run_search(made.search(first, ledger, interrupted))
    made.run(second)
    trained = [digest for digest, fidelity in first.built + second.built if fidelity <= 0.25]
    assert len(trained) == len(set(trained)) == 3


def test_a_finished_study_says_so_and_builds_nothing(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=3)
    first = made.run(Bench(tmp_path / "made"))
    bench = Bench(tmp_path / "made")
    again = made.run(bench)
    assert bench.calls == {"preview": 0, "build": 0, "extras": 0}
    assert again.best == first.best
    assert "as asked" in made.ended()


def test_more_trials_go_on_where_the_study_ended(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=3)
    made.run(Bench(tmp_path / "made"))
    made.goal = replace(made.goal, trials=5)
    bench = Bench(tmp_path / "made")
    result = made.run(bench)
    assert result.counts.trained == 5
    assert len([fidelity for _, fidelity in bench.built if fidelity <= 0.25]) == 2


class Talkative(Bench):
    """Its records are too long for a field of the database."""

    def build(self, recipe: Recipe, **more: Any) -> Record:
        return replace(super().build(recipe, **more), facts={"words": {"all": "x" * RECORD_BYTES}})


@pytest.mark.slow
def test_a_study_with_long_records_counts_the_same_when_it_goes_on(tmp_path: Path) -> None:
    results = []
    for bench in (Bench, Talkative):
        root = tmp_path / bench.__name__
        root.mkdir()
        made = bed(root, FIVE_DRAWS.replace("[[slot]]", "fidelity = [0.08, 0.25]\n[[slot]]"), trials=3)
        made.run(bench(root / "made"))
        made.goal = replace(made.goal, trials=5)
        results.append(made.run(bench(root / "made")))
    short, long = results
    assert long.counts == short.counts and long.counts.repeats > 0 and long.counts.stopped > 0
    assert [each.rungs for each in long.records.values()] == [each.rungs for each in short.records.values()]
    assert long.seconds_to_near == short.seconds_to_near


def test_time_is_kept_for_rebuilding_the_best(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    made = bed(tmp_path, timeout_s=400.0)
    result = made.run(bench)
    assert bench.now <= 400
    assert {record.fidelity for record in result.compared.values()} == {0.5}
    assert {record.fidelity for record in result.promoted.values()} == {1.0}
    assert result.counts.trained >= 8
    assert re.fullmatch(r"no time was left for another candidate of about \d+ s", str(made.ended()))


def test_too_little_time_makes_a_shorter_rebuild_and_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    made = bed(tmp_path, timeout_s=50.0)
    result = made.run(bench)
    (promoting,) = [event for event in made.events if isinstance(event, Promoting)]
    assert 0.25 <= promoting.fidelity < 1.0
    assert result.best is not None
    assert bench.now <= 60


IN_RUNGS = SPACE.replace("fidelity = 0.25", "fidelity = [0.05, 0.5]").replace(
    "fill = true, low = 1000, high = 20000", "low = 500, high = 9000"
)


@pytest.mark.parametrize(("timeout_s", "least", "most"), [(24.0, 0.05, 0.5), (40.0, 0.5, 1.0)])
def test_in_little_time_candidates_are_compared_briefly_and_the_rebuild_gets_most_of_it(
    tmp_path: Path, timeout_s: float, least: float, most: float
) -> None:
    """Where the first had no time for its next rung and a longer rebuild, none gets that rung. The rebuild may be
    shorter than it."""
    bench = Bench(tmp_path / "made")
    made = bed(tmp_path, IN_RUNGS, timeout_s=timeout_s, seed=1)
    result = made.run(bench)
    *short, rebuild = [fidelity for _, fidelity in bench.built]
    assert short and set(short) == {0.05} and least < rebuild < most
    assert [(each.outcome, each.fidelity) for each in result.records.values() if each.trained] == [
        ("complete", 0.05) for _ in short
    ]
    assert [each.fidelity for each in result.promoted.values()] == [rebuild]
    assert bench.now <= timeout_s


def test_one_candidate_is_compared_with_none_so_another_gets_the_time_of_that(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    result = bed(tmp_path, IN_RUNGS, timeout_s=110.0, seed=1).run(bench)
    first, longer, *others, rebuild = [fidelity for _, fidelity in bench.built]
    assert (first, longer, rebuild) == (0.05, 0.5, 1.0) and others
    assert {each.fidelity for each in result.promoted.values()} == {1.0}


def hangs(bench: Bench, build: int) -> None:
    """From this one on, let the bench's builds take an hour."""

    def fails(stage: str, recipe: Recipe, calls: int) -> None:
        bench.now += 3600 if stage == "build" and calls >= build else 0

    bench.fails = fails


def test_a_training_that_runs_when_the_time_is_used_up_is_stopped_and_the_best_is_handed_out(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path, timeout_s=400.0)
    hangs(bench, 3)
    result = made.run(bench, Several(bench, 1))
    assert bench.now <= 400 + 2 * GRACE_S
    assert result.counts.trained == 2 and result.best is not None
    (said,) = [each for each in notices(made) if each.startswith("the training of trial")]
    assert said.endswith("was stopped: the time for the search is used up")
    ended = {record.draw for record in result.records.values()}
    on = Bench(tmp_path / "made", now=bench.now)
    longer = replace(made, goal=replace(made.goal, timeout_s=800.0)).run(on, Several(on, 1))
    assert longer.counts.failed == 0
    drawn = {record.draw for record in longer.records.values()}
    assert drawn == {*range(len(drawn))} > ended, "what was stopped is drawn again"


def test_a_rebuild_that_runs_when_the_time_is_used_up_leaves_the_trial_as_it_is(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path, trials=3, timeout_s=400.0)
    hangs(bench, 4)
    result = made.run(bench, Several(bench, 1))
    assert bench.now <= 400 + 2 * GRACE_S
    assert result.counts.trained == 3 and not result.rebuilds
    assert len(result.kept) == 1 and result.best is not None


def test_what_was_spent_before_the_first_trial_is_time_of_the_search(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made", baselines=simple(tmp_path, 0.9))
    made = bed(tmp_path, timeout_s=400.0)
    with made.ledger() as ledger:
        search = made.search(bench, ledger, made.events.append)
        search.prepared_s = 401.0
        result = run_search(search)
    assert (bench.calls["build"], bench.calls["preview"]) == (0, 0)
    assert made.ended() == "the time for the search is used up"
    assert result.best is not None and result.best[0] == "tf-idf" and result.seconds >= 401


@pytest.mark.parametrize(
    ("reads_s", "prepared_s", "read"), [(30.0, 0.0, True), (100.0, 0.0, False), (1.0, 401.0, False)]
)
def test_time_is_kept_for_the_baseline_on_test_or_it_is_left_out(
    tmp_path: Path, reads_s: float, prepared_s: float, read: bool
) -> None:
    bench = Bench(tmp_path / "made", baselines=simple(tmp_path, 0.5), reads_test_s=reads_s)
    made = bed(tmp_path, timeout_s=400.0)
    with made.ledger() as ledger:
        search = made.search(bench, ledger, made.events.append)
        search.prepared_s = prepared_s
        result = run_search(search)
    assert result.best is not None and result.best[1].value("quality_test") == 0.8
    assert (result.best[1].facts["baseline"]["quality_test"] is not None) == read
    assert any("no time was left to measure the baseline on the test split" in each for each in notices(made)) != read
    assert bench.now + prepared_s <= 410


def test_a_budget_below_what_is_reachable_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    with pytest.raises(BudgetError, match=r"budget of 0.2 MB.*smallest reachable is 0.4 MB \(layers 0.30 MB, emb"):
        bed(tmp_path, budgets={"size_mb": 0.2}, trials=3).run(bench)
    assert (bench.calls["build"], bench.calls["extras"]) == (0, 0)


def test_a_latency_below_what_is_reachable_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"budget of 0.1 ms.*smallest reachable is 0.5 ms"):
        bed(tmp_path, budgets={"latency_ms": 0.1}, trials=3).run(Bench(tmp_path / "made"))


def test_the_reward_lets_slow_candidates_train(tmp_path: Path) -> None:
    made = bed(tmp_path, objective="reward", budgets={"size_mb": 4.0, "latency_ms": 0.1}, trials=4)
    result = made.run(Bench(tmp_path / "made"))
    assert result.counts.trained == 4
    assert result.best is not None


TRADE = """
fidelity = 0.25
[[slot]]
strategy = "words"
tokens = { fill = true, low = 1000, high = 20000 }
[[slot]]
strategy = "thin"
layers = { low = 1, high = 8 }
"""


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_trade_of_two_metrics_ends_with_rebuilds_spread_along_its_front(tmp_path: Path, sampler: str) -> None:
    made = bed(
        tmp_path, TRADE, objective="pareto", metrics=("quality", "size_mb"), budgets={}, sampler=sampler, trials=25
    )
    made.space = made.space.unfilled()
    result = made.run(Bench(tmp_path / "made"))
    sizes = [record.value("size_mb") for _, record in result.front]
    assert len(sizes) > 4
    assert sizes == sorted(sizes, key=lambda size: -(size or 0.0))
    assert len(result.promoted) == 4
    assert {*result.promoted} <= {number for number, _ in result.front}
    assert result.best is not None
    assert result.best[0] == result.front[0][0]
    study = read_ledger(tmp_path / "study")
    assert [direction.name for direction in study.study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert sum(importance(study.study).values()) == pytest.approx(1.0)


def test_a_search_stops_at_the_quality_that_was_asked_for_and_rebuilds_nothing(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path, trials=50, stop_at=0.6)
    result = made.run(bench)
    assert made.ended() == "a candidate within budget has a quality of 0.6, as asked"
    assert result.best is not None
    assert (result.best[1].value("quality") or 0.0) >= 0.6
    assert result.best[1].value("quality_test") == 0.8
    assert {fidelity for _, fidelity in bench.built} == {0.25}
    assert result.counts.trained < 50
    names = [each.name for each in result.best[1].measurements]
    assert len(names) == len({*names})


def test_the_least_quality_is_a_budget(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=10, budgets={"size_mb": 2.0, "latency_ms": 2.0, "quality": 0.7})
    result = made.run(Bench(tmp_path / "made"))
    below = [each for each in result.records.values() if each.trained and (each.value("quality") or 0.0) < 0.7]
    assert below
    assert {each.outcome for each in below} == {"over budget"}
    assert "below the least" in below[0].reason
    for trial in read_ledger(tmp_path / "study").study.get_trials():
        assert set(trial.constraints) == {"size_mb", "latency_ms", "quality"}


@dataclass
class Metered(Bench):
    """A builder that has a foreign metric too: 1 mJ a layer, which four layers break the meter of."""

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        record, (_, layers, _) = super().preview(recipe, size_only=size_only), knobs_of(recipe)
        if layers == 4:
            return record.with_measured((), {"energy_mj": "the meter is off"})
        return record.with_measured([Measurement("energy_mj", float(layers), "mJ")], {})


ENERGY = Quantity("energy_mj", "mJ", "minimize", "energy", preview=True)


def test_a_limit_of_a_foreign_metric_is_kept_as_any_other(tmp_path: Path) -> None:
    made = bed(tmp_path, FIVE_DRAWS, foreign=[ENERGY], budgets={"energy_mj": 2.0, "size_mb": 9.0}, trials=5)
    result = made.run(Metered(tmp_path / "made"))
    own = [each for each in result.records.values() if each.repeat_of is None]
    outcomes = {each.recipe[0]["layers"]: (each.outcome, each.trained, each.reason) for each in own}
    assert outcomes[1] == outcomes[2] == ("complete", True, "")
    assert outcomes[3] == ("over budget", False, "energy_mj 50.0% over budget")
    assert outcomes[4] == ("inapplicable", False, "`energy_mj` could not be measured: the meter is off")
    assert read_ledger(tmp_path / "study").metrics()["energy_mj"] == ENERGY
    assert result.best is not None and result.best[1].value("energy_mj") == 2.0


def test_a_foreign_metric_is_what_is_optimised(tmp_path: Path) -> None:
    goal = {"objective": "energy_mj", "metrics": ("energy_mj",), "budgets": {"quality": 0.55}}
    result = bed(tmp_path, FIVE_DRAWS, foreign=[ENERGY], trials=5, **goal).run(Metered(tmp_path / "made"))
    assert result.best is not None and result.best[1].value("energy_mj") == 1.0
    study = read_ledger(tmp_path / "study").study
    assert [each.name for each in study.directions] == ["MINIMIZE"]


def test_a_metric_that_fails_and_that_nothing_goes_by_spoils_no_trial(tmp_path: Path) -> None:
    made = bed(tmp_path, FIVE_DRAWS, foreign=[ENERGY], budgets={"size_mb": 9.0}, trials=5)
    records = made.run(Metered(tmp_path / "made")).records.values()
    failed = [each for each in records if each.unmeasured and each.repeat_of is None]
    assert [(each.outcome, each.trained) for each in failed] == [("complete", True)]
    assert failed[0].reason == "`energy_mj` could not be measured: the meter is off"


RUNGS = SPACE.replace("fidelity = 0.25", "fidelity = [0.08, 0.25]")
NONE_GIVEN = RUNGS.partition("[[recipe]]")[0]
THREE_RUNGS = NONE_GIVEN.replace("[0.08, 0.25]", "[0.03, 0.08, 0.25]")


def test_short_trainings_first_and_what_is_behind_is_trained_no_longer(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path, RUNGS, trials=20)
    result = made.run(bench)
    counts = result.counts
    assert counts.stopped + counts.trained == counts.reached == 20
    assert counts.stopped > counts.trained
    lengths = [fidelity for _, fidelity in bench.built]
    assert lengths.count(0.08) == 20
    assert lengths.count(0.25) == counts.trained
    stopped = next(each for each in result.records.values() if each.outcome == "stopped early")
    assert stopped.reason == "behind others after 8% of the full training"
    assert stopped.fidelity == 0.08
    assert result.best is not None
    assert result.best[1].fidelity == 1.0
    first, second = result.agreements
    assert (first.short, first.full, first.pairs) == (0.08, 0.25, counts.trained)
    assert first.correlation == pytest.approx(1.0)
    assert (second.short, second.full, second.pairs) == (0.25, 0.5, 3)
    pruned = [trial for trial in read_ledger(tmp_path / "study").study.get_trials() if trial.intermediate_values]
    assert len(pruned) == counts.stopped
    assert {trial.state for trial in pruned} == {TrialState.PRUNED}


def test_three_come_to_a_rung_before_one_goes_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    result = bed(tmp_path, NONE_GIVEN, sampler="random", trials=6).run(bench)
    lengths = [fidelity for _, fidelity in bench.built if fidelity <= 0.25]
    assert lengths[:4] == [0.08, 0.08, 0.08, 0.25]
    assert lengths.count(0.08) == 6
    assert lengths.count(0.25) == result.counts.trained <= 3
    compared = [record for record in result.records.values() if record.rungs]
    assert max(compared, key=lambda record: record.rungs[0].quality).outcome == "complete"


def test_the_first_at_a_later_rung_waits_for_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    result = bed(tmp_path, THREE_RUNGS, sampler="random", trials=9).run(bench)
    lengths = [fidelity for _, fidelity in bench.built if fidelity <= 0.25]
    assert lengths[:6] == [0.03, 0.03, 0.03, 0.08, 0.25, 0.03]
    assert lengths.count(0.25) == result.counts.trained < lengths.count(0.08) < lengths.count(0.03) == 9


def test_what_was_to_go_on_is_trained_no_longer_once_another_is_good_enough(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    result = bed(tmp_path, NONE_GIVEN, sampler="random", seed=2, trials=30, stop_at=0.71).run(bench)
    complete = [record for record in result.records.values() if record.outcome == "complete"]
    assert [record for record in complete if (record.value("quality") or 0.0) >= 0.71] == [complete[-1]]
    needless = [record for record in result.records.values() if record.reason.startswith("not needed any more")]
    assert len(needless) >= 1
    assert bench.built[-1][1] == 0.25


def test_where_time_is_limited_the_first_waits_for_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    bed(tmp_path, NONE_GIVEN, timeout_s=400.0).run(bench)
    assert [fidelity for _, fidelity in bench.built[:2]] == [0.08, 0.25]


def test_a_search_whose_time_ends_between_two_rungs_hands_out_what_the_first_came_to(tmp_path: Path) -> None:
    result = bed(tmp_path, NONE_GIVEN, timeout_s=10.0).run(Bench(tmp_path / "made"))
    assert [(each.outcome, each.fidelity) for each in result.records.values()] == [("complete", 0.08)]
    assert result.best is not None and result.best[0] == 0


@pytest.fixture(scope="module")
def undisturbed_in_rungs(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Of a search for eight trials."""
    folder = tmp_path_factory.mktemp("whole")
    return bed(folder, THREE_RUNGS, trials=8).run(Bench(folder / "made"))


@pytest.mark.parametrize(
    "calls", [4, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11))]
)
def test_a_search_in_rungs_that_was_killed_ends_where_it_would_have_ended(
    tmp_path: Path, calls: int, undisturbed_in_rungs: Result
) -> None:
    def fails(at: str, recipe: Recipe, number: int) -> None:
        if (at, number) == ("build", calls):
            raise Killed()

    made = bed(tmp_path, THREE_RUNGS, trials=8)
    with pytest.raises(Killed):
        made.run(Bench(tmp_path / "made", fails))
    result = made.run(Bench(tmp_path / "made"))
    ends = [
        {each.draw: (each.recipe, each.outcome, each.fidelity) for each in found.records.values()}
        for found in (result, undisturbed_in_rungs)
    ]
    assert ends[0] == ends[1]
    assert result.counts == undisturbed_in_rungs.counts


def test_a_recipe_that_was_given_is_trained_to_the_end_however_it_begins(tmp_path: Path) -> None:
    code = RUNGS + '[[recipe]]\nsteps = [{ strategy = "words" }, { strategy = "thin", layers = 1, rate = 1.0 }]\n'
    made = bed(tmp_path, code, trials=2)
    result = made.run(Bench(tmp_path / "made"))
    assert result.counts.trained == 2
    assert [len(result.records[number].rungs) for number in (0, 1)] == [2, 2]


def test_the_best_are_rebuilt_with_as_many_seeds_as_asked_for(tmp_path: Path) -> None:
    bench, made = Bench(tmp_path / "made"), bed(tmp_path, trials=5, promotion_seeds=3)
    result = made.run(bench)
    assert [fidelity for _, fidelity in bench.built if fidelity == 1.0] == [1.0] * 3
    assert {record.seed for rebuilds in result.rebuilds.values() for record in rebuilds} == {0, 1, 2}
    for number in result.promoted:
        spread = result.spread(number, "quality_test")
        assert spread is not None
        assert (spread.mean, spread.deviation, spread.seeds) == (pytest.approx(0.8), pytest.approx(0.0), 3)
    assert result.spread(max(result.records) + 1, "quality") is None
    assert (tmp_path / "study" / "artifacts" / f"trial-{next(iter(result.promoted)):04d}-seed-2").is_dir()


def test_progress_is_reported_while_a_trial_trains(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=1)
    made.run(Bench(tmp_path / "made"))
    phases = [event.progress.phase for event in made.events if isinstance(event, Doing)]
    assert phases[:2] == ["preview", "training"]


def test_a_listener_that_fails_is_noticed_and_the_search_goes_on(tmp_path: Path) -> None:
    def listener(record: Record) -> None:
        raise ValueError("no disk for a log")

    made = bed(tmp_path, trials=2)
    made.registry = replace(REGISTRY, listeners=(listener,))
    assert made.run(Bench(tmp_path / "made")).counts.trained == 2
    assert any(isinstance(event, Noticed) and "no disk for a log" in event.text for event in made.events)


def test_several_workers_train_as_many_candidates_as_asked_and_each_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    workers = Several(bench, 3)
    result = bed(tmp_path, trials=8).run(bench, workers)
    assert workers.most == 3
    assert result.counts.reached == 8
    draws = [record.draw for record in result.records.values()]
    assert sorted(draws) == list(range(len(draws)))
    trained = [digest for digest, fidelity in bench.built if fidelity <= 0.25]
    assert len(trained) == len(set(trained)) == 8
    assert result.best is not None and result.best[1].fidelity == 1.0


def test_what_is_drawn_again_while_it_runs_is_a_repeat(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    result = bed(tmp_path, FIVE_DRAWS, budgets={"size_mb": 9.0}, trials=5).run(bench, Several(bench, 4))
    trained = [digest for digest, _ in bench.built[:5]]
    assert len(trained) == len(set(trained)) == 5
    of = {each.repeat_of for each in result.records.values() if each.repeat_of is not None}
    assert of <= {number for number, record in result.records.items() if record.repeat_of is None}


def test_a_lost_job_is_tried_again_and_the_search_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    expected = bed(tmp_path / "whole", trials=4).run(Bench(tmp_path / "made"))
    (tmp_path / "lost").mkdir()
    bench = Bench(tmp_path / "made")
    made = bed(tmp_path / "lost", trials=4)
    result = made.run(bench, Several(bench, 1, lost=RESTARTS))
    assert result.records.keys() == expected.records.keys()
    assert [record.recipe for record in result.records.values()] == [
        record.recipe for record in expected.records.values()
    ]
    noticed = [event.text for event in made.events if isinstance(event, Noticed)]
    assert [text for text in noticed if "again" in text] == ["trial 0 starts again: its process was killed"] * RESTARTS


def test_a_job_that_is_lost_again_and_again_is_one_failed_trial(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "made")
    result = bed(tmp_path, trials=3).run(bench, Several(bench, 1, lost=RESTARTS + 1))
    assert result.counts.failed == 1
    assert (result.records[0].outcome, result.records[0].reason) == ("failed", "its process was killed")


def simple(tmp_path: Path, quality: float, size: float = 0.5, latency: float = 0.03) -> dict[str, Record]:
    """Simple baselines, of which one is an artifact."""
    made = write_files({"onnx/model.onnx": b"words"}, tmp_path / "made" / "artifact", {})
    majority = Record(recipe=(), draw=-1, outcome="complete", measurements=measured(None, None, 0.99))
    tfidf = replace(majority, measurements=measured(size, latency, quality), files={"artifact": str(made.folder)})
    return {"majority class": majority, "tf-idf": tfidf}


def notices(made: Bed) -> list[str]:
    return [event.text for event in made.events if isinstance(event, Noticed)]


def test_a_simple_baseline_that_beats_the_best_candidate_is_what_to_ship(tmp_path: Path) -> None:
    made, bench = bed(tmp_path, trials=3), Bench(tmp_path / "made", baselines=simple(tmp_path, 0.95))
    result = made.run(bench)
    assert result.best is not None and result.best_candidate is not None
    name, record = result.best
    assert name == "tf-idf" and record.value("quality_test") == 0.8
    assert (made.root / "study" / "artifacts" / "tf-idf" / "onnx" / "model.onnx").read_bytes() == b"words"
    assert record.files["artifact"] == str(made.root / "study" / "artifacts" / "tf-idf")
    assert result.verdict == notices(made)[-1]
    assert "Ship the simple baseline tf-idf (0.9500 in 0.500 MB): the best candidate, trial" in result.verdict
    assert result.to_json()["best"]["trial"] == "tf-idf"
    extras = bench.calls["extras"]
    made.run(bench)
    assert bench.calls["extras"] == extras, "its test split must be read once"


def test_a_simple_baseline_that_cannot_be_measured_at_the_end_does_not_end_the_search(tmp_path: Path) -> None:
    def fails(stage: str, recipe: Recipe, call: int) -> None:
        if stage == "extras":
            raise MeasureError("the device `phone` timed nothing: the cable is loose")

    made = bed(tmp_path, trials=3)
    result = made.run(Bench(tmp_path / "made", fails, baselines=simple(tmp_path, 0.95)))
    assert result.best is not None and result.best[0] == "tf-idf"
    said = "tf-idf could not be handed out: the device `phone` timed nothing: the cable is loose"
    assert notices(made)[-2:] == [said, result.verdict]


@pytest.mark.parametrize(
    ("quality", "size", "latency"),
    [(0.4, 0.5, 0.03), (0.95, 2.5, 0.03), (0.95, 0.5, 3.0)],
    ids=["worse", "big", "slow"],
)
def test_a_simple_baseline_that_loses_or_is_over_budget_is_not_shipped(
    tmp_path: Path, quality: float, size: float, latency: float
) -> None:
    made = bed(tmp_path, trials=3)
    result = made.run(Bench(tmp_path / "made", baselines=simple(tmp_path, quality, size, latency)))
    assert result.best is not None and result.best == result.best_candidate
    assert result.verdict == "" and not (made.root / "study" / "artifacts" / "tf-idf").exists()


def test_of_equal_quality_the_fewer_bytes_are_shipped(tmp_path: Path) -> None:
    first = bed(tmp_path, trials=3).run(Bench(tmp_path / "made"))
    assert first.best is not None
    quality, size = (first.best[1].value(name) or 0.0 for name in ("quality", "size_mb"))
    for extra, shipped in ((-0.1, True), (0.1, False)):
        folder = tmp_path / f"{extra}"
        folder.mkdir()
        bench = Bench(folder / "made", baselines=simple(folder, quality, size + extra))
        assert bool(bed(folder, trials=3).run(bench).verdict) == shipped


def test_a_search_whose_budget_no_candidate_can_meet_ends_with_a_simple_baseline(tmp_path: Path) -> None:
    budgets = {"size_mb": 0.1}
    made = bed(tmp_path, trials=3, budgets=budgets)
    bench = Bench(tmp_path / "made", baselines=simple(tmp_path, 0.7, 0.09))
    result = made.run(bench)
    assert result.best is not None and result.best[0] == "tf-idf" and not bench.built
    assert "no candidate of this search space can meet the budget" in made.ended()
    assert result.verdict == "Ship the simple baseline tf-idf (0.7000 in 0.090 MB): no candidate is within budget."
