import errno
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress.cache import Cache
from eicompress.contracts import Candidate, Context
from eicompress.errors import Inapplicable, PluginError
from eicompress.recipe import Recipe
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.embedding_factorization import EmbeddingFactorization
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent
from eicompress.training.teacher import answers_of
from eicompress.training.trainer import Trainer
from eicompress.trials.candidate import build, load, reason_of, save
from eicompress.trials.training_time import count_steps
from tests.conftest import ContextMaker, tiny_candidate

TRAINED = (ThinStudent(layers=2), EmbeddingFactorization(size=8), Distillation(epochs=1, distortions=0))


def same(one: Candidate, two: Candidate, context: Context) -> bool:
    texts = context.train.texts
    return bool((answers_of(one, texts, "cpu")[0] == answers_of(two, texts, "cpu")[0]).all())


@pytest.fixture
def keyed() -> Callable[[Recipe], object]:
    return lambda recipe: recipe.to_json()


def test_a_candidate_survives_the_disk(make_context: ContextMaker, tmp_path: Path) -> None:
    context = make_context()
    candidate = tiny_candidate()
    for step in (*TRAINED, Quantization(embedding_bits=8, layer_bits=4)):
        candidate = step.apply(candidate, context)
    save(candidate, tmp_path)
    again = load(tmp_path)
    assert same(candidate, again, context)
    assert again.origin == candidate.origin and again.facts == candidate.facts
    assert again.model.config == candidate.model.config


def test_building_leaves_the_baseline_as_it_was(
    make_context: ContextMaker, tmp_path: Path, keyed: Callable[[Recipe], object]
) -> None:
    context = make_context()
    build(Recipe(TRAINED), context, Cache(tmp_path), keyed)
    assert same(context.baseline, tiny_candidate(), context)
    assert np.array_equal(context.baseline.tokenizer.to_str(), tiny_candidate().tokenizer.to_str())


def test_recipes_that_share_a_trained_prefix_train_it_once(
    make_context: ContextMaker, tmp_path: Path, keyed: Callable[[Recipe], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, cache = make_context(), Cache(tmp_path)
    trainings = []
    fit = Trainer.__call__

    def counted(self: Trainer, candidate: Candidate, training: object) -> None:
        trainings.append(1)
        fit(self, candidate, training)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "__call__", counted)
    for bits in (4, 8, 4):
        build(Recipe((*TRAINED, Quantization(layer_bits=bits))), context, cache, keyed)
    assert len(trainings) == 1


def test_a_preview_reads_and_writes_no_prefix(
    make_context: ContextMaker, tmp_path: Path, keyed: Callable[[Recipe], object]
) -> None:
    build(Recipe(TRAINED), make_context(preview=True), Cache(tmp_path / "prefixes"), keyed)
    assert not (tmp_path / "prefixes").exists()


def test_the_same_recipe_and_seed_give_the_same_candidate(
    make_context: ContextMaker, tmp_path: Path, keyed: Callable[[Recipe], object]
) -> None:
    context = make_context()
    one = build(Recipe(TRAINED), context, Cache(tmp_path / "one"), keyed)
    two = build(Recipe(TRAINED), context, Cache(tmp_path / "two"), keyed)
    assert same(one, two, context)


def test_what_a_strategy_raises_is_said_once_with_its_package_and_line(
    make_context: ContextMaker, tmp_path: Path, keyed: Callable[[Recipe], object]
) -> None:
    class Failing(Quantization):
        def apply(self, subject: Candidate, context: Context) -> Candidate:
            raise ValueError("no such weight\nand more")

    with pytest.raises(PluginError) as caught:
        build(Recipe((Failing(),)), make_context(), Cache(tmp_path / "kept"), keyed)
    line = Failing.apply.__code__.co_firstlineno + 1
    said = f"ValueError in `quantization`, of the file `{__file__}`, line {line} of `test_candidate.py`: no such weight"
    assert str(caught.value) == said
    *before, _, last = reason_of(caught.value).splitlines()
    assert last == said and f'File "{__file__}", line {line}, in apply' in "\n".join(before)
    with pytest.raises(Inapplicable):
        build(Recipe((ThinStudent(layers=9),)), make_context(), Cache(tmp_path / "kept"), keyed)


@pytest.mark.parametrize("how", ["exit", "_exit"])
def test_a_strategy_that_would_end_the_process_is_an_error_with_its_line(
    how: str, make_context: ContextMaker, tmp_path: Path, keyed: Callable[[Recipe], object]
) -> None:
    class Ending(Quantization):
        def apply(self, subject: Candidate, context: Context) -> Candidate:
            getattr(sys if how == "exit" else os, how)(0)
            return subject

    recipe = Recipe((Ending(),))
    said = (
        rf"^SystemExit in `quantization`, .*, line {Ending.apply.__code__.co_firstlineno + 1} of `test_candidate.py`: "
    )
    for apply in (
        lambda: build(recipe, make_context(), Cache(tmp_path / "kept"), keyed),
        lambda: count_steps(recipe, tiny_candidate(), make_context()),
    ):
        with pytest.raises(PluginError, match=said + "`apply` must return or raise an error, but .* with 0$"):
            apply()
    assert os._exit.__name__ == "_exit"


def test_a_full_disk_is_no_error_of_the_strategy(
    make_context: ContextMaker, tmp_path: Path, keyed: Callable[[Recipe], object]
) -> None:
    class Full(Quantization):
        def apply(self, subject: Candidate, context: Context) -> Candidate:
            raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space"):
        build(Recipe((Full(),)), make_context(), Cache(tmp_path / "kept"), keyed)


@pytest.mark.parametrize("preview", [True, False])
def test_a_strategy_that_returns_nothing_is_named_and_not_the_next_one(
    make_context: ContextMaker, tmp_path: Path, keyed: Callable[[Recipe], object], preview: bool
) -> None:
    class Forgetful(Quantization):
        def apply(self, subject: Candidate, context: Context) -> Candidate:
            return None  # type: ignore[return-value]

    with pytest.raises(
        PluginError, match="must return a Candidate, but returned a NoneType: end it with `return`"
    ) as caught:
        build(Recipe((Forgetful(), Quantization())), make_context(preview=preview), Cache(tmp_path / "kept"), keyed)
    assert reason_of(caught.value) == str(caught.value)


def test_a_step_that_needs_an_encoder_says_what_it_got(make_context: ContextMaker, tmp_path: Path) -> None:
    foreign = replace(tiny_candidate(), model=torch.nn.Identity())
    with pytest.raises(Inapplicable, match="must get one, but got a `Identity`: put it before the step that replaces"):
        Quantization().apply(foreign, make_context())
