import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate, Context, Training
from eicompress.encoder.expression import plain
from eicompress.encoder.tokens import tokenize
from eicompress.errors import Inapplicable, SpecError
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.strategies.ffn_search import DEFAULT, FfnChoice, FfnSuperNetwork
from eicompress.strategies.kronecker import KroneckerFactorization
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.pruning import NeuronPruning
from eicompress.strategies.super_network import SuperNetwork
from eicompress.strategies.svd import Svd
from eicompress.study.space_file import read_space
from tests.conftest import ContextMaker, tiny_candidate

TWO = f"{plain('gelu')}; {plain('tanh')}; {plain('gelu')}"
TRAINED = FfnSuperNetwork(
    expressions=TWO,
    epochs=8.0,
    random=1,
    distortions=0,
    learning_rate=3e-3,
    label_weight=1.0,
    temperature=1.0,
    batch_size=8,
)


def quality(candidate: Candidate, context: Context) -> float:
    batch = tokenize(candidate.tokenizer, context.train.texts).batch(np.arange(len(context.train)), 0, "cpu")
    with torch.no_grad():
        logits = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return context.task.score(logits.numpy(), context.train.targets)


@pytest.mark.slow
def test_after_one_training_every_choice_knows_the_task(make_context: ContextMaker) -> None:
    context = make_context()
    trained = TRAINED.apply(tiny_candidate(), context)
    assert trained.facts["ffn_super_network"] == {"expressions": [plain("gelu"), plain("tanh")], "neurons": 0.25}
    for choice in (FfnChoice(), FfnChoice(0, plain("tanh"), 1, 0.25), FfnChoice(2, plain("tanh"), 2, 0.5)):
        taken = choice.apply(copy.deepcopy(trained), context)
        assert quality(taken, context) >= 0.9, choice


def test_a_choice_is_one_layers_own(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    subject = FfnSuperNetwork().apply(tiny_candidate(), context)
    for choice in (FfnChoice(1, plain("tanh"), 1, 0.25), FfnChoice(3, plain("relu"), 2, 0.5)):
        subject = choice.apply(subject, context)
    shapes = [(each.expression, each.ffn_blocks, each.ffn) for each in subject.encoder.config.layers]
    assert shapes == [(plain("tanh"), 1, 8), ("", 2, 32), (plain("relu"), 2, 16)]


def test_an_expression_is_a_text_that_a_recipe_checks() -> None:
    with pytest.raises(SpecError, match=r"`ffn_choice.expression` must be an expression.*but got `'x'`: .*`linear1`"):
        Recipe((FfnChoice(expression="x"),))
    with pytest.raises(SpecError, match=r"`ffn_super_network.expressions` must be expressions.*but `swish` came"):
        Recipe((FfnSuperNetwork(expressions=f"{plain('gelu')}; {plain('swish')}"),))
    recipe = Recipe((FfnChoice(expression="linear2( gelu(linear1(x)))"),))
    assert Recipe.from_json(recipe.to_json(), {"ffn_choice": FfnChoice}) == recipe


def test_what_was_not_trained_is_refused(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    trained = FfnSuperNetwork(expressions=TWO, neurons=0.5).apply(tiny_candidate(), context)
    for choice, said in (
        (FfnChoice(4), r"`ffn_choice.layer` must be at most the model's 3 layers, but is 4"),
        (FfnChoice(blocks=3), r"`ffn_choice.blocks` must be at most the 2 that layer 1 has, but is 3"),
        (FfnChoice(neurons=0.25), r"`ffn_choice.neurons` must be at least 0.5, .* but is 0.25"),
        (FfnChoice(expression=plain("relu")), r"must be one that `ffn_super_network` was trained with"),
    ):
        with pytest.raises(Inapplicable, match=said):
            choice.apply(copy.deepcopy(trained), context)


def test_steps_that_know_one_block_refuse_several(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    stacked = FfnSuperNetwork().apply(tiny_candidate(), context)
    for step in (Svd(), KroneckerFactorization(size=2, terms=1), NeuronPruning(), SuperNetwork(), FfnSuperNetwork()):
        with pytest.raises(Inapplicable, match="acts on layers with one feed-forward block, but one has 2"):
            step.apply(copy.deepcopy(stacked), context)
        step.apply(FfnChoice().apply(copy.deepcopy(stacked), context), context)


def test_layers_that_compute_different_things_have_no_mean(make_context: ContextMaker) -> None:
    context = make_context(preview=True)
    subject = FfnChoice(2, plain("relu")).apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="takes the mean of blocks that compute the same, but a group has 2"):
        LayerSharing().apply(copy.deepcopy(subject), context)
    shared = LayerSharing(start="first").apply(subject, context)
    assert {each.expression for each in shared.encoder.config.layers} == {""}


def test_the_space_that_is_given_chooses_what_it_trains() -> None:
    space = read_space("efficientbert", discover(only=""))
    trained = {*DEFAULT.split("; ")}
    chosen = [slot.searched["expression"] for slot in space.slots if slot.strategy is FfnChoice]
    assert len(chosen) == 3
    assert all({*domain.choices} == trained for domain in chosen)  # type: ignore[attr-defined]
    assert all("expressions" not in slot.fixed for slot in space.slots)


def test_an_interrupted_training_draws_the_same_choices(make_context: ContextMaker) -> None:
    context, losses = make_context(), []

    def fit(candidate: Candidate, training: Training) -> None:
        batch = tokenize(candidate.tokenizer, context.train.texts).batch(np.arange(4), 7, "cpu")
        assert training.prepare is not None
        training.prepare(np.arange(4))
        losses.extend(float(training.loss(replace(batch, step=step)).detach()) for step in (7, 7, 8))

    FfnSuperNetwork(distortions=0).apply(tiny_candidate(), replace(context, fit=fit))
    assert losses[0] == losses[1] != losses[2]
