"""The search space, read from TOML, and how recipes are drawn from it.

A search space is an ordered list of slots. A slot is a strategy, and for each knob it names either a value or
what is searched, within the knob's own domain:

    fidelity = [0.02, 0.07, 0.2]                  # shares of the full training: short ones first, or a single number
    rung_steps = [400, 1200, 3600]                # and at least this many steps, if that is more

    [[slot]]
    strategy = "vocabulary_pruning"
    num_tokens = { fill = true, low = 500, high = 8000 }    # as many as the size budget has room for
    scripts = "corpus"                            # a value: not searched

    [[slot]]
    strategy = "thin_student"
    layers = { low = 1, high = 4 }
    heads = { low = 0.25, high = 1.0, step = 0.25 }
    from_layers = { choices = ["spread", "first"] }

    [[recipe]]                                    # tried first
    steps = [{ strategy = "vocabulary_pruning" }, { strategy = "thin_student", layers = 2 }]

A slot with `optional = true` may be left out, and one with `unless = "thin_student"` is left out where that optional
slot is in use. One with `if_installed = true`, and the recipes that use it, are there only where an installed plug-in
brings the strategy. One with `each = { layer = [1, 2, 3] }` stands for one slot for each value of that knob, which is
otherwise the same. A knob that is not named stays at its default. What stands after the last step that trains, such as
`quantization` after `distillation`, is tried in several ways on each training. Where a slot's training is shared by the
whole study, nothing up to it is searched, the rungs are those of what is trained after it, and where nothing is, every
candidate is a draw of its own. Such a space may have steps for what is handed out alone:

    [[finish]]
    strategy = "distillation"
    epochs = 1.0
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial, FixedTrial

from eicompress.contracts import Strategy, TextDomain
from eicompress.errors import SpecError, brief, nearest, shortened
from eicompress.recipe import Recipe, check_value, knobs
from eicompress.study.distributions import grid, least, suggest
from eicompress.study.halving import one_in
from eicompress.values import TRAINING, VALIDATION, Json

ONE_IN = 10
"""Of this number of parts of a shared training that were scored on some validation texts, one is scored on all."""
EPOCHS = "epochs"
"""The knob by which a shared training is shortened."""
APART = 1.5
"""How many times as long as a rung the next one must be where `rung_steps` has moved them; else the shorter goes."""


@dataclass(frozen=True)
class Fill:
    """The knob, a whole number, that is made as large as the size budget allows instead of being searched."""

    strategy: str
    knob: str
    low: int
    high: int


@dataclass(frozen=True)
class Slot:
    """A place in the recipe: a strategy, the values of some knobs, and the distributions of others."""

    name: str
    strategy: type[Strategy]
    fixed: Mapping[str, Any]
    searched: Mapping[str, BaseDistribution]
    fill: Fill | None
    optional: bool
    unless: str = ""
    """The optional slot before it that replaces it where it is used."""

    @property
    def switch(self) -> str:
        """Name of the trial's parameter that says whether an optional slot is used."""
        return f"use {self.name}"

    def parameter(self, knob: str) -> str:
        """Name of the trial's parameter for a knob."""
        return f"{self.name}.{knob}"

    def step(self, values: Mapping[str, Any]) -> Strategy:
        """The strategy with these values for the searched knobs; a filled one starts at its low end."""
        filled = {self.fill.knob: self.fill.low} if self.fill else {}
        return self.strategy(**{**self.fixed, **filled, **values})


@dataclass(frozen=True)
class SearchSpace:
    """Ordered slots, known-good recipes as trial parameters to try first, and the fidelities of a trial's rungs."""

    name: str
    digest: str
    rungs: tuple[float, ...]
    """Shares of the full training, ascending: what is behind after one of them is not trained for the next."""
    slots: tuple[Slot, ...]
    known: tuple[Mapping[str, Any], ...] = ()
    rung_steps: tuple[int, ...] = ()
    """The least steps of a training at each rung; none where the shares alone say how long it is."""
    finish: tuple[Strategy, ...] = ()
    """What the best parts of a shared training get after it, each by itself."""

    def with_least_steps(self, steps: int) -> "SearchSpace":
        """The space with rungs that have their least steps, where the full training has this many.

        Shares stay the same for all trials, so that what is compared at a rung had equally long trainings.
        """
        if not self.rung_steps:
            return self
        shares = [
            max(share, math.ceil(1000 * min(1.0, least / steps)) / 1000)
            for share, least in zip(self.rungs, self.rung_steps, strict=True)
        ]
        growing = [*itertools.accumulate(shares, max)]
        apart = [share for share, longer in itertools.pairwise(growing) if longer >= APART * share]
        return replace(self, rungs=(*apart, growing[-1]))

    def with_shared_epochs(self, epochs: float) -> "SearchSpace":
        """The space with this length of the training that all candidates share, or the least that its strategy allows;
        as it is for 0, or where there is no such training with `epochs`."""

        def shortened(slot: Slot) -> Slot:
            knob = knobs(slot.strategy).get(EPOCHS)
            if not (epochs and slot.strategy.shares_training and knob and isinstance(knob.domain, FloatDistribution)):
                return slot
            return replace(slot, fixed={**slot.fixed, EPOCHS: max(epochs, knob.domain.low)})

        return replace(self, slots=tuple(map(shortened, self.slots)))

    @property
    def fidelity(self) -> float:
        """The share of the full training that the trials are compared at."""
        return self.rungs[-1]

    @property
    def fill(self) -> Fill | None:
        """The knob that is filled, if there is one."""
        return next((slot.fill for slot in self.slots if slot.fill), None)

    @property
    def knobs(self) -> tuple[str, ...]:
        """What is chosen for each recipe: the trial's parameters, and the knob that is filled."""
        found = []
        for slot in self.slots:
            found += [slot.switch] if slot.optional else []
            found += [slot.parameter(slot.fill.knob)] if slot.fill else []
            found += [slot.parameter(knob) for knob in slot.searched]
        return tuple(found)

    def suggest(self, trial: BaseTrial) -> Recipe:
        """The recipe that a trial's parameters stand for; `filled` puts in what is filled."""
        steps: dict[str, Strategy] = {}
        for slot in self.slots:
            if slot.unless in steps:
                continue
            if slot.optional and not trial.suggest_categorical(slot.switch, [False, True]):
                continue
            drawn = {knob: suggest(trial, slot.parameter(knob), of) for knob, of in slot.searched.items()}
            steps[slot.name] = slot.step(drawn)
        return Recipe(tuple(steps.values()))

    def filled(self, recipe: Recipe, value: int) -> Recipe:
        """The recipe with the filled knob at this value."""
        fill = self.fill
        if fill is None:
            return recipe
        steps = recipe.to_json()
        for step in steps:
            if step["strategy"] == fill.strategy:
                step[fill.knob] = value
        return Recipe.from_json(steps, {slot.strategy.name: slot.strategy for slot in self.slots})

    def filled_as(self, recipe: Recipe, other: Sequence[Mapping[str, Any]]) -> Recipe:
        """The recipe with the filled knob as another recipe of this space has it."""
        fill = self.fill
        values = [step[fill.knob] for step in other if fill and step["strategy"] == fill.strategy]
        return self.filled(recipe, values[0]) if values else recipe

    def unfilled(self) -> "SearchSpace":
        """The same space with the filled knob searched instead: for a search that trades bytes."""
        return replace(self, slots=tuple(_unfilled(slot) for slot in self.slots))

    def finished(self, recipe: Sequence[Json]) -> tuple[Json, ...]:
        """A recipe of this space, whether or not it is finished, with the steps that finish it."""
        return (*self._unfinished(recipe), *Recipe(self.finish).to_json())

    def _unfinished(self, recipe: Sequence[Json]) -> Sequence[Json]:
        last = Recipe(self.finish).to_json()
        return recipe[: -len(last)] if last and list(recipe[-len(last) :]) == last else recipe

    def parameters(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The trial parameters that draw a recipe, whether or not it is finished; what is filled is left to be.

        Raises `SpecError`.
        """
        filled = (self.fill.strategy, self.fill.knob) if self.fill else None
        own = self._unfinished(steps)
        kept = [{key: step[key] for key in step if (step["strategy"], key) != filled} for step in own]
        return recipe_parameters({"steps": kept}, self.slots)

    @property
    def shares(self) -> bool:
        """Whether its candidates share a training."""
        return any(slot.strategy.shares_training for slot in self.slots)

    @property
    def only_shared(self) -> bool:
        """Whether every recipe shares a training and trains nothing after it: its rungs are then shares of the
        validation texts."""
        used = [
            place
            for place, slot in enumerate(self.slots)
            if slot.strategy.shares_training and not slot.optional and not slot.unless
        ]
        return bool(used) and not any(slot.strategy.trains for slot in self.slots[used[-1] + 1 :])

    @property
    def whole(self) -> str:
        """What its rungs are shares of."""
        return VALIDATION if self.only_shared else TRAINING

    def one_of(self, rung: int) -> int:
        """The number n of candidates at this rung of which one goes on."""
        return ONE_IN if self.only_shared else one_in(self.rungs, rung)

    @property
    def after_training(self) -> dict[str, BaseDistribution]:
        """The parameters of what stands after the last step that trains: they can change without another training."""
        trains = [place for place, slot in enumerate(self.slots) if slot.strategy.trains]
        return _domains(self.slots[trains[-1] + 1 :]) if trains else {}

    def variants(self, parameters: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
        """Trial parameters that differ after the training alone: all of them, or `most` far apart."""
        free = self.after_training
        grids = [grid(of, most) for of in free.values()]
        values = [dict(zip(free, each, strict=True)) for each in itertools.product(*grids)] if free else []
        own = {name: parameters[name] for name in free if name in parameters}
        others = [each for each in values if {name: each[name] for name in own} != own]
        spread = range(len(others)) if len(others) <= most else np.linspace(0, len(others) - 1, most).astype(int)
        return [{**parameters, **others[at]} for at in spread]

    @property
    def domains(self) -> dict[str, BaseDistribution]:
        """What each of the trial's parameters is drawn from."""
        return _domains(self.slots)

    def corner(self) -> dict[str, Any]:
        """The trial parameters at which a candidate is likely to be small: every searched knob at its lowest value, and
        every optional slot in use except those that replace others."""
        instead = {slot.unless for slot in self.slots}
        switches = {slot.switch: slot.name not in instead for slot in self.slots if slot.optional}
        return {name: switches[name] if name in switches else least(of) for name, of in self.domains.items()}

    def recipe(self, parameters: Mapping[str, Any]) -> Recipe:
        """The recipe that these trial parameters stand for, at the low end of what is filled or left to the sampler."""
        left = {name: least(of) for name, of in self.domains.items() if name not in parameters}
        return self.suggest(FixedTrial({**left, **parameters}))


def _domains(slots: Sequence[Slot]) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for slot in slots:
        if slot.optional:
            found[slot.switch] = CategoricalDistribution([False, True])
        found |= {slot.parameter(knob): of for knob, of in slot.searched.items()}
    return found


def _unfilled(slot: Slot) -> Slot:
    if slot.fill is None:
        return slot
    searched = {slot.fill.knob: IntDistribution(slot.fill.low, slot.fill.high, log=True), **slot.searched}
    return replace(slot, fill=None, searched=searched)


def in_domain(label: str, value: Any, domain: BaseDistribution | TextDomain) -> Any:
    check_value(label, value, domain)
    return float(value) if isinstance(domain, FloatDistribution) else value


def recipe_parameters(table: Mapping[str, Any], slots: tuple[Slot, ...]) -> dict[str, Any]:
    """A recipe as the trial parameters that draw it. Raises `SpecError` where the space does not hold it."""
    steps = table.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise SpecError("a recipe must have `steps`: a list of tables with a `strategy`")
    parameters: dict[str, Any] = {}
    left = list(steps)
    taken: set[str] = set()
    for slot in slots:
        if slot.unless in taken:
            continue
        used = bool(left) and left[0].get("strategy") == slot.strategy.name
        if slot.optional:
            parameters[slot.switch] = used
        elif not used:
            came = shortened(str(left[0].get("strategy"))) if left else "nothing"
            raise SpecError(
                f"a recipe must have the space's slots in their order, but `{slot.strategy.name}` "
                f"was due and {came} came"
            )
        if used:
            taken.add(slot.name)
            parameters |= _parameters(left.pop(0), slot)
    if left:
        raise SpecError(
            "a recipe must have no more steps than the space has slots, but got "
            f"{shortened(str(left[0].get('strategy')))}"
        )
    return parameters


def _parameters(step: Mapping[str, Any], slot: Slot) -> dict[str, Any]:
    values = {key: value for key, value in step.items() if key != "strategy"}
    known = knobs(slot.strategy)
    for key, value in values.items():
        label = f"{slot.strategy.name}.{key}"
        if key not in known:
            raise SpecError(f"`{slot.strategy.name}` has no knob {shortened(key)}: {nearest(key, known)}")
        if slot.fill and key == slot.fill.knob:
            raise SpecError(f"`{label}` is filled by the search space: leave it out")
        if key not in slot.searched and value != slot.fixed.get(key, known[key].default):
            held = slot.fixed.get(key, known[key].default)
            raise SpecError(f"`{label}` must be {brief(held)} as in the search space, but got {brief(value)}")
    parameters = {}
    for key, distribution in slot.searched.items():
        label = f"{slot.strategy.name}.{key}"
        value = in_domain(label, values.get(key, known[key].default), known[key].domain)
        _check_drawable(label, value, distribution)
        parameters[slot.parameter(key)] = value
    return parameters


def _check_drawable(label: str, value: Any, distribution: BaseDistribution) -> None:
    check_value(label, value, distribution)
    step = getattr(distribution, "step", None)
    if step is not None:
        steps = (value - distribution.low) / step  # type: ignore[attr-defined]
        if abs(steps - round(steps)) > 1e-6:
            raise SpecError(f"`{label}` must be on the search space's grid of step {step}, but got {brief(value)}")
