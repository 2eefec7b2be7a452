from dataclasses import replace
from pathlib import Path

import pytest
from fake_builder import REGISTRY, SPACE, Bench, bed

from eicompress.errors import SpecError
from eicompress.study.space_file import read_space
from eicompress.study.warm_start import as_parameters, best_recipes, recipe_files


def test_the_best_recipes_of_another_study_are_tried_first_and_their_numbers_do_not_travel(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    first = bed(tmp_path / "first", trials=8).run(Bench(tmp_path / "made"))
    recipes = best_recipes(first)
    assert len(recipes) == 5
    assert first.best is not None
    assert recipes[0][1] == first.best[1].recipe

    (tmp_path / "second").mkdir()
    bench, made = Bench(tmp_path / "made"), bed(tmp_path / "second", trials=6)
    known, left_out = as_parameters(made.space, recipes)
    assert left_out == []
    made.space = replace(made.space, known=(*known, *made.space.known))
    second = made.run(bench)
    assert [second.records[number].recipe[1] for number in range(5)] == [steps[1] for _, steps in recipes]
    assert len([fidelity for _, fidelity in bench.built if fidelity <= 0.25]) == 6


def test_a_recipe_that_the_space_does_not_hold_is_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    space = read_space(str(path), REGISTRY)
    good = ({"strategy": "words", "tokens": 4321}, {"strategy": "thin", "layers": 3, "rate": 0.25})
    bad = ({"strategy": "words"}, {"strategy": "thin", "layers": 9})
    known, (left_out,) = as_parameters(space, [("`good.toml`", good), ("`bad.toml`", bad)])
    # The number of tokens is filled: it depends on the budget.
    assert known == [{"thin.layers": 3, "thin.rate": 0.25}]
    assert left_out.startswith("`bad.toml` is left out, since the search space does not hold it: `thin.layers` must be")


def test_a_folder_without_recipes_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="must name a study, or a folder of recipes"):
        recipe_files(tmp_path)
    (tmp_path / "b.toml").touch()
    (tmp_path / "a.json").touch()
    assert [path.name for path in recipe_files(tmp_path)] == ["a.json", "b.toml"]
    assert recipe_files(tmp_path / "b.toml") == [tmp_path / "b.toml"]
