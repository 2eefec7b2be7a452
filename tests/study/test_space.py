import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from eicompress.contracts import Candidate, Context, ModelStrategy, Strategy
from eicompress.errors import SpecError
from eicompress.plugins import Registry, discover
from eicompress.recipe import Recipe
from eicompress.study.samplers import sampler
from eicompress.study.space import SearchSpace
from eicompress.study.space_file import known_spaces, read_space
from eicompress.study.space_words import slots_in_words

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Noop(ModelStrategy):
    def apply(self, subject: Candidate, context: Context) -> Candidate:
        return subject


@dataclass(frozen=True)
class Words(Noop):
    name: ClassVar[str] = "words"
    tokens: Annotated[int, IntDistribution(100, 10_000, log=True)] = 500
    scripts: Annotated[str, CategoricalDistribution(("corpus", "all"))] = "corpus"


@dataclass(frozen=True)
class Thin(Noop):
    name: ClassVar[str] = "thin"
    layers: Annotated[int, IntDistribution(0, 24)] = 3
    heads: Annotated[float, FloatDistribution(0.05, 1.0)] = 1.0


CLASSES: dict[str, type[Strategy]] = {"words": Words, "thin": Thin}
REGISTRY = Registry(strategies=CLASSES, tasks={}, metrics={}, sources={})

GOOD = """
    fidelity = 0.2
    [[slot]]
    strategy = "words"
    tokens = { fill = true, low = 200, high = 4000 }
    [[slot]]
    strategy = "thin"
    layers = { low = 1, high = 4 }
    heads = { low = 0.25, high = 1, step = 0.25 }
    [[slot]]
    strategy = "thin"
    optional = true
    heads = 0.5
    [[recipe]]
    steps = [{ strategy = "words" }, { strategy = "thin", layers = 2 }]
"""


def space_of(tmp_path: Path, code: str) -> SearchSpace:
    path = tmp_path / "mine.toml"
    path.write_text(textwrap.dedent(code))
    return read_space(str(path), REGISTRY)


def draw(space: SearchSpace, trials: int, seed: int = 0) -> list[Recipe]:
    study = optuna.create_study(sampler=sampler("tpe", seed))
    recipes = []
    for _ in range(trials):
        trial = study.ask()
        recipes.append(space.suggest(trial))
        study.tell(trial, 1.0)
    return recipes


def test_every_draw_is_a_recipe_of_the_slots_in_their_order(tmp_path: Path) -> None:
    recipes = draw(space_of(tmp_path, GOOD), 30)
    assert {tuple(step.name for step in recipe.steps) for recipe in recipes} == {
        ("words", "thin"),
        ("words", "thin", "thin"),
    }
    first = [recipe.to_json()[1] for recipe in recipes]
    assert {step["layers"] for step in first} == {1, 2, 3, 4}
    assert {step["heads"] for step in first} <= {0.25, 0.5, 0.75, 1.0}


def test_equal_seeds_draw_equal_recipes(tmp_path: Path) -> None:
    space = space_of(tmp_path, GOOD)
    assert draw(space, 5, seed=3) == draw(space, 5, seed=3)
    assert draw(space, 5, seed=3) != draw(space, 5, seed=4)


def test_the_filled_knob_is_no_parameter_and_takes_any_value(tmp_path: Path) -> None:
    space = space_of(tmp_path, GOOD)
    (recipe,) = draw(space, 1)
    assert recipe.to_json()[0]["tokens"] == 200
    assert space.filled(recipe, 1234).to_json()[0]["tokens"] == 1234


def test_a_known_recipe_is_drawn_as_it_was_written(tmp_path: Path) -> None:
    space = space_of(tmp_path, GOOD)
    study = optuna.create_study(sampler=sampler("tpe", 0))
    study.enqueue_trial(dict(space.known[0]))
    recipe = space.suggest(study.ask())
    assert recipe == Recipe((Words(tokens=200), Thin(layers=2, heads=1.0)))


def test_the_corner_has_every_knob_at_its_least(tmp_path: Path) -> None:
    space = space_of(tmp_path, GOOD)
    assert space.recipe(space.corner()) == Recipe((Words(tokens=200), Thin(layers=1, heads=0.25), Thin(heads=0.5)))


INSTEAD = (
    GOOD.replace(
        """    [[slot]]
    strategy = "thin"
    layers""",
        """    [[slot]]
    strategy = "begin"
    optional = true
    if_installed = true
    [[slot]]
    strategy = "thin"
    unless = "begin"
    layers""",
    )
    + """
    [[recipe]]
    steps = [{ strategy = "words" }, { strategy = "begin" }]
"""
)


@dataclass(frozen=True)
class Begin(Noop):
    name: ClassVar[str] = "begin"


def space_with_begin(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "mine.toml"
    path.write_text(textwrap.dedent(INSTEAD))
    classes: dict[str, type[Strategy]] = {**CLASSES, "begin": Begin}
    return read_space(str(path), Registry(strategies=classes, tasks={}, metrics={}, sources={}))


def test_a_slot_is_left_out_where_another_stands_in_its_place(tmp_path: Path) -> None:
    space = space_with_begin(tmp_path)
    drawn = {tuple(step.name for step in recipe.steps) for recipe in draw(space, 40)}
    assert drawn == {
        ("words", "begin"),
        ("words", "begin", "thin"),
        ("words", "thin"),
        ("words", "thin", "thin"),
    }
    assert space.recipe(space.corner()) == Recipe((Words(tokens=200), Thin(layers=1, heads=0.25), Thin(heads=0.5)))
    assert [known["use begin"] for known in space.known] == [False, True]
    assert "thin.layers" in space.known[0] and "thin.layers" not in space.known[1]


def test_what_no_installed_plug_in_brings_is_left_out_with_its_recipes(tmp_path: Path) -> None:
    space = space_of(tmp_path, INSTEAD)
    assert [slot.name for slot in space.slots] == ["words", "thin", "thin#2"]
    assert [slot.unless for slot in space.slots] == ["", "", ""]
    assert space.known == space_of(tmp_path, GOOD).known
    assert space.digest != space_with_begin(tmp_path).digest
    for_all = INSTEAD.replace("[[recipe]]", '[[slot]]\nstrategy = "begin"\n[[recipe]]', 1)
    with pytest.raises(SpecError, match="no strategy `begin`"):
        space_of(tmp_path, for_all)


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('unless = "begin"', 'unless = "words"', r"slot\[2\].*`unless` must name an optional slot before it"),
        ("if_installed = true", "if_installed = 1", "`if_installed` must be true or false, but got 1"),
        (
            '{ strategy = "words" }, { strategy = "begin" }',
            '{ strategy = ["words"] }',
            r"recipe\[1\].*`words` was due and `\['words'\]` came",
        ),
    ],
)
def test_a_slot_instead_of_another_must_be_clear(tmp_path: Path, good: str, bad: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(textwrap.dedent(INSTEAD).replace(good, bad))
    classes: dict[str, type[Strategy]] = {**CLASSES, "begin": Begin}
    with pytest.raises(SpecError, match=said):
        read_space(str(path), Registry(strategies=classes, tasks={}, metrics={}, sources={}))


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        (
            '"words"\n    tokens',
            '"wrods"\n    tokens',
            r"slot\[0\].*no strategy `wrods`: did you mean",
        ),
        ("tokens =", "token =", "`words` has no knob `token`: did you mean `tokens`"),
        ("low = 200", "low = 20", r"`words.tokens` must be in \[100, 10000\], but got 20"),
        ("low = 200", "low = 9000", "low end below its high end, but got 9000 and 4000"),
        ("layers = {", "layers = { fill = true,", "one knob of .* can be filled"),
        ("heads = 0.5", "heads = { fill = true }", "must be a whole number to be filled"),
        ("heads = 0.5", "heads = 1.5", r"`thin.heads` must be in \[0.05, 1.0\], but got 1.5"),
        ("heads = 0.5", 'heads = "half"', "`thin.heads` must be a number"),
        ("heads = 0.5", "heads = { choices = [] }", "must have a list of choices that is not empty"),
        ("heads = 0.5", "heads = { choices = [0.5, 2.0] }", "`thin.heads` must be in"),
        ("heads = 0.5", "heads = { lo = 0.5 }", "the range of `thin.heads` has no setting `lo`"),
        ("heads = 0.5", "heads = { log = true, step = 0.5 }", "cannot be searched"),
        ("high = 4 }", "high = 0 }", "cannot be searched"),
        ("high = 4 }", "high = 4, step = 0 }", r"the step of `thin.layers` must be a whole number above 0, but got 0"),
        ("high = 4 }", "high = 4, step = 0.5 }", r"must be a whole number above 0, but got 0.5"),
        (
            "high = 4 }",
            "high = 4, step = true }",
            r"step of `thin.layers` must be a whole number above 0, but got True",
        ),
        ("heads = 0.5", "heads = { step = true }", r"must be a number above 0, but got True"),
        (
            "heads = 0.5",
            "heads = { step = 1e-320 }",
            r"`.*heads` must not be so small beside its range, but got 1e-320",
        ),
        ("heads = 0.5", "heads = { step = -0.25 }", r"must be a number above 0, but got -0.25"),
        ("heads = 0.5", 'heads = { step = "1" }', r"must be a number above 0, but got '1'"),
        ("fidelity = 0.2", "fidelity = 2", "`fidelity` .* must be above 0 and at most 1, or .*but got 2"),
        ("fidelity = 0.2", "fidelity = [0.3, 0.1]", "a list of such numbers that grow, but got .0.3, 0.1"),
        ("fidelity = 0.2", "fidelity = []", "a list of such numbers that grow"),
        ("fidelity", "fidelty", "no setting `fidelty`: did you mean `fidelity`"),
        ("fidelity = 0.2", "fidelity = 0.2\nrung_steps = [1, 2]", r"`rung_steps` in .* one for each fidelity \(1\)"),
        ("fidelity = 0.2", "fidelity = [0.1, 0.2]\nrung_steps = [9, 3]", r"that do not fall, .* but got \[9, 3\]"),
        ("fidelity = 0.2", "fidelity = 0.2\nrung_steps = 0", "whole numbers above 0"),
        ("optional = true", "optional = 1", "`optional` must be true or false"),
        ("layers = 2", "layers = 7", r"recipe\[0\].*`thin.layers` must be in \[1, 4\], but got 7"),
        ("layers = 2", "heads = 0.3", "grid of step 0.25, but got 0.3"),
        ('{ strategy = "words" }', '{ strategy = "words", tokens = 300 }', "is filled by the search space"),
        (
            '{ strategy = "words" }',
            '{ strategy = "words", scripts = "all" }',
            "must be 'corpus'",
        ),
        ('{ strategy = "words" }, ', "", "`words` was due and `thin` came"),
        ("layers = 2 }", 'layers = 2 }, { strategy = "words" }', "no more steps than .* but got `words`"),
        ("[[slot]]", "[[slot", "must be TOML"),
        ("[[slot]]", "[[slots]]", "no setting `slots`"),
    ],
)
def test_a_bad_space_gets_one_clear_message(tmp_path: Path, good: str, bad: str, said: str) -> None:
    assert good in GOOD
    with pytest.raises(SpecError, match=said):
        space_of(tmp_path, GOOD.replace(good, bad))


@pytest.mark.parametrize(
    ("steps", "rungs"),
    [
        (100_000, (0.03, 0.1)),  # long enough as they are
        (10_000, (0.04, 0.12)),
        (5_000, (0.08, 0.24)),
        (1_500, (0.267, 0.8)),  # rounded up
        (600, (1.0,)),  # two thirds of the training, and all of it, are as good as one rung
        (100, (1.0,)),
    ],
)
def test_rungs_have_their_least_steps(tmp_path: Path, steps: int, rungs: tuple[float, ...]) -> None:
    written = "fidelity = [0.03, 0.1]\n    rung_steps = [400, 1200]"
    space = space_of(tmp_path, GOOD.replace("fidelity = 0.2", written))
    assert space.with_least_steps(steps).rungs == rungs


def test_a_space_without_least_steps_keeps_its_shares(tmp_path: Path) -> None:
    assert space_of(tmp_path, GOOD).with_least_steps(10).rungs == (0.2,)


def test_an_unknown_space_offers_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean `edge`"):
        read_space("egde", REGISTRY)
    with pytest.raises(SpecError, match="must be a readable file"):
        read_space(str(tmp_path / "none.toml"), REGISTRY)


LONG = '"' + "x" * 9_000 + '"'
MANY = f"[{'1, ' * 3_000}]"


@pytest.mark.parametrize("long", [LONG, MANY, f"{{ low = {MANY} }}"])
@pytest.mark.parametrize(
    "text",
    [
        "fidelity = LONG\n" + GOOD,
        "rung_steps = LONG\n" + GOOD,
        "[[slot]]\nstrategy = LONG",
        '[[slot]]\nstrategy = "thin"\noptional = LONG',
        '[[slot]]\nstrategy = "thin"\nunless = LONG',
        '[[slot]]\nstrategy = "thin"\neach = LONG',
        '[[slot]]\nstrategy = "thin"\nheads = LONG',
        '[[slot]]\nstrategy = "thin"\nlayers = { low = 1, high = 4, step = LONG }',
        '[[slot]]\nstrategy = "thin"\nlayers = { choices = [LONG] }',
        '[[slot]]\nstrategy = "thin"\n[[recipe]]\nsteps = [{ strategy = LONG }]',
        '[[slot]]\nstrategy = "thin"\n[[recipe]]\nsteps = [{ strategy = "thin", layers = LONG }]',
    ],
)
def test_what_came_is_shortened_where_it_is_refused(tmp_path: Path, text: str, long: str) -> None:
    with pytest.raises(SpecError) as refused:
        space_of(tmp_path, text.replace("LONG", long))
    assert len(str(refused.value)) < 700


EACH = """
    [[slot]]
    strategy = "thin"
    each = { layers = [1, 2, 4] }
    heads = { low = 0.25, high = 1.0, step = 0.25 }
"""


def test_a_slot_for_each_value_of_a_knob_is_as_many_slots_as_values(tmp_path: Path) -> None:
    space = space_of(tmp_path, EACH)
    assert [(slot.name, slot.fixed) for slot in space.slots] == [
        ("thin", {"layers": 1}),
        ("thin#2", {"layers": 2}),
        ("thin#3", {"layers": 4}),
    ]
    written = "".join(EACH.replace("each = { layers = [1, 2, 4] }", f"layers = {each}") for each in (1, 2, 4))
    assert draw(space, 5) == draw(space_of(tmp_path, written), 5)


@pytest.mark.parametrize(
    "bad", ["{ layers = 2 }", "{ layers = [] }", "[1, 2]", "{}", "{ layers = [1], heads = [0.5] }", "{ heads = [0.5] }"]
)
def test_each_names_one_knob_and_its_values(tmp_path: Path, bad: str) -> None:
    with pytest.raises(
        SpecError, match=r"`each` in `slot\[0\]` of .* must have one knob, which the slot names nowhere"
    ):
        space_of(tmp_path, EACH.replace("{ layers = [1, 2, 4] }", bad))


@pytest.mark.parametrize("name", sorted(known_spaces()))
def test_every_space_that_is_shipped_reads_and_draws(name: str) -> None:
    space = read_space(name, discover())
    assert space.known
    assert draw(space, 3)


@dataclass(frozen=True)
class Elastic(Noop):
    name: ClassVar[str] = "elastic"
    trains: ClassVar[bool] = True
    shares_training: ClassVar[bool] = True
    rate: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.1


@dataclass(frozen=True)
class Tuned(Noop):
    name: ClassVar[str] = "tuned"
    trains: ClassVar[bool] = True


SHARED_CLASSES = {**CLASSES, "elastic": Elastic, "tuned": Tuned}
SHARED = """
    fidelity = [0.1, 0.5]
    [[slot]]
    strategy = "words"
    tokens = 500
    [[slot]]
    strategy = "elastic"
    [[slot]]
    strategy = "thin"
    layers = { low = 1, high = 4 }
"""


def sharing_space(tmp_path: Path, code: str) -> SearchSpace:
    path = tmp_path / "mine.toml"
    path.write_text(textwrap.dedent(code))
    return read_space(str(path), Registry(strategies=SHARED_CLASSES, tasks={}, metrics={}, sources={}))


def test_where_all_training_is_shared_a_candidate_has_one_rung(tmp_path: Path) -> None:
    space = sharing_space(tmp_path, SHARED)
    assert space.shares and space.rungs == (1.0,)
    assert all(recipe.only_shared and len(recipe.shared.steps) == 2 for recipe in draw(space, 3))
    assert not space_of(tmp_path, GOOD).shares


def test_rungs_are_those_of_what_is_trained_after_a_shared_training(tmp_path: Path) -> None:
    after = '[[slot]]\nstrategy = "tuned"\n'
    for code in (
        SHARED + after,
        SHARED + after + "optional = true",
        SHARED.replace('"elastic"', '"elastic"\noptional = true'),
    ):
        assert sharing_space(tmp_path, code).rungs == (0.1, 0.5)
    (recipe,) = draw(sharing_space(tmp_path, SHARED + after), 1)
    assert not recipe.only_shared and len(recipe.shared.steps) == 2


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("tokens = 500", "tokens = { low = 200, high = 900 }", r"but `words\.tokens` is searched: give it a value"),
        ("tokens = 500", "tokens = { fill = true }", r"but `words\.tokens` is searched: give it a value, or search it"),
        ("tokens = 500", "optional = true", "but whether `words` is used is searched"),
        ('"elastic"', '"elastic"\n    rate = { low = 0.1, high = 0.2 }', r"but `elastic\.rate` is searched"),
    ],
)
def test_nothing_is_searched_before_a_shared_training(tmp_path: Path, good: str, bad: str, said: str) -> None:
    assert good in SHARED
    with pytest.raises(SpecError, match=f"training of `elastic` in .* serves every candidate, .*{said}"):
        sharing_space(tmp_path, SHARED.replace(good, bad))


def test_what_finishes_a_part_is_described_after_the_slots(tmp_path: Path) -> None:
    space = sharing_space(tmp_path, SHARED + '[[finish]]\nstrategy = "tuned"')
    assert [step.name for step in space.finish] == ["tuned"]
    assert slots_in_words(space)[-1] == "tuned (of what is handed out): defaults"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (SHARED + '[[slot]]\nstrategy = "tuned"\n[[finish]]\nstrategy = "tuned"', "must follow a shared training"),
        (SHARED + '[[finish]]\nstrategy = "thin"', "must train each candidate by itself, but got `thin`"),
        (SHARED + '[[finish]]\nstrategy = "elastic"', "must train each candidate by itself, but got `elastic`"),
        (SHARED + '[[finish]]\nstrategy = "tunde"', "no strategy `tunde`"),
        (SHARED + '[[finish]]\nstrategy = "tuned"\nrate = 0.5', "has no knob `rate`"),
    ],
)
def test_what_finishes_a_part_trains_it_by_itself(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(SpecError, match=f"in `finish` of .*{said}"):
        sharing_space(tmp_path, code)


def test_given_recipes_of_a_space_that_trades_bytes_leave_what_was_filled_to_the_sampler() -> None:
    space = read_space("edge", discover()).unfilled()
    assert space.known and all("vocabulary_pruning.num_tokens" not in each for each in space.known)
    recipes = [space.recipe(each) for each in space.known]
    assert {step.num_tokens for each in recipes for step in each.steps if step.name == "vocabulary_pruning"} == {300}  # type: ignore[attr-defined]
    study = optuna.create_study(sampler=sampler("random", 0))
    study.enqueue_trial(dict(space.known[0]))
    drawn = space.suggest(study.ask())
    assert [step.name for step in drawn.steps] == [step.name for step in recipes[0].steps]


def test_a_space_of_which_no_strategy_is_installed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text('[[slot]]\nstrategy = "nowhere"\nif_installed = true\n')
    with pytest.raises(SpecError, match=r"must have a `\[\[slot\]\]` whose strategy is installed.*nowhere"):
        read_space(str(path), discover())
