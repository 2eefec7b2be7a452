"""A search space in words, for the plan of a search."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.contracts import Strategy
from eicompress.recipe import knobs
from eicompress.study.space import SearchSpace, Slot


def slots_in_words(space: SearchSpace) -> list[str]:
    """One line a slot or a step that finishes, to be read by people."""
    return [*map(_slot, space.slots), *map(_finishing, space.finish)]


def _slot(slot: Slot) -> str:
    parts = [f"{key} {_range(of)}" for key, of in slot.searched.items()]
    if slot.fill:
        parts.insert(0, f"{slot.fill.knob} fills the budget, {slot.fill.low} to {slot.fill.high}")
    parts += [f"{key} {value}" for key, value in slot.fixed.items()]
    when = " (optional)" if slot.optional else f" (unless {slot.unless} is used)" if slot.unless else ""
    return f"{slot.name}{when}: {', '.join(parts) or 'defaults'}"


def _finishing(step: Strategy) -> str:
    values = {name: (getattr(step, name), knob.default) for name, knob in knobs(type(step)).items()}
    given = [f"{name} {value}" for name, (value, default) in values.items() if value != default]
    return f"{step.name} (of what is handed out): {', '.join(given) or 'defaults'}"


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return " or ".join(str(each) for each in distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return f"{distribution.low:g} to {distribution.high:g}"
