import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_task

from eicompress import cli
from eicompress.answers import Number
from eicompress.contracts import Examples, Task
from eicompress.errors import Inapplicable, SpecError, StudyError
from eicompress.recipe import Recipe
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent
from eicompress.study.ablation import Built, ablate, markdown, variants
from eicompress.study.with_seeds import scored_with_seeds
from eicompress.tasks.regression import Regression
from eicompress.trials.builder import BUILDS
from eicompress.values import Measurement, Progress, Record

RECIPE = Recipe((ThinStudent(layers=1), Quantization(), Distillation(distortions=6)))
EXAMPLES = 2000


@dataclass
class Bench:
    """Recipes whose quality is known: distillation makes 10 % more texts right, quantization none."""

    folder: Path
    built: list[tuple[str, int]] = field(default_factory=list)
    task: Task = field(default_factory=tiny_task)
    examples: dict[str, Examples] = field(
        default_factory=lambda: {"validation": Examples(("text",) * EXAMPLES, np.zeros(EXAMPLES, np.int64))}
    )

    def scored(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        names = [step.name for step in recipe.steps]
        self.built.append(("+".join(names), seed))
        if "thin_student" not in names:
            raise Inapplicable("nothing to distil into")
        chance = np.random.default_rng(seed)
        right = chance.random(EXAMPLES) < (0.9 if "distillation" in names else 0.8)
        path = self.folder / f"{len(self.built)}.npz"
        np.savez(path, logits=np.stack([right, ~right], axis=1).astype(np.float32))
        measured = (Measurement("quality", float(right.mean()), ""), Measurement("size_mb", len(names) / 4, "MB"))
        return Record((), -1, "complete", measurements=measured, files={"validation_logits": str(path)})


class Graded(Bench):
    """Numbers, which distillation makes follow the data's more closely, on another scale."""

    def scored(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        targets, helped = self.examples["validation"].targets, "distillation" in [step.name for step in recipe.steps]
        noise = np.random.default_rng(seed).normal(size=len(targets))
        logits = 3 * targets + noise if helped else targets + noise
        self.built.append(("", seed))
        path = self.folder / f"{len(self.built)}.npz"
        np.savez(path, logits=logits[:, None].astype(np.float32))
        quality = self.task.score(logits[:, None], targets)
        measured = (Measurement("quality", quality, ""), Measurement("size_mb", 1.0, "MB"))
        return Record((), -1, "complete", measurements=measured, files={"validation_logits": str(path)})


def ignore(_: object) -> None:
    return None


def test_every_step_is_taken_away_and_every_chosen_knob_set_back() -> None:
    made = variants(RECIPE, ["distillation.distortions", "distillation.state_weight=2.0", "thin_student.layers=2"])
    assert [each.name for each in made] == [
        "without thin_student",
        "without quantization",
        "without distillation",
        "distillation.distortions 3 instead of 6",
        "distillation.state_weight 2.0 instead of 0.0",
        "thin_student.layers 2 instead of 1",
    ]
    assert made[1].recipe.steps == (RECIPE.steps[0], RECIPE.steps[2])
    assert made[3].recipe.steps[2] == Distillation()
    assert made[4].recipe.steps[2] == Distillation(distortions=6, state_weight=2.0)


def test_the_second_step_of_a_name_has_a_name_of_its_own() -> None:
    twice = Recipe((Distillation(epochs=1.0), Quantization(), Distillation()))
    made = variants(twice, ["distillation#2.epochs=2.0"])
    names = [each.name for each in made]
    assert names[:3] == ["without distillation", "without quantization", "without distillation#2"]
    assert made[3].recipe.steps == (Distillation(epochs=1.0), Quantization(), Distillation(epochs=2.0))


def test_a_choice_may_be_written_without_quotes() -> None:
    (*_, made) = variants(RECIPE, ["thin_student.from_layers=ends"])
    assert made.recipe.steps[0] == ThinStudent(layers=1, from_layers="ends")


@pytest.mark.parametrize(
    ("knob", "said"),
    [
        ("distilation.epochs", "did you mean `distillation`"),
        ("distillation.epoch", "did you mean `epochs`"),
        ("distillation", "`distillation` has no knob ``"),
        ("distillation.epochs", "must change the recipe, but `distillation.epochs` is 6.0 in it already"),
        ("distillation.epochs=1000.0", "must be in"),
        ("thin_student.from_layers=middle", "must be one of"),
        ('distillation.epochs="', "must have a number"),
    ],
)
def test_a_knob_that_cannot_be_set_back_is_named(knob: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        variants(RECIPE, [knob])


def test_the_gain_in_a_quality_that_is_no_mean_over_texts_is_that_of_the_quality(tmp_path: Path) -> None:
    targets = np.random.default_rng(7).normal(size=200).astype(np.float32)
    examples = {"validation": Examples(("text",) * len(targets), targets)}
    found = ablate(
        Graded(tmp_path, task=Regression(Number()), examples=examples),
        RECIPE,
        variants(RECIPE)[2:],
        fidelity=1.0,
        seeds=[0, 1, 2],
        progress=ignore,
        built=ignore,
    )
    whole, without = found.rows
    assert without.gain is not None and without.gain.mean == pytest.approx(whole.quality - without.quality)
    assert without.gain.low < without.gain.mean < without.gain.high and without.gain.verdict == "gain"
    written = markdown(found)
    assert "in points" not in written and f"| {whole.quality:.4f} |" in written


def test_a_recipe_is_compared_with_another_one_of_the_same_seeds(tmp_path: Path) -> None:
    bench, seen = Bench(tmp_path), list[int]()
    whole, without = (
        scored_with_seeds(bench, recipe, range(3), lambda seed, _: seen.append(seed))
        for recipe in (RECIPE, Recipe(RECIPE.steps[:-1]))
    )
    assert len(whole.qualities) == len(whole.logits) == 3 and not seen, "nothing here has progress"
    assert whole.gain_over(without).mean == pytest.approx(whole.mean("quality") - without.mean("quality"))
    assert whole.gain_over(without).verdict == "gain" and whole.gain_over(whole).verdict == "no gain"


def test_a_step_that_helps_is_distinguished_from_one_that_does_not(tmp_path: Path) -> None:
    events: list[Built] = []
    found = ablate(
        Bench(tmp_path),
        RECIPE,
        variants(RECIPE),
        fidelity=0.5,
        seeds=[0, 1, 2],
        progress=ignore,
        built=events.append,
    )
    whole, student, quantization, distillation = found.rows
    assert whole.quality == pytest.approx(0.9, abs=0.02) and len(whole.qualities) == 3 and whole.gain is None
    assert distillation.gain is not None and distillation.gain.verdict == "gain"
    assert distillation.gain.low < 0.1 < distillation.gain.high and distillation.gain.low > 0.08
    assert quantization.gain is not None and quantization.gain.verdict == "no gain" and quantization.size_mb == 0.5
    assert student.verdict == "nothing to distil into" and not student.qualities
    assert [each.number for each in events] == list(range(1, 13)) and events[0].count == 12
    assert events[1].line() == "2 of 12: without thin_student, seed 0: could not be built"


def test_what_cannot_be_built_is_tried_once_and_all_seeds_are_the_recipes_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    ablate(bench, RECIPE, variants(RECIPE), fidelity=1.0, seeds=[4, 5], progress=ignore, built=ignore)
    tried = [names for names, _ in bench.built]
    assert tried.count("quantization+distillation") == 1
    assert {seed for names, seed in bench.built if names == "thin_student+distillation"} == {4, 5}


def test_a_recipe_that_cannot_be_built_is_an_error(tmp_path: Path) -> None:
    alone = Recipe((Quantization(),))
    with pytest.raises(Inapplicable, match="nothing to distil into"):
        ablate(Bench(tmp_path), alone, variants(alone), fidelity=1.0, seeds=[0], progress=ignore, built=ignore)


def test_the_table_says_in_points_what_the_recipe_has_over_each_row(tmp_path: Path) -> None:
    found = ablate(Bench(tmp_path), RECIPE, variants(RECIPE), fidelity=0.5, seeds=[0], progress=ignore, built=ignore)
    lines = markdown(found).splitlines()
    assert lines[0].startswith("accuracy on the validation split, trained at 50% of the full length, mean over 1 seed")
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells[0] == "without distillation" and cells[4] == "gain, 50% larger"
    assert 8 < float(cells[2]) < 12


@pytest.fixture
def asked(model_folder: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    recipe = {"steps": Recipe((ThinStudent(layers=1), Distillation(epochs=1.0, distortions=1))).to_json()}
    Path("recipe.json").write_text(json.dumps(recipe))
    return ["ablate", "--model", str(model_folder), "--data", str(data_folder), "--recipe", "recipe.json"]


def test_the_command_trains_each_variant_once_and_saves_its_table(
    asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--seeds", "2", "--knob", "distillation.distortions=0", "--output", "table"]
    assert cli.run([*asked, *more]) == 0
    shown = capsys.readouterr().out
    assert "8 of 8: distillation.distortions 0 instead of 1, seed 1:" in shown
    assert "without thin_student" in shown and "verdict" in shown
    saved: dict[str, Any] = json.loads(Path("table/table.json").read_text())
    assert saved["rows"][0]["name"] == "the whole recipe"
    assert len(saved["rows"][3]["qualities"]) == 2 and saved["seeds"] == [0, 1]
    assert Path("table/table.md").read_text().count("\n") == 8
    assert not list((Path("cache") / "single" / BUILDS).iterdir())

    trainings: list[object] = []
    monkeypatch.setattr("eicompress.training.trainer.Trainer.__call__", lambda *given: trainings.append(given))
    assert cli.run([*asked, *more[:-1], "another", "--json"]) == 0
    assert not trainings
    assert json.loads(capsys.readouterr().out) == saved


def test_the_command_needs_a_trial_or_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ablate", "my-data"]) == 2
    assert "either a study and a trial, or a recipe" in capsys.readouterr().err


def test_a_table_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    from eicompress.study.ablation import save

    found = ablate(Bench(tmp_path), RECIPE, variants(RECIPE), fidelity=1.0, seeds=[0], progress=ignore, built=ignore)
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="must be a place to write to"):
        save(found, tmp_path / "file" / "table")
