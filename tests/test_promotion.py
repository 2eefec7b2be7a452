"""What is handed out in the end: recorded learning curves in place of trainings."""

import shutil
from pathlib import Path

import pytest
from fake_workshop import Bed, Bench, Curves, bed

from eicompress.advice import advice
from eicompress.recipe import Recipe
from eicompress.record import read_ledger
from eicompress.result import result_of
from eicompress.study import Promoted
from eicompress.values import Artifact

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
        f"Trial {number} is handed out as it was after 50.0% of the full training, with 0.8780 on validation: its "
        "rebuild at 100.0% came to 0.8630."
    ]
    assert result.to_json()["handed_out_as_they_were"] == [number]
    assert [event.number for event in made.events if isinstance(event, Promoted) and not event.rebuilt] == [number]


def test_where_rebuilding_falls_behind_the_advice_is_not_more_time(tmp_path: Path) -> None:
    made, bench = falling(tmp_path)
    lines = advice(made.run(bench))
    assert any(line.startswith("longer training made trial") for line in lines)
    assert not any("probably more" in line for line in lines)


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


def test_rebuilds_that_are_ahead_leave_trials_as_they_were(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=5)
    result = made.run(Bench(tmp_path / "made"))
    assert result.handed_out_as_they_were == []
    assert not result.kept
    assert not list((tmp_path / "study" / "artifacts").glob("*-rebuilt"))
