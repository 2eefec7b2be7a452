from dataclasses import replace

import pytest
import torch

from eicompress.contracts import ModelStrategy
from eicompress.encoder.config import LayerConfig
from eicompress.encoder.quantization import QuantSpec
from eicompress.errors import Inapplicable
from eicompress.export.emit import emit
from eicompress.runtime import session
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.pruning import HeadPruning, LayerPruning, NeuronPruning
from eicompress.strategies.thin_student import ThinStudent
from eicompress.training.importance import WAYS
from eicompress.training.teacher import answers_of
from tests.conftest import ContextMaker, tiny_candidate

ALL = (HeadPruning(share=0.5), NeuronPruning(share=0.5), LayerPruning(count=2))


def shapes(strategy: ModelStrategy, make_context: ContextMaker) -> list[tuple[int, int]]:
    model = strategy.apply(tiny_candidate(), make_context()).model
    return [(each.heads, each.ffn) for each in model.config.layers]


@pytest.mark.parametrize("importance", WAYS)
def test_every_layer_loses_its_share(make_context: ContextMaker, importance: str) -> None:
    assert shapes(HeadPruning(0.5, importance, "uniform"), make_context) == [(2, 32)] * 3
    assert shapes(NeuronPruning(0.75, importance, "uniform"), make_context) == [(4, 8)] * 3
    assert shapes(LayerPruning(2, importance), make_context) == [(4, 32)]


@pytest.mark.parametrize("importance", WAYS)
def test_all_layers_together_lose_their_share(make_context: ContextMaker, importance: str) -> None:
    assert sum(heads for heads, _ in shapes(HeadPruning(0.5, importance, "global"), make_context)) == 6
    assert sum(neurons for _, neurons in shapes(NeuronPruning(0.5, importance, "global"), make_context)) == 48


def test_what_says_nothing_goes_without_a_trace(make_context: ContextMaker) -> None:
    context, candidate = make_context(), tiny_candidate()
    for number in range(3):
        candidate.model.layer(number).attention.output.weight.data[:, 6:12] = 0
        candidate.model.layer(number).ffn.output.weight.data[:, 8:16] = 0
    before, _ = answers_of(candidate, context.train.texts, "cpu")
    pruned = HeadPruning(share=0.25, budget="uniform").apply(candidate, context)
    pruned = NeuronPruning(share=0.25).apply(pruned, context)
    after, _ = answers_of(pruned, context.train.texts, "cpu")
    assert pruned.facts["head_pruning"] == {"heads": [3, 3, 3]}
    assert pruned.facts["neuron_pruning"] == {"neurons": [24, 24, 24]}
    assert abs(after - before).max() < 2e-3


def test_the_layer_that_changes_nothing_goes_first(make_context: ContextMaker) -> None:
    context, candidate = make_context(), tiny_candidate()
    for linear in (candidate.model.layer(1).attention.output, candidate.model.layer(1).ffn.output):
        linear.weight.data.zero_()
        linear.bias.data.zero_()
    for importance in WAYS:
        pruned = LayerPruning(1, importance).apply(candidate, context)
        assert pruned.origin.layers == (0, 2)
        candidate = tiny_candidate()
        for linear in (candidate.model.layer(1).attention.output, candidate.model.layer(1).ffn.output):
            linear.weight.data.zero_()
            linear.bias.data.zero_()


@pytest.mark.parametrize("strategy", ALL)
@pytest.mark.parametrize("bits", [None, 4])
def test_the_file_shrinks_and_says_what_the_model_says(
    make_context: ContextMaker, strategy: ModelStrategy, bits: int | None
) -> None:
    candidate = tiny_candidate()
    if bits:
        candidate.model.set_quantization(QuantSpec(4), QuantSpec(4))
        candidate.model.round_floats()
    whole = emit(candidate.model, pairs=False).ByteSize()
    pruned = strategy.apply(candidate, make_context()).model
    graph = emit(pruned, pairs=False)
    assert graph.ByteSize() < whole - 500
    ids = torch.randint(4, 60, (1, 9), generator=torch.Generator().manual_seed(0))
    feeds = {"input_ids": ids.numpy(), "attention_mask": torch.ones_like(ids).numpy()}
    got = session(graph.SerializeToString()).run(["logits"], feeds)[0]
    with torch.no_grad():
        expected = pruned(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()
    assert abs(got - expected).max() < (0.05 if bits else 1e-5)


@pytest.mark.parametrize("strategy", ALL)
def test_a_preview_takes_as_much_away(make_context: ContextMaker, strategy: ModelStrategy) -> None:
    sizes = [
        emit(strategy.apply(tiny_candidate(), make_context(preview=preview)).model, pairs=False).ByteSize()
        for preview in (True, False)
    ]
    assert abs(sizes[0] - sizes[1]) < 300


@pytest.mark.parametrize("importance", WAYS)
def test_a_preview_of_unlike_layers_removes_the_ones_that_will_go(make_context: ContextMaker, importance: str) -> None:
    sizes = []
    for preview in (True, False):
        candidate = tiny_candidate()
        candidate.model.keep_neurons(1, torch.arange(8))
        made = LayerPruning(1, importance).apply(candidate, make_context(preview=preview))
        sizes.append(emit(made.model, pairs=False).ByteSize())
    assert sizes[0] == sizes[1]


def test_shared_layers_are_pruned_together(make_context: ContextMaker) -> None:
    context = make_context()
    shared = LayerSharing(groups=2).apply(tiny_candidate(), context)
    model = NeuronPruning(0.5).apply(HeadPruning(0.5).apply(shared, context), context).model
    assert [each.attention_of for each in model.config.layers] == [None, 0, None]
    assert model.config.layers[0].heads == model.config.layers[1].heads
    assert sum(each.heads for each in model.config.layers if each.attention_of is None) == 4


def test_a_student_is_cut_before_its_parts_are_pruned(make_context: ContextMaker) -> None:
    context = make_context()
    pruned = HeadPruning(0.5).apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="put it before"):
        ThinStudent(layers=2).apply(pruned, context)


def test_what_cannot_be_pruned_is_inapplicable(make_context: ContextMaker) -> None:
    context = make_context()
    with pytest.raises(Inapplicable, match="3 layers, but is 3"):
        LayerPruning(count=3).apply(tiny_candidate(), context)
    for strategy in ALL:
        with pytest.raises(Inapplicable, match="the model has none"):
            strategy.apply(tiny_candidate(layers=(), pooling="mean"), context)


@pytest.mark.parametrize("strategy", [HeadPruning(0.6), NeuronPruning(0.4), NeuronPruning(0.6)])
def test_a_preview_of_competing_layers_has_the_final_bytes(make_context: ContextMaker, strategy: ModelStrategy) -> None:
    made = []
    for preview in (True, False):
        candidate = tiny_candidate(layers=(LayerConfig(4, 6, 256),) * 3)
        candidate.model.layer(1).ffn.output.weight.data *= 5
        candidate.model.layer(2).attention.output.weight.data *= 5
        made.append(strategy.apply(candidate, make_context(preview=preview)).model)
    assert made[0].config == made[1].config and len(set(made[0].config.layers)) > 1
    assert emit(made[0], pairs=False).ByteSize() == emit(made[1], pairs=False).ByteSize()


@pytest.mark.parametrize("budget", ["global", "uniform"])
def test_rounds_with_training_between_end_where_one_does(make_context: ContextMaker, budget: str) -> None:
    for strategy in (HeadPruning(0.5, budget=budget), NeuronPruning(0.6, budget=budget), LayerPruning(2)):
        trained: list[object] = []
        context = replace(make_context(), fit=lambda *given, trained=trained: trained.append(given))
        config = replace(strategy, rounds=3).apply(tiny_candidate(), context).model.config
        once = strategy.apply(tiny_candidate(), make_context()).model.config
        assert len(trained) == 2
        assert sum(each.heads for each in config.layers) == sum(each.heads for each in once.layers)
        assert sum(each.ffn for each in config.layers) == sum(each.ffn for each in once.layers)
