import tomllib
from dataclasses import fields

import pytest

from eicompress.errors import SpecError
from eicompress.recipe import Recipe, knobs, recipe_toml
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent

KNOWN = {each.name: each for each in (Distillation, Quantization, ThinStudent)}


def test_a_recipe_survives_json() -> None:
    recipe = Recipe((ThinStudent(layers=2), Quantization(embedding_bits=8), Distillation()))
    again = Recipe.from_json(recipe.to_json(), KNOWN)
    assert again == recipe and again.digest == recipe.digest


def test_a_recipe_survives_toml_whatever_its_texts_hold() -> None:
    steps = [{"strategy": "a", "share": 1e-5, "keep": True, "text": 'C:\\new "é"\n'}, {"strategy": "b", "count": 3}]
    written = recipe_toml(steps)
    assert written.count("[[steps]]") == 2 and tomllib.loads(written)["steps"] == steps


def test_the_order_of_steps_is_part_of_a_recipe() -> None:
    steps = (Quantization(), Distillation())
    assert Recipe(steps).digest != Recipe(steps[::-1]).digest


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"strategy": "thin_student", "neurons": 1.5}, r"`thin_student.neurons` must be in \[0.02, 1.0\], but got 1.5"),
        ({"strategy": "thin_student", "layers": 2.5}, r"`thin_student.layers` must be an integer in \[0, 24\]"),
        ({"strategy": "thin_student", "layers": True}, "must be an integer"),
        ({"strategy": "quantization", "layer_bits": 5}, "`quantization.layer_bits` must be one of 'ternary', 2, 4"),
        ({"strategy": "quantization", "layer_bits": 4.0}, "must be one of 'ternary', 2, 4, 8, but got 4.0"),
        ({"strategy": "quantisation"}, "no strategy `quantisation`: did you mean `quantization`"),
        ({"strategy": "thin_student", "layer": 2}, "has no knob `layer`: did you mean `layers`"),
        ({"layers": 2}, "a step must be a table with a `strategy` name"),
        ("thin_student", "a step must be a table"),
    ],
)
def test_a_wrong_step_gets_one_clear_message(step: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Recipe.from_json([step], KNOWN)  # type: ignore[list-item]


@pytest.mark.parametrize("strategy", KNOWN.values(), ids=lambda each: each.name)
def test_every_field_is_a_knob_whose_default_is_in_its_domain(strategy: type) -> None:
    assert set(knobs(strategy)) == {each.name for each in fields(strategy)}  # type: ignore[arg-type]
    Recipe((strategy(),))
