from pathlib import Path

import pytest
import torch

from eicompress.contracts import Candidate
from eicompress.encoder.config import EncoderConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.export.emit import emit
from eicompress.runtime import session
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.layer_sharing import LayerSharing, arranged
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent
from eicompress.training.teacher import answers_of
from eicompress.trials.candidate import load, save
from tests.conftest import ContextMaker, tiny_candidate, tiny_encoder

SIX = (LayerConfig(4, 6, 32),) * 6


def weights(model: torch.nn.Module) -> int:
    return sum(each.numel() for each in model.parameters())


def file_bytes(model: Encoder) -> int:
    return len(emit(model, pairs=False).SerializeToString())


@pytest.mark.parametrize(
    ("places", "distinct", "order", "expected"),
    [
        (6, 3, "sequence", [0, 0, 1, 1, 2, 2]),
        (6, 3, "cycle", [0, 1, 2, 0, 1, 2]),
        (6, 3, "reversed", [0, 1, 2, 2, 1, 0]),
        (5, 3, "sequence", [0, 0, 1, 1, 2]),
        (5, 3, "reversed", [0, 1, 2, 2, 1]),
        (3, 3, "reversed", [0, 1, 2]),
        (4, 1, "cycle", [0, 0, 0, 0]),
    ],
)
def test_layers_follow_each_other_as_asked(places: int, distinct: int, order: str, expected: list[int]) -> None:
    assert arranged(places, distinct, order) == expected


@pytest.mark.parametrize("order", ["sequence", "cycle", "reversed"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_one_group_has_the_weights_of_one_layer(make_context: ContextMaker, order: str, repeats: int) -> None:
    whole, alone = tiny_candidate(), tiny_encoder()
    alone.keep_layers([0])
    shared = LayerSharing(groups=1, repeats=repeats, order=order).apply(whole, make_context()).model
    assert weights(shared) == weights(alone) and len(shared.layers) == 3 * repeats
    # Each further use of a layer takes a few nodes of about 50 bytes, and no constants.
    assert file_bytes(shared) < file_bytes(alone) + 3000 * len(shared.layers)
    assert len(emit(shared, pairs=False).graph.initializer) == len(emit(alone, pairs=False).graph.initializer)


def test_a_repeated_layer_says_what_its_copies_would_say(make_context: ContextMaker) -> None:
    context = make_context()
    shared = LayerSharing(groups=3, repeats=2, order="cycle").apply(tiny_candidate(), context)
    copies = tiny_encoder(layers=SIX)
    copies.load_state_dict(shared.model.state_dict())
    untied = Candidate(copies, shared.tokenizer, shared.origin)
    assert shared.origin.layers == (0, 1, 2, 0, 1, 2)
    ours, theirs = (answers_of(each, context.train.texts, "cpu")[0] for each in (shared, untied))
    assert (ours == theirs).all()


def test_gradients_of_all_uses_add_up(make_context: ContextMaker) -> None:
    shared = LayerSharing().apply(tiny_candidate(), make_context()).model
    copies = tiny_encoder()
    copies.load_state_dict(shared.state_dict())
    ids = torch.randint(4, 60, (2, 7), generator=torch.Generator().manual_seed(0))
    for model in (shared, copies):
        model(ids, torch.ones_like(ids), torch.zeros_like(ids)).square().sum().backward()
    together = sum(layer.ffn.input.weight.grad for layer in copies.layers)
    assert torch.allclose(shared.layers[0].ffn.input.weight.grad, together, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("start", "expected"), [("mean", 1.5), ("first", 1.0), ("last", 2.0)])
def test_a_group_begins_as_asked(make_context: ContextMaker, start: str, expected: float) -> None:
    candidate = tiny_candidate()
    for number, value in enumerate((1.0, 2.0, 5.0)):
        candidate.model.layer(number).ffn.input.weight.data.fill_(value)
    shared = LayerSharing(groups=2, start=start).apply(candidate, make_context()).model
    assert [each.ffn.input.weight[0, 0].item() for each in shared.layers] == [expected, expected, 5.0]


@pytest.mark.parametrize(
    ("shared", "same"),
    [("all", "attention ffn norms"), ("matrices", "attention ffn"), ("attention", "attention"), ("ffn", "ffn")],
)
def test_a_group_shares_what_was_asked_and_no_more(make_context: ContextMaker, shared: str, same: str) -> None:
    config = LayerSharing(shared=shared).apply(tiny_candidate(), make_context()).model.config
    for number, shape in enumerate(config.layers):
        ties = {"attention": shape.attention_of, "ffn": shape.ffn_of, "norms": shape.norms_of}
        assert {name for name, of in ties.items() if of == 0} == (set(same.split()) if number else set())


def test_repetitions_have_norms_of_their_own_unless_all_is_shared(make_context: ContextMaker) -> None:
    context = make_context()
    model = LayerSharing(groups=3, repeats=2, shared="matrices").apply(tiny_candidate(), context).model
    assert weights(model) == weights(tiny_encoder()) + 3 * 4 * 24


@pytest.mark.parametrize("shared", ["all", "matrices", "attention", "ffn"])
def test_sharing_survives_training_and_the_disk(make_context: ContextMaker, tmp_path: Path, shared: str) -> None:
    context = make_context()
    steps = (LayerSharing(groups=2, repeats=2, shared=shared), Quantization(), Distillation(epochs=0.2, distortions=0))
    candidate = tiny_candidate()
    for step in steps:
        candidate = step.apply(candidate, context)
    save(candidate, tmp_path)
    again = load(tmp_path)
    assert again.model.config == candidate.model.config
    assert weights(again.model) == weights(candidate.model)
    again.model.round_floats()
    candidate.model.round_floats()
    assert file_bytes(again.model) == file_bytes(candidate.model)
    ours, theirs = (answers_of(each, context.train.texts, "cpu")[0] for each in (candidate, again))
    assert (ours == theirs).all()


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("shared", ["all", "matrices", "attention", "ffn"])
@pytest.mark.parametrize("quantized", [False, True])
def test_the_file_says_what_the_model_says(
    make_context: ContextMaker, shared: str, repeats: int, quantized: bool
) -> None:
    context = make_context()
    candidate = LayerSharing(groups=2, repeats=repeats, shared=shared).apply(tiny_candidate(), context)
    if quantized:
        candidate = Quantization().apply(candidate, context)
        candidate.model.round_floats()
    ids = torch.randint(4, 60, (1, 9), generator=torch.Generator().manual_seed(0))
    feeds = {"input_ids": ids.numpy(), "attention_mask": torch.ones_like(ids).numpy()}
    got = session(emit(candidate.model, pairs=False).SerializeToString()).run(["logits"], feeds)[0]
    with torch.no_grad():
        expected = candidate.model(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()
    assert abs(got - expected).max() < (0.1 if quantized else 1e-5)  # an activation may round to its grid's next step


def test_what_is_cut_from_a_shared_layer_is_cut_everywhere(make_context: ContextMaker) -> None:
    model = LayerSharing(shared="matrices").apply(tiny_candidate(), make_context()).model
    model.keep_heads(1, torch.tensor([0, 2]))
    model.keep_neurons(2, torch.arange(8))
    model.keep_hidden(torch.arange(16))
    assert {(each.heads, each.ffn) for each in model.config.layers} == {(2, 8)}
    assert EncoderConfig.from_json(model.config.to_json()) == model.config
    model.keep_layers([1, 2])
    assert [each.attention_of for each in model.config.layers] == [None, 0]
    fresh = Encoder(model.config)
    assert {name: each.shape for name, each in fresh.named_parameters()} == {
        name: each.shape for name, each in model.named_parameters()
    }


def test_scales_are_chosen_anew_for_the_mean_of_quantized_layers(make_context: ContextMaker) -> None:
    context = make_context()
    late = LayerSharing().apply(Quantization().apply(tiny_candidate(), context), context).model
    early = Quantization().apply(LayerSharing().apply(tiny_candidate(), context), context).model
    for ours, theirs in zip(late.parameters(), early.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_with_as_many_groups_as_layers_or_without_layers_nothing_is_shared(make_context: ContextMaker) -> None:
    context = make_context()
    for layers in ((), SIX[:2]):
        made = LayerSharing(groups=2).apply(tiny_candidate(layers=layers, pooling="mean"), context)
        facts = made.facts["layer_sharing"]
        assert facts["weights"] == facts["weights_before"] == weights(made.model)


def test_layers_of_different_shapes_have_no_mean(make_context: ContextMaker) -> None:
    candidate = tiny_candidate()
    candidate.model.keep_neurons(1, torch.arange(8))
    with pytest.raises(Inapplicable, match="layers of one shape, but a group has 2"):
        LayerSharing().apply(candidate, make_context())
    LayerSharing(start="first").apply(candidate, make_context())


def test_a_student_is_cut_before_its_layers_are_shared(make_context: ContextMaker) -> None:
    context = make_context()
    shared = LayerSharing().apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="put it before"):
        ThinStudent(layers=2).apply(shared, context)
