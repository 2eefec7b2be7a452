"""A recipe: strategies in order, as a value that is checked when it is made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tomli_w
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.contracts import GraphStrategy, Strategy, TextDomain
from eicompress.errors import SpecError, brief, nearest, shortened
from eicompress.values import Json, digest_of


@dataclass(frozen=True)
class Knob:
    """A searchable field of a strategy."""

    name: str
    domain: BaseDistribution | TextDomain
    default: Any


@cache  # a study reads thousands of recipes, and each asks for those of all its steps
def knobs(strategy: type[Strategy]) -> Mapping[str, Knob]:
    """The knobs of a strategy class, by name, in the order of its fields."""
    hints = get_type_hints(strategy, include_extras=True)
    found = {}
    for each in fields(strategy):  # type: ignore[arg-type]
        hint = hints[each.name]
        if get_origin(hint) is Annotated:
            found[each.name] = Knob(each.name, get_args(hint)[1], each.default)
    return MappingProxyType(found)


@dataclass(frozen=True)
class Recipe:
    """Strategies in the order in which they are applied. Raises `SpecError` for a value outside its domain."""

    steps: tuple[Strategy, ...]

    def __post_init__(self) -> None:
        graph_step = ""
        for step in self.steps:
            for name, knob in knobs(type(step)).items():
                check_value(f"{step.name}.{name}", getattr(step, name), knob.domain)
            if isinstance(step, GraphStrategy):
                graph_step = step.name
            elif graph_step:
                raise SpecError(
                    f"graph steps must come after all model steps, but `{graph_step}` stands before "
                    f"`{step.name}`: put `{graph_step}` last"
                )

    @property
    def digest(self) -> str:
        return digest_of(self.to_json())

    @property
    def shared(self) -> "Recipe":
        """The steps up to the last one whose training is shared; no steps where none is."""
        places = [place for place, step in enumerate(self.steps, start=1) if step.shares_training]
        return Recipe(self.steps[: max(places, default=0)])

    @property
    def only_shared(self) -> bool:
        """Whether nothing is trained but what is shared: the candidate is then the same at every fidelity."""
        shared = len(self.shared.steps)
        return shared > 0 and not any(step.trains for step in self.steps[shared:])

    def to_json(self) -> list[dict[str, Any]]:
        return [{"strategy": step.name, **asdict(step)} for step in self.steps]  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, steps: Sequence[Json], strategies: Mapping[str, type[Strategy]]) -> "Recipe":
        """The recipe that plain data describe; `strategies` are the known classes by name."""
        return cls(tuple(_strategy(step, strategies) for step in steps))


def _strategy(step: Json, strategies: Mapping[str, type[Strategy]]) -> Strategy:
    if not isinstance(step, Mapping) or not isinstance(step.get("strategy"), str):
        raise SpecError(f"a step must be a table with a `strategy` name, but got {brief(step)}")
    name = step["strategy"]
    if name not in strategies:
        raise SpecError(f"there is no strategy {shortened(name)}: {nearest(name, strategies)}")
    values = {key: value for key, value in step.items() if key != "strategy"}
    known = knobs(strategies[name])
    for key in values:
        if key not in known:
            raise SpecError(f"`{name}` has no knob {shortened(key)}: {nearest(key, known)}")
    return strategies[name](**values)


def check_value(name: str, value: object, domain: BaseDistribution | TextDomain) -> None:
    """Raise `SpecError` if a knob's value lies outside its domain."""
    if isinstance(domain, TextDomain):
        reason = domain.refusal(value) if isinstance(value, str) else "it is no text"
        if reason:
            raise SpecError(f"`{name}` must be {domain.described}, but got {shortened(repr(value))}: {reason}")
        return
    if isinstance(domain, CategoricalDistribution):
        if not any(value == choice and type(value) is type(choice) for choice in domain.choices):
            choices = ", ".join(repr(choice) for choice in domain.choices)
            raise SpecError(f"`{name}` must be one of {choices}, but got {brief(value)}")
        return
    assert isinstance(domain, IntDistribution | FloatDistribution)
    wanted = "an integer" if isinstance(domain, IntDistribution) else "a number"
    types = (int,) if isinstance(domain, IntDistribution) else (int, float)
    if isinstance(value, bool) or not isinstance(value, types):
        raise SpecError(f"`{name}` must be {wanted} in [{domain.low}, {domain.high}], but got {brief(value)}")
    if not domain.low <= value <= domain.high:
        raise SpecError(f"`{name}` must be in [{domain.low}, {domain.high}], but got {brief(value)}")


def check_defaults(strategy: type[Strategy]) -> None:
    """Raise `SpecError` if a knob's default lies outside its domain."""
    for knob in knobs(strategy).values():
        check_value(f"{strategy.name}.{knob.name}", knob.default, knob.domain)


def recipe_toml(steps: Iterable[Json]) -> str:
    """A recipe's steps as a file for `compress --recipe`."""
    # Written step by step, since short tables would become inline ones.
    return "".join(f"[[steps]]\n{tomli_w.dumps(step)}" for step in steps).rstrip()
