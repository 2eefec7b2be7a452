"""Recipes built of materials; what a shared training made stays in memory, since hundreds of others are made of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from eicompress.contracts import Candidate, Context
from eicompress.recipe import Recipe
from eicompress.trials import candidate as candidates
from eicompress.trials.materials import Materials
from eicompress.trials.measuring import Clock
from eicompress.values import SHARED, Progress


def build(
    recipe: Recipe, context: Context, materials: Materials, fidelity: float, begin: Candidate, done: int = 0
) -> Candidate:
    """What the recipe makes, of what its first `done` steps made."""

    def key(prefix: Recipe) -> str:
        return materials.key(prefix, fidelity=fidelity, seed=context.seed)

    return candidates.build(recipe, context, materials.cache, key, begin, done)


@dataclass(frozen=True)
class SharedTraining:
    """Makes what the steps of a recipe up to its shared training make, and keeps the last one, trained and untrained.

    All of these steps are trained at full length, since a shared training knows no fidelity.
    """

    materials: Materials
    _last: dict[str, tuple[str, Candidate]] = field(default_factory=dict, init=False, repr=False)

    def trained(self, recipe: Recipe, seed: int, progress: Callable[[Progress], None], clock: Clock) -> Candidate:
        """What the recipe's own training begins with; not to be changed."""
        shared, materials = recipe.shared, self.materials
        progress(Progress(SHARED))
        context = materials.training_context(shared, fidelity=1.0, seed=seed, progress=progress, phase=SHARED)
        key = materials.key(shared, fidelity=1.0, seed=seed)
        with clock.phase(SHARED):
            return self._kept("trained", key, lambda: build(shared, context, materials, 1.0, materials.start))

    def previewed(self, recipe: Recipe, context: Context) -> Candidate:
        """The recipe's candidate, without training."""
        shared, begin = recipe.shared, self.materials.start

        def untrained(recipe: Recipe, begin: Candidate, done: int = 0) -> Candidate:
            return candidates.build(recipe, context, self.materials.cache, str, begin, done)

        if shared.steps:
            begin = self._kept("untrained", shared.digest, lambda: untrained(shared, self.materials.start))
        return untrained(recipe, begin, len(shared.steps))

    def _kept(self, kind: str, key: str, make: Callable[[], Candidate]) -> Candidate:
        if kind not in self._last or self._last[kind][0] != key:
            self._last.pop(kind, None)  # before the next one is made: there may be no memory for both
            self._last[kind] = key, make()
        return self._last[kind][1]
