from pathlib import Path

from fake_builder import REGISTRY

from eicompress.study.points import points
from eicompress.study.space_file import read_space

SPACE = """
fidelity = 0.25
[[slot]]
strategy = "words"
optional = true
tokens = { low = 100, high = 300, step = 100 }
[[slot]]
strategy = "thin"
unless = "words"
layers = { low = 1, high = 2 }
rate = { low = 0.0, high = 1.0, step = 0.5 }
"""


def test_every_recipe_of_a_space_is_met_once(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    space = read_space(str(path), REGISTRY)
    recipes = [space.recipe(each).digest for each in points(space.slots)]
    assert len(recipes) == len({*recipes}) == 2 * 3 + 3
