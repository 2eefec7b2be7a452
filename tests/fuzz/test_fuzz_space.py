"""Search spaces and recipes in files."""

import json
from pathlib import Path

import optuna
import pytest
from conftest import tiny_candidate
from fuzzing import ends_well, fuzzed, mutated_bytes
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.cache import Cache
from eicompress.contracts import GraphStrategy, TextDomain
from eicompress.export.folder import graph_of
from eicompress.plugins import discover
from eicompress.recipe import knobs
from eicompress.study.recipe_file import read_recipe
from eicompress.study.space_file import known_spaces, read_space
from eicompress.study.space_words import slots_in_words
from eicompress.testing import tiny_context
from eicompress.trials.candidate import build

pytestmark = pytest.mark.slow

REGISTRY = discover()
STRATEGIES = sorted(REGISTRY.strategies)
HOSTILE = (
    *("true", "false", "0", "-1", "1", "2", "0.5", "1.5", "inf", "nan", "-0.0", "1e30", "99999999999999999999"),
    *(
        '""',
        '"x"',
        '"\\u0000"',
        "[]",
        "{}",
        "[1]",
        '["a"]',
        "[nan]",
        "[[1]]",
        "{ low = 1 }",
        "{ low = nan, high = nan }",
    ),
    *("{ low = 3, high = 1 }", "{ choices = [] }", "{ choices = [[1]] }", "{ fill = true }", "{ fill = [] }"),
    *("{ step = 0 }", '{ log = "x" }', "{ log = true, step = 1 }", "{ low = inf }", "1979-05-27", "9" * 5_000),
    *("[" * 5_000 + "]" * 5_000, '"' + "x" * 9_000 + '"', f"[{'1, ' * 3_000}]", f"{{ a = [{'1, ' * 3_000}] }}"),
)
hostile = st.sampled_from(HOSTILE)


@st.composite
def value(draw: st.DrawFn, domain: object, searched: bool, odd: bool) -> str:
    """A knob's value, or its range, as TOML; one that can be searched where nothing is to be `odd`."""
    if odd and not draw(st.integers(0, 5)):
        return draw(hostile)
    if isinstance(domain, CategoricalDistribution):
        chosen = draw(st.lists(st.sampled_from(domain.choices), min_size=1, max_size=3))
        return f"{{ choices = {json.dumps(chosen)} }}" if searched else json.dumps(chosen[0])
    if isinstance(domain, TextDomain):
        texts = draw(st.lists(st.text("x()12, linear gelu relu tanh max", max_size=40), min_size=1, max_size=3))
        return f"{{ choices = {json.dumps(texts)} }}" if searched else json.dumps(texts[0])
    if isinstance(domain, IntDistribution):
        low, high = (draw(st.integers(domain.low, domain.high)) for _ in range(2))
        more = [", step = 2", ", log = true", ", fill = true"]
    else:
        assert isinstance(domain, FloatDistribution)
        low, high = (draw(st.floats(domain.low, domain.high)) for _ in range(2))
        more = [", step = 0.1", ", log = true"]
    if not odd or draw(st.booleans()):
        low, high = sorted((low, high))
    more = ["", *more, f", step = {draw(hostile)}"] if odd else [""]
    return f"{{ low = {low}, high = {high}{draw(st.sampled_from(more))} }}" if searched else f"{low}"


@st.composite
def step(draw: st.DrawFn, searched: bool, odd: bool = True) -> list[str]:
    """Lines of TOML that describe a slot, or a step."""
    name = draw(st.sampled_from(STRATEGIES))
    if searched and not draw(st.integers(0, 9)):
        return ['strategy = "of_no_plugin"', "if_installed = true"]
    lines = [f"strategy = {draw(hostile)}" if odd and not draw(st.integers(0, 20)) else f'strategy = "{name}"']
    for knob in knobs(REGISTRY.strategies[name]).values():
        if draw(st.booleans()):
            lines.append(f"{knob.name} = {draw(value(knob.domain, searched and draw(st.booleans()), odd))}")
    if searched and odd and draw(st.booleans()):
        other = draw(st.sampled_from(("optional = true", "if_installed = true", "optional = {}", "unless = {}")))
        lines.append(other.replace("{}", draw(hostile)))
    return lines


@st.composite
def given_steps(draw: st.DrawFn, odd: bool) -> str:
    """The steps of a recipe that a search space brings."""
    if odd and not draw(st.integers(0, 5)):
        return draw(hostile)
    steps = [", ".join(draw(step(searched=False, odd=odd))) for _ in range(draw(st.integers(0, 2)))]
    return f"[{', '.join(f'{{ {each} }}' for each in steps)}]"


@st.composite
def space(draw: st.DrawFn) -> str:
    """Settings, slots and given recipes, some of which are odd."""
    odd = draw(st.sets(st.sampled_from(("settings", "slots", "recipes")), min_size=1))
    settings = st.sets(st.sampled_from(("fidelity", "rung_steps")), min_size=1)
    lines = [f"{name} = {draw(hostile)}" for name in (draw(settings) if "settings" in odd else ())]
    for _ in range(draw(st.integers(0 if "slots" in odd else 1, 3))):
        lines += ["[[slot]]", *draw(step(searched=True, odd="slots" in odd))]
    for _ in range(draw(st.integers(0, 2))):
        lines += ["[[recipe]]", f"steps = {draw(given_steps('recipes' in odd))}"]
    return "\n".join(lines)


damaged = st.one_of([mutated_bytes(path.read_bytes()) for path in known_spaces().values()])


@fuzzed(200)
@given(space().map(str.encode) | damaged)
def test_a_search_space_draws_recipes_or_is_refused(tmp_path_factory: pytest.TempPathFactory, written: bytes) -> None:
    file: Path = tmp_path_factory.getbasetemp() / "space.toml"
    file.write_bytes(written)
    with ends_well():
        read = read_space(str(file), REGISTRY)
        assert slots_in_words(read)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        for known in read.known:
            study.enqueue_trial(known)
        for _ in range(len(read.known) + 2):
            read.suggest(study.ask()).to_json()


@fuzzed(200)
@given(st.lists(step(searched=False), min_size=1, max_size=3), st.sampled_from((".toml", ".json")))
def test_a_recipe_makes_a_graph_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[str]], suffix: str
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    file = folder / f"recipe{suffix}"
    if suffix == ".toml":
        file.write_text("\n".join("\n".join(["[[steps]]", *lines]) for lines in steps))
    else:
        objects = ["{" + ", ".join('"' + line.replace(" = ", '": ', 1) for line in lines) + "}" for lines in steps]
        file.write_text(f"[{', '.join(objects)}]")
    with ends_well():
        recipe = read_recipe(file, REGISTRY)
        context = tiny_context(folder, tiny_candidate(), preview=True)
        made = build(recipe, context, Cache(folder / "cache"), str)
        graph = graph_of(made, pairs=False)
        for each in recipe.steps:
            if isinstance(each, GraphStrategy):
                graph = each.apply(graph, context)
