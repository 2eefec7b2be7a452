"""A search space read from its TOML file, each slot and recipe checked against the strategies that there are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.contracts import Strategy, TextDomain
from eicompress.errors import SpecError, brief, listed, nearest, shortened
from eicompress.plugins import Registry
from eicompress.recipe import Knob, Recipe, check_value, knobs
from eicompress.spec import read_toml
from eicompress.study.space import Fill, SearchSpace, Slot, in_domain, recipe_parameters
from eicompress.values import digest_of

SETTINGS = ("fidelity", "rung_steps", "slot", "recipe", "finish")
SLOT_SETTINGS = ("strategy", "optional", "unless", "if_installed", "each")
"""What a slot may say beside its strategy's knobs."""
SPACES = "eicompress.search_spaces"
"""The package whose TOML files are known by name."""


def read_space(name: str, registry: Registry) -> SearchSpace:
    """The search space of a name that eicompress brings, or of a file. Raises `SpecError`."""
    path = _find(name)
    tables = read_toml(path)
    if "steps" in tables:
        raise SpecError(
            f"`{path}` must be a search space with `[[slot]]`, but is a recipe with `[[steps]]`: build it with "
            "`compress --recipe`, or try it first with `search --from`"
        )
    for key in tables:
        if key not in SETTINGS:
            raise SpecError(f"`{path}` has no setting {shortened(key)}: {nearest(key, SETTINGS)}")
    written = _tables(tables, "slot", path)
    if not written:
        raise SpecError(f"`{path}` must have at least one `[[slot]]`, but has none")
    missing = {each["strategy"] for each in written if _is_missing(each, registry)}
    slots = tuple(_slots(written, path, registry))
    if not slots:
        raise SpecError(
            f"`{path}` must have a `[[slot]]` whose strategy is installed, but has only {listed(sorted(missing))}: "
            "install a package that brings one"
        )
    _check_fill(slots, path)
    _check_shared(slots, path)
    rungs = _rungs(tables.get("fidelity", 1.0), path)
    least = _rung_steps(tables["rung_steps"], len(rungs), path) if "rung_steps" in tables else ()
    made_of = [tables, sorted(missing)] if missing else tables
    space = SearchSpace(path.stem, digest_of(made_of), rungs, slots, rung_steps=least)
    if space.only_shared:
        space = replace(space, rungs=(1.0,), rung_steps=())
    # Made and thrown away: a space must not order its slots in a way that no recipe may.
    with _within(f"the slots of `{path}`"):
        corner = space.recipe(space.corner())
    if finish := _tables(tables, "finish", path):
        space = replace(space, finish=_finish(space, corner, finish, path, registry).steps)
    known = []
    for place, table in enumerate(_tables(tables, "recipe", path)):
        with _within(f"`recipe[{place}]` of `{path}`"):
            if missing.isdisjoint(_strategies_of(table)):
                known.append(recipe_parameters(table, slots))
    return replace(space, known=tuple(known))


def known_spaces() -> dict[str, Path]:
    """The search spaces that come with eicompress."""
    return {Path(str(each)).stem: Path(str(each)) for each in files(SPACES).iterdir() if each.name.endswith(".toml")}


def _finish(
    space: SearchSpace, corner: Recipe, written: list[Mapping[str, Any]], path: Path, registry: Registry
) -> Recipe:
    """The steps that finish a candidate, which must suit the one at the corner of the space."""
    with _within(f"`finish` of `{path}`"):
        if not space.only_shared:
            raise SpecError(
                "steps that finish what is handed out must follow a shared training after which nothing is trained, "
                "such as `super_network`: make them slots"
            )
        finish = Recipe.from_json(written, registry.strategies)
        Recipe((*corner.steps, *finish.steps))
        if not any(step.trains for step in finish.steps) or finish.shared.steps:
            raise SpecError(
                "the steps must train each candidate by itself, but got "
                f"{listed([step.name for step in finish.steps])}: add one such as `distillation`"
            )
    return finish


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
            f"but got {brief(written)}"
        )
    return tuple(float(each) for each in rungs)


def _rung_steps(written: Any, rungs: int, path: Path) -> tuple[int, ...]:
    steps = written if isinstance(written, list) else [written]
    whole = all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in steps)
    if len(steps) != rungs or not whole or sorted(steps) != steps:
        raise SpecError(
            f"`rung_steps` in `{path}` must be whole numbers above 0 that do not fall, one for each fidelity "
            f"({rungs}), but got {brief(written)}"
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
    for where, table in _repeated(written, path):
        name = table.get("strategy")
        if _is_missing(table, registry):
            missing.append(str(name))
            continue
        if not isinstance(name, str):
            raise SpecError(f"{where} must have a `strategy`, but got {brief(name)}")
        with _within(where):
            strategy = registry.strategy(name)
            used[name] = used.get(name, 0) + 1
            unique = name if used[name] == 1 else f"{name}#{used[name]}"
            slot = _slot(table, unique, strategy)
            if slot.unless in missing:
                slot = replace(slot, unless="")
            elif slot.unless and slot.unless not in before:
                raise SpecError(f"`unless` must name an optional slot before it, but got {brief(slot.unless)}")
            before += [slot.name] if slot.optional else []
            yield slot


def _repeated(written: list[Mapping[str, Any]], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where a slot stands, and its table: with `each`, once for every value of the knob that it names."""
    for place, table in enumerate(written):
        where = f"`slot[{place}]` of `{path}`"
        if "each" not in table:
            yield where, table
            continue
        each = table["each"]
        values = next(iter(each.values()), None) if isinstance(each, dict) and len(each) == 1 else None
        if not isinstance(values, list) or not values or not each.keys().isdisjoint(table):
            raise SpecError(
                f"`each` in {where} must have one knob, which the slot names nowhere else, and a list of values, as in "
                f"`each = {{ layer = [1, 2, 3] }}`, but got {brief(each)}"
            )
        for value in values:
            yield where, {**table, next(iter(each)): value}


def _slot(table: Mapping[str, Any], name: str, strategy: type[Strategy]) -> Slot:
    known = knobs(strategy)
    for key in ("optional", "if_installed"):
        if not isinstance(table.get(key, False), bool):
            raise SpecError(f"`{key}` must be true or false, but got {brief(table[key])}")
    fixed: dict[str, Any] = {}
    searched: dict[str, BaseDistribution] = {}
    fill = None
    for key, wanted in table.items():
        if key in SLOT_SETTINGS:
            continue
        if key not in known:
            raise SpecError(f"`{strategy.name}` has no knob {shortened(key)}: {nearest(key, known)}")
        label = f"{strategy.name}.{key}"
        if not isinstance(wanted, dict):
            fixed[key] = in_domain(label, wanted, known[key].domain)
        elif wanted.get("fill"):
            fill = _fill(label, wanted, strategy.name, known[key])
        else:
            searched[key] = _distribution(label, wanted, known[key].domain)
    return Slot(name, strategy, fixed, searched, fill, table.get("optional", False), str(table.get("unless", "")))


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


def _distribution(label: str, wanted: Mapping[str, Any], domain: BaseDistribution | TextDomain) -> BaseDistribution:
    if "choices" in wanted:
        _check_keys(label, wanted, ("choices",))
        choices = wanted["choices"]
        if not isinstance(choices, list) or not choices:
            raise SpecError(f"`{label}` must have a list of choices that is not empty, but got {brief(choices)}")
        return CategoricalDistribution([in_domain(label, each, domain) for each in choices])
    _check_keys(label, wanted, ("low", "high", "log", "step"))
    if not isinstance(domain, IntDistribution | FloatDistribution):
        raise SpecError(f"`{label}` has no range: write `{{ choices = [...] }}`")
    low = in_domain(label, wanted.get("low", domain.low), domain)
    high = in_domain(label, wanted.get("high", domain.high), domain)
    step, log = wanted.get("step"), wanted.get("log", domain.log and "step" not in wanted)
    number, kind = ("whole number", int) if isinstance(domain, IntDistribution) else ("number", int | float)
    if step is not None and (isinstance(step, bool) or not (isinstance(step, kind) and step > 0)):
        raise SpecError(f"the step of `{label}` must be a {number} above 0, but got {brief(step)}")
    try:
        if isinstance(domain, IntDistribution):
            return IntDistribution(low, high, log=log, step=1 if step is None else int(step))
        return FloatDistribution(low, high, log=log, step=step)
    except ArithmeticError as error:
        raise SpecError(f"the step of `{label}` must not be so small beside its range, but got {step}") from error
    except (ValueError, TypeError) as error:
        raise SpecError(f"the range of `{label}` cannot be searched: {error}") from error


def _check_keys(label: str, wanted: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in wanted:
        if key not in known:
            raise SpecError(f"the range of `{label}` has no setting {shortened(key)}: {nearest(key, known)}")


def _check_fill(slots: tuple[Slot, ...], path: Path) -> None:
    filled = [slot.fill for slot in slots if slot.fill]
    if len(filled) > 1:
        names = " and ".join(f"`{each.strategy}.{each.knob}`" for each in filled)
        raise SpecError(f"one knob of `{path}` can be filled, but got {names}: give the others a range")
    if filled and sum(slot.strategy.name == filled[0].strategy for slot in slots) > 1:
        raise SpecError(f"`{filled[0].strategy}` in `{path}` must have one slot to be filled, but has several")


def _check_shared(slots: tuple[Slot, ...], path: Path) -> None:
    """Raise `SpecError` where more than one value stands before a shared training, which would be made for each."""
    last = max((place for place, slot in enumerate(slots) if slot.strategy.shares_training), default=-1)
    for place, slot in enumerate(slots[: last + 1]):
        drawn = [*slot.searched, *([slot.fill.knob] if slot.fill else [])]
        if not drawn and (place == last or not slot.optional):
            continue
        what = f"`{slot.name}.{drawn[0]}`" if drawn else f"whether `{slot.name}` is used"
        raise SpecError(
            f"the training of `{slots[last].name}` in `{path}` serves every candidate, so each knob up to it must have "
            f"one value, but {what} is searched: give it a value, or search it after `{slots[last].name}`"
        )


def _strategies_of(table: Mapping[str, Any]) -> set[str]:
    """The strategies of a recipe, as far as it is well formed."""
    steps = table.get("steps")
    named = [each.get("strategy") for each in steps if isinstance(each, dict)] if isinstance(steps, list) else []
    return {each for each in named if isinstance(each, str)}
