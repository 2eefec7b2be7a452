"""From a recipe to a starting point: a trained candidate in a folder, which other studies begin with."""

from collections.abc import Callable
from pathlib import Path

from eicompress.cache import write_folder
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.recipe import Recipe
from eicompress.trials import candidate as candidates
from eicompress.trials.builder import Builder
from eicompress.trials.shared_training import build
from eicompress.values import Progress


def write_starting_point(
    builder: Builder, recipe: Recipe, folder: Path, *, progress: Callable[[Progress], None]
) -> None:
    """Train a candidate at full length and write it to a new folder. Raises `Inapplicable` where it is no encoder."""
    context = builder.training_context(recipe, fidelity=1.0, seed=builder.seed, progress=progress)
    made = build(recipe, context, builder, 1.0, builder.start)
    if not isinstance(made.model, Encoder):
        raise Inapplicable(f"a starting point must be an encoder, but the recipe made a {type(made.model).__name__}")
    write_folder(folder, lambda into: candidates.save(made, into))
