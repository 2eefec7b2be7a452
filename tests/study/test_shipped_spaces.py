"""The recipes of the search spaces that come with eicompress, built with a tiny model of six layers."""

import re
from pathlib import Path

import pytest
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.study.space_file import known_spaces, read_space
from eicompress.testing import write_tiny_data
from eicompress.training.teacher import ignore
from eicompress.trials.builder import open_builder

SHORTER = {
    r"\bepochs = [0-9.]+": "epochs = 0.5",
    r"\bleast_texts = [0-9]+": "least_texts = 0",
    r"\breferences = [0-9]+": "references = 16",
}
"""What makes a training of some steps on some texts out of one of thousands."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of six layers, wider than the word vectors of any recipe, and data."""
    made = tmp_path_factory.mktemp("shipped")
    shapes = {"hidden_size": 144, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 64}
    write_tiny_teacher(made / "model", "Bert", ("music", "weather"), **shapes)
    write_tiny_data(made / "data")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(known_spaces()))
def test_every_recipe_of_a_space_that_is_shipped_can_be_built(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(folder / "cache"))
    written = known_spaces()[name].read_text(encoding="utf-8")
    for long, short in SHORTER.items():
        written = re.sub(long, short, written)
    (tmp_path / "short.toml").write_text(written, encoding="utf-8")
    registry = discover(only="")
    space = read_space(str(tmp_path / "short.toml"), registry)
    spec = read({"model": str(folder / "model"), "data": str(folder / "data")})
    builder = open_builder(spec, registry, folder=tmp_path / "study", progress=ignore)
    for known in space.known:
        recipe = space.recipe(known)
        record = builder.build(recipe, fidelity=1.0, seed=0, progress=ignore)
        assert record.value("size_mb"), recipe
        assert len(eicompress.load(record.files["artifact"]).predict(["play the song"])) == 1
