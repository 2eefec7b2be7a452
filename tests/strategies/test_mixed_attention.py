import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate
from eicompress.encoder.config import ConvolutionConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import tokenize
from eicompress.errors import Inapplicable
from eicompress.strategies.kronecker import KroneckerFactorization
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.mixed_attention import MixedAttention
from eicompress.strategies.pruning import HeadPruning
from eicompress.training.attention_fit import Locality, others
from tests.conftest import ContextMaker, tiny_candidate, tiny_examples


def logits(candidate: Candidate) -> torch.Tensor:
    """Of some texts of the tiny tokenizer's words."""
    texts = tiny_examples(4).texts
    batch = tokenize(candidate.tokenizer, texts).batch(np.arange(len(texts)), 0, "cpu")
    with torch.no_grad():
        found: torch.Tensor = candidate.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return found


def by_position() -> Candidate:
    """Heads that read by distance alone: the first two the token before and after, the others all tokens alike."""
    layers = tuple(LayerConfig(4, 6, 32, position_bias_of=0 if number else None) for number in range(2))
    candidate = tiny_candidate(layers=layers, position_bias=True, pooling="mean")
    model = candidate.encoder
    with torch.no_grad():
        for number in range(2):
            qkv = model.layer(number).attention.qkv
            qkv.weight[:48], qkv.bias[:48] = 0, 1
        bias = model.layer(0).attention.position_bias
        assert bias is not None
        bias.weight.zero_()
        bias.weight[0, 0, 1] = bias.weight[0, 1, 17] = 12.0
    return candidate


def test_heads_that_read_a_window_are_copied(make_context: ContextMaker) -> None:
    candidate = by_position()
    made = MixedAttention(0.5, kernel=3).apply(copy.deepcopy(candidate), make_context(candidate))
    facts = made.facts["mixed_attention"]
    assert facts["near"] == pytest.approx([0.88, 0.88], abs=0.02)  # a first or last token has none to read
    assert min(facts["explained"]) > 0.85 and facts["heads"] == [2, 2]
    far = HeadPruning(0.5, importance="magnitude", budget="uniform").apply(
        copy.deepcopy(candidate), make_context(candidate)
    )
    whole = logits(candidate)
    assert (logits(made) - whole).abs().mean() < 0.4 * (logits(far) - whole).abs().mean()


def test_it_starts_nearer_than_heads_that_are_dropped(make_context: ContextMaker) -> None:
    context, whole = make_context(), logits(tiny_candidate())
    made = MixedAttention(0.5).apply(tiny_candidate(), context)
    dropped = copy.deepcopy(made)
    for number in range(3):
        convolution = dropped.encoder.layer(number).attention.convolution
        assert convolution is not None
        torch.nn.init.zeros_(convolution.values.weight)
        torch.nn.init.zeros_(convolution.values.bias)
    assert (logits(made) - whole).abs().mean() < 0.5 * (logits(dropped) - whole).abs().mean()
    assert all(0.5 < each <= 1 for each in made.facts["mixed_attention"]["explained"])


def test_locality_is_the_share_of_attention_within_reach() -> None:
    torch.manual_seed(0)
    attention = tiny_candidate().encoder.layer(0).attention
    states, mask = torch.randn(2, 7, 24), torch.ones(2, 7)
    mask[1, 4:] = 0
    seen = Locality(attention, 1)
    seen.add(states, mask, 7)
    shares = attention.attention_map(states, mask)
    rows = [
        shares[text, :, place, max(0, place - 1) : place + 2].sum(dim=-1)
        for text, length in ((0, 7), (1, 4))
        for place in range(length)
    ]
    assert torch.allclose(seen.shares.float(), torch.stack(rows).mean(dim=0), atol=1e-5)
    assert others(attention, torch.tensor([0, 3])).tolist() == [1, 2]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_preview_has_the_shapes_of_the_candidate(make_context: ContextMaker, share: float) -> None:
    made, preview = (
        MixedAttention(share, 5).apply(tiny_candidate(), make_context(preview=each)) for each in (False, True)
    )
    shapes = [{name: each.shape for name, each in one.model.state_dict().items()} for one in (made, preview)]
    assert shapes[0] == shapes[1] and made.encoder.config == preview.encoder.config
    assert Encoder(made.encoder.config).config == made.encoder.config
    gone = {0.05: 1, 0.5: 2, 0.95: 3}[share]
    assert made.encoder.config.layers[0].convolution == ConvolutionConfig(gone, 5)
    assert made.encoder.config.layers[0].heads == 4 - gone


def test_a_shared_attention_stays_shared_and_its_heads_can_be_pruned(make_context: ContextMaker) -> None:
    context = make_context()
    made = MixedAttention(0.5).apply(LayerSharing(groups=1).apply(tiny_candidate(), context), context)
    assert made.encoder.layer(0).attention is made.encoder.layer(2).attention
    before = sum(each.numel() for each in made.model.parameters())
    made = HeadPruning(0.5, rounds=1).apply(made, context)
    assert made.encoder.config.layers[2].heads == 1
    assert sum(each.numel() for each in made.model.parameters()) < before


def test_a_layer_with_one_head_keeps_it(make_context: ContextMaker) -> None:
    layers = (LayerConfig(1, 6, 32), LayerConfig(4, 6, 32))
    candidate = tiny_candidate(layers=layers)
    made = MixedAttention().apply(candidate, make_context(candidate))
    assert [each.heads for each in made.encoder.config.layers] == [1, 2]
    assert made.encoder.config.layers[0].convolution is None


def test_what_it_cannot_do_is_said(make_context: ContextMaker) -> None:
    context = make_context()
    with pytest.raises(Inapplicable, match="acts on layers, but the model has none"):
        MixedAttention().apply(tiny_candidate(layers=()), context)
    with pytest.raises(Inapplicable, match="but no layer has several"):
        MixedAttention().apply(tiny_candidate(layers=(replace(LayerConfig(1, 6, 32)),)), context)
    made = MixedAttention().apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="layers without convolutions, but there are some already"):
        MixedAttention().apply(made, context)
    products = KroneckerFactorization().apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="put it before `kronecker`"):
        MixedAttention().apply(products, context)
