"""What is searched: a search space read from TOML, and how recipes are drawn from it.

A search space is an ordered list of slots. A slot is a strategy, and for each knob it names either a value or
what is searched, within the knob's own domain:

    fidelity = [0.02, 0.07, 0.2]                  # shares of the full training: short ones first, or a single number
    rung_steps = [400, 1200, 3600]                # and at least so many steps of it, where that is more

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
brings the strategy. A knob that is not named stays at its default. What stands after the last step that trains, such as
`quantization` after `distillation`, is tried in several ways on each training.
"""

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import BaseTrial

from eicompress.contracts import Knob, Strategy, knobs
from eicompress.errors import SpecError, nearest
from eicompress.plugins import Registry
from eicompress.recipe import Recipe, check_value
from eicompress.spec import read_toml
from eicompress.values import digest_of

SETTINGS = ("fidelity", "rung_steps", "slot", "recipe")
SLOT_SETTINGS = ("strategy", "optional", "unless", "if_installed")
"""What a slot may say beside its strategy's knobs."""
APART = 1.5
"""How many times as long as a rung the next one must be where `rung_steps` has moved them; else the shorter goes."""
SPACES = "eicompress.search_spaces"
"""The package whose TOML files are known by name."""


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
            drawn = {knob: _suggest(trial, slot.parameter(knob), of) for knob, of in slot.searched.items()}
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

    def parameters(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The trial parameters that draw a recipe; what is filled is left to be. Raises `SpecError`."""
        filled = (self.fill.strategy, self.fill.knob) if self.fill else None
        kept = [{key: step[key] for key in step if (step["strategy"], key) != filled} for step in steps]
        return _known({"steps": kept}, self.slots)

    @property
    def tail(self) -> dict[str, BaseDistribution]:
        """The parameters of what stands after the last step that trains: they can change without another training."""
        trains = [place for place, slot in enumerate(self.slots) if slot.strategy.trains]
        found: dict[str, BaseDistribution] = {}
        for slot in self.slots[trains[-1] + 1 :] if trains else ():
            if slot.optional:
                found[slot.switch] = CategoricalDistribution([False, True])
            found |= {slot.parameter(knob): of for knob, of in slot.searched.items()}
        return found

    def variants(self, parameters: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
        """Trial parameters that differ in the tail alone: all of them, or `most` that lie as far apart as they can."""
        tail = self.tail
        grids = [_grid(of, most) for of in tail.values()]
        values = [dict(zip(tail, each, strict=True)) for each in itertools.product(*grids)] if tail else []
        own = {name: parameters[name] for name in tail if name in parameters}
        others = [each for each in values if {name: each[name] for name in own} != own]
        spread = range(len(others)) if len(others) <= most else np.linspace(0, len(others) - 1, most).astype(int)
        return [{**parameters, **others[at]} for at in spread]

    def smallest(self) -> Recipe:
        """Every searched knob at its lowest value, and every optional slot in use except those that replace others: the
        corner where bytes are fewest."""
        instead = {slot.unless for slot in self.slots}
        used = [slot for slot in self.slots if slot.name not in instead]
        return Recipe(tuple(slot.step({knob: _least(of) for knob, of in slot.searched.items()}) for slot in used))

    def describe(self) -> list[str]:
        """One line a slot, to be read by people."""
        return [_described(slot) for slot in self.slots]


def sampler(kind: str, seed: int, *, beside: bool = False) -> BaseSampler:
    """TPE for a space with categories and optional slots, or random draws, to compare it with.

    `beside` keeps TPE away from trials that still run. Where two metrics are traded it takes its knobs one by one
    unless told otherwise.
    """
    if kind == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        # `group` is marked experimental, and the exact version of Optuna is recorded with each trial.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(multivariate=True, group=True, constant_liar=beside, seed=seed)


def read_space(name: str, registry: Registry) -> SearchSpace:
    """The search space of a name that eicompress brings, or of a file. Raises `SpecError`."""
    path = _find(name)
    tables = read_toml(path)
    for key in tables:
        if key not in SETTINGS:
            raise SpecError(f"`{path}` has no setting `{key}`: {nearest(key, SETTINGS)}")
    written = _tables(tables, "slot", path)
    if not written:
        raise SpecError(f"`{path}` must have at least one `[[slot]]`, but has none")
    missing = {each["strategy"] for each in written if _is_missing(each, registry)}
    slots = tuple(_slots(written, path, registry))
    _check_fill(slots, path)
    rungs = _rungs(tables.get("fidelity", 1.0), path)
    least = _rung_steps(tables["rung_steps"], len(rungs), path) if "rung_steps" in tables else ()
    made_of = [tables, sorted(missing)] if missing else tables
    space = SearchSpace(path.stem, digest_of(made_of), rungs, slots, rung_steps=least)
    # Made and thrown away: a space must not order its slots in a way that no recipe may.
    with _within(f"the slots of `{path}`"):
        space.smallest()
    known = []
    for place, table in enumerate(_tables(tables, "recipe", path)):
        with _within(f"`recipe[{place}]` of `{path}`"):
            if missing.isdisjoint(_strategies_of(table)):
                known.append(_known(table, slots))
    return replace(space, known=tuple(known))


def known_spaces() -> dict[str, Path]:
    """The search spaces that come with eicompress."""
    return {Path(str(each)).stem: Path(str(each)) for each in files(SPACES).iterdir() if each.name.endswith(".toml")}


@contextmanager
def _within(where: str) -> Iterator[None]:
    try:
        yield
    except SpecError as error:
        raise SpecError(f"in {where}: {error}") from error


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    known = known_spaces()
    if name not in known:
        raise SpecError(
            f"there is no search space `{name}`: {nearest(name, known)} A file of your own ends in `.toml`."
        )
    return known[name]


def _rungs(written: Any, path: Path) -> tuple[float, ...]:
    rungs = written if isinstance(written, list) else [written]
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in rungs)
    if not rungs or not numbers or sorted({*rungs}) != rungs or not 0 < rungs[0] <= rungs[-1] <= 1:
        raise SpecError(
            f"`fidelity` in `{path}` must be above 0 and at most 1, or a list of such numbers that grow, "
            f"but got {written!r}"
        )
    return tuple(float(each) for each in rungs)


def _rung_steps(written: Any, rungs: int, path: Path) -> tuple[int, ...]:
    steps = written if isinstance(written, list) else [written]
    whole = all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in steps)
    if len(steps) != rungs or not whole or sorted(steps) != steps:
        raise SpecError(
            f"`rung_steps` in `{path}` must be whole numbers above 0 that do not fall, one for each fidelity "
            f"({rungs}), but got {written!r}"
        )
    return tuple(steps)


def _tables(tables: Mapping[str, Any], key: str, path: Path) -> list[Mapping[str, Any]]:
    found = tables.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise SpecError(f"`{key}` in `{path}` must be a list of tables: write `[[{key}]]`")
    return found


def _is_missing(table: Mapping[str, Any], registry: Registry) -> bool:
    """Whether a slot is to be left out, since no installed plug-in has its strategy."""
    name = table.get("strategy")
    return table.get("if_installed") is True and isinstance(name, str) and name not in registry.strategies


def _slots(written: list[Mapping[str, Any]], path: Path, registry: Registry) -> Iterator[Slot]:
    """The slots, without those that are to be left out."""
    used: dict[str, int] = {}
    before: list[str] = []
    missing: list[str] = []
    for place, table in enumerate(written):
        where = f"`slot[{place}]` of `{path}`"
        name = table.get("strategy")
        if _is_missing(table, registry):
            missing.append(str(name))
            continue
        if not isinstance(name, str):
            raise SpecError(f"{where} must have a `strategy`, but got {name!r}")
        with _within(where):
            strategy = registry.strategy(name)
            used[name] = used.get(name, 0) + 1
            unique = name if used[name] == 1 else f"{name}#{used[name]}"
            slot = _slot(table, unique, strategy)
            if slot.unless in missing:
                slot = replace(slot, unless="")
            elif slot.unless and slot.unless not in before:
                raise SpecError(f"`unless` must name an optional slot before it, but got {slot.unless!r}")
            before += [slot.name] if slot.optional else []
            yield slot


def _slot(table: Mapping[str, Any], name: str, strategy: type[Strategy]) -> Slot:
    known = knobs(strategy)
    for key in ("optional", "if_installed"):
        if not isinstance(table.get(key, False), bool):
            raise SpecError(f"`{key}` must be true or false, but got {table[key]!r}")
    fixed: dict[str, Any] = {}
    searched: dict[str, BaseDistribution] = {}
    fill = None
    for key, wanted in table.items():
        if key in SLOT_SETTINGS:
            continue
        if key not in known:
            raise SpecError(f"`{strategy.name}` has no knob `{key}`: {nearest(key, known)}")
        label = f"{strategy.name}.{key}"
        if not isinstance(wanted, dict):
            fixed[key] = _cast(label, wanted, known[key].domain)
        elif wanted.get("fill"):
            fill = _fill(label, wanted, strategy.name, known[key])
        else:
            searched[key] = _distribution(label, wanted, known[key].domain)
    return Slot(name, strategy, fixed, searched, fill, table.get("optional", False), str(table.get("unless", "")))


def _unfilled(slot: Slot) -> Slot:
    if slot.fill is None:
        return slot
    searched = {slot.fill.knob: IntDistribution(slot.fill.low, slot.fill.high, log=True), **slot.searched}
    return replace(slot, fill=None, searched=searched)


def _fill(label: str, wanted: Mapping[str, Any], strategy: str, knob: Knob) -> Fill:
    _check_keys(label, wanted, ("fill", "low", "high"))
    if not isinstance(knob.domain, IntDistribution):
        raise SpecError(f"`{label}` must be a whole number to be filled: give it a range instead")
    low, high = wanted.get("low", knob.domain.low), wanted.get("high", knob.domain.high)
    for each in (low, high):
        check_value(label, each, knob.domain)
    if low > high:
        raise SpecError(f"`{label}` must have a low end below its high end, but got {low} and {high}")
    return Fill(strategy, knob.name, low, high)


def _distribution(label: str, wanted: Mapping[str, Any], domain: BaseDistribution) -> BaseDistribution:
    if "choices" in wanted:
        _check_keys(label, wanted, ("choices",))
        choices = wanted["choices"]
        if not isinstance(choices, list) or not choices:
            raise SpecError(f"`{label}` must have a list of choices that is not empty, but got {choices!r}")
        return CategoricalDistribution([_cast(label, each, domain) for each in choices])
    _check_keys(label, wanted, ("low", "high", "log", "step"))
    if not isinstance(domain, IntDistribution | FloatDistribution):
        raise SpecError(f"`{label}` has no range: write `{{ choices = [...] }}`")
    low = _cast(label, wanted.get("low", domain.low), domain)
    high = _cast(label, wanted.get("high", domain.high), domain)
    step, log = wanted.get("step"), wanted.get("log", domain.log and "step" not in wanted)
    try:
        if isinstance(domain, IntDistribution):
            return IntDistribution(low, high, log=log, step=1 if step is None else step)
        return FloatDistribution(low, high, log=log, step=step)
    except (ValueError, TypeError) as error:
        raise SpecError(f"the range of `{label}` cannot be searched: {error}") from error


def _check_keys(label: str, wanted: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in wanted:
        if key not in known:
            raise SpecError(f"the range of `{label}` has no setting `{key}`: {nearest(key, known)}")


def _cast(label: str, value: Any, domain: BaseDistribution) -> Any:
    check_value(label, value, domain)
    return float(value) if isinstance(domain, FloatDistribution) else value


def _check_fill(slots: tuple[Slot, ...], path: Path) -> None:
    filled = [slot.fill for slot in slots if slot.fill]
    if len(filled) > 1:
        names = " and ".join(f"`{each.strategy}.{each.knob}`" for each in filled)
        raise SpecError(f"one knob of `{path}` can be filled, but got {names}: give the others a range")
    if filled and sum(slot.strategy.name == filled[0].strategy for slot in slots) > 1:
        raise SpecError(f"`{filled[0].strategy}` in `{path}` must have one slot to be filled, but has several")


def _strategies_of(table: Mapping[str, Any]) -> set[str]:
    """The strategies of a recipe, as far as it is well formed."""
    steps = table.get("steps")
    named = [each.get("strategy") for each in steps if isinstance(each, dict)] if isinstance(steps, list) else []
    return {each for each in named if isinstance(each, str)}


def _known(table: Mapping[str, Any], slots: tuple[Slot, ...]) -> dict[str, Any]:
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
            came = f"`{left[0].get('strategy')}`" if left else "nothing"
            raise SpecError(
                f"a recipe must have the space's slots in their order, but `{slot.strategy.name}` "
                f"was due and {came} came"
            )
        if used:
            taken.add(slot.name)
            parameters |= _parameters(left.pop(0), slot)
    if left:
        raise SpecError(
            f"a recipe must have no more steps than the space has slots, but got `{left[0].get('strategy')}`"
        )
    return parameters


def _parameters(step: Mapping[str, Any], slot: Slot) -> dict[str, Any]:
    values = {key: value for key, value in step.items() if key != "strategy"}
    known = knobs(slot.strategy)
    for key, value in values.items():
        label = f"{slot.strategy.name}.{key}"
        if key not in known:
            raise SpecError(f"`{slot.strategy.name}` has no knob `{key}`: {nearest(key, known)}")
        if slot.fill and key == slot.fill.knob:
            raise SpecError(f"`{label}` is filled by the search space: leave it out")
        if key not in slot.searched and value != slot.fixed.get(key, known[key].default):
            held = slot.fixed.get(key, known[key].default)
            raise SpecError(f"`{label}` must be {held!r} as in the search space, but got {value!r}")
    parameters = {}
    for key, distribution in slot.searched.items():
        label = f"{slot.strategy.name}.{key}"
        value = _cast(label, values.get(key, known[key].default), known[key].domain)
        _check_drawable(label, value, distribution)
        parameters[slot.parameter(key)] = value
    return parameters


def _check_drawable(label: str, value: Any, distribution: BaseDistribution) -> None:
    check_value(label, value, distribution)
    step = getattr(distribution, "step", None)
    if step is not None:
        steps = (value - distribution.low) / step  # type: ignore[attr-defined]
        if abs(steps - round(steps)) > 1e-6:
            raise SpecError(f"`{label}` must be on the search space's grid of step {step}, but got {value!r}")


def _suggest(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def _least(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return distribution.low
    assert isinstance(distribution, CategoricalDistribution)
    numbers = [each for each in distribution.choices if isinstance(each, int | float)]
    return min(numbers) if len(numbers) == len(distribution.choices) else distribution.choices[0]


def _grid(distribution: BaseDistribution, most: int) -> list[Any]:
    """The values of a distribution, or `most` of them."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    count = most if step is None else min(most, round((high - low) / step) + 1)
    shares = np.linspace(0, 1, count)
    values = low * (high / low) ** shares if distribution.log else low + (high - low) * shares
    if step is not None:
        values = low + np.round((values - low) / step) * step
    return sorted({int(each) if isinstance(distribution, IntDistribution) else float(each) for each in values})


def _described(slot: Slot) -> str:
    parts = [f"{key} {_range(of)}" for key, of in slot.searched.items()]
    if slot.fill:
        parts.insert(0, f"{slot.fill.knob} fills the budget, {slot.fill.low} to {slot.fill.high}")
    parts += [f"{key} {value}" for key, value in slot.fixed.items()]
    when = " (optional)" if slot.optional else f" (unless {slot.unless} is used)" if slot.unless else ""
    return f"{slot.name}{when}: {', '.join(parts) or 'defaults'}"


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return " or ".join(str(each) for each in distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return f"{distribution.low:g} to {distribution.high:g}"
