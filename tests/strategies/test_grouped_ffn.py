import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate
from eicompress.encoder.config import LayerConfig
from eicompress.encoder.linear import Grouped, Linear
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import tokenize
from eicompress.errors import Inapplicable
from eicompress.strategies.grouped_ffn import GroupedFfn, assigned, correct
from eicompress.strategies.kronecker import KroneckerFactorization
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.pruning import NeuronPruning
from eicompress.strategies.sparse_training import SparseTraining
from eicompress.strategies.svd import Svd
from eicompress.training.importance import Moments
from tests.conftest import ContextMaker, tiny_candidate, tiny_examples


def logits(candidate: Candidate) -> torch.Tensor:
    """Of some texts of the tiny tokenizer's words."""
    texts = tiny_examples(4).texts
    batch = tokenize(candidate.tokenizer, texts).batch(np.arange(len(texts)), 0, "cpu")
    with torch.no_grad():
        found: torch.Tensor = candidate.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return found


def test_neurons_go_where_the_sum_of_their_worth_is_highest() -> None:
    worth = np.random.default_rng(0).random((6, 3))
    members = np.repeat(np.arange(3), 2)
    order = assigned(worth, 3).numpy()
    best = max(worth[list(each), members].sum() for each in itertools.permutations(range(6)))
    assert worth[order, members].sum() == pytest.approx(best)


def test_what_stays_is_the_best_for_the_states_seen() -> None:
    chance = torch.Generator().manual_seed(0)
    states = torch.randn(1, 500, 8, generator=chance) @ torch.randn(8, 8, generator=chance) + 1.0
    seen = Moments(8)
    seen.add(states, torch.ones(1, 500))
    linear = Linear(8, 6)
    whole = linear(states, torch.ones(1, 500))[0].detach()
    correct(linear, seen.mean, seen.covariance, 2)
    for at in range(2):
        out, own = slice(3 * at, 3 * at + 3), slice(4 * at, 4 * at + 4)
        read = torch.cat([states[0, :, own], torch.ones(500, 1)], dim=1)
        best = read @ torch.linalg.lstsq(read, whole[:, out]).solution
        got = states[0, :, own] @ linear.weight.detach()[out, own].T + linear.bias.detach()[out]
        wanted = (best - whole[:, out]).square().sum()
        assert (got - whole[:, out]).square().sum() == pytest.approx(float(wanted), rel=0.01)


def test_blocks_that_are_grouped_but_for_their_order_answer_as_before(make_context: ContextMaker) -> None:
    candidate = tiny_candidate()
    model = candidate.encoder
    shuffled = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    for number in range(3):
        ffn = model.layer(number).ffn
        with torch.no_grad():
            for linear in (ffn.input, ffn.output):
                linear.weight.mul_(torch.block_diag(*torch.ones(4, linear.outputs // 4, linear.inputs // 4)))
        ffn.keep_neurons(shuffled)
    before = logits(candidate)
    made = GroupedFfn(4).apply(candidate, make_context())
    assert (logits(made) - before).abs().max() < 1e-3
    assert made.facts["grouped_ffn"]["kept"] == pytest.approx([1.0] * 3, abs=1e-4)


def test_it_starts_nearer_than_diagonal_blocks_of_neurons_as_they_are(make_context: ContextMaker) -> None:
    whole = logits(tiny_candidate())
    far, near = (
        (logits(GroupedFfn(2).apply(tiny_candidate(), make_context(preview=blind))) - whole).abs().mean()
        for blind in (True, False)
    )
    assert near < 0.7 * far


def test_a_preview_has_the_shapes_of_the_candidate(make_context: ContextMaker) -> None:
    made, preview = (GroupedFfn(4).apply(tiny_candidate(), make_context(preview=each)) for each in (False, True))
    shapes = [{name: each.shape for name, each in one.model.state_dict().items()} for one in (made, preview)]
    assert shapes[0] == shapes[1]
    assert made.encoder.config == preview.encoder.config
    assert Encoder(made.encoder.config).config == made.encoder.config
    assert [each.ffn_groups for each in made.encoder.config.layers] == [4, 4, 4]


def test_shared_blocks_stay_shared_and_neurons_are_pruned_equally(make_context: ContextMaker) -> None:
    context = make_context()
    made = LayerSharing(groups=1).apply(tiny_candidate(), context)
    made = NeuronPruning(0.5).apply(GroupedFfn(2).apply(made, context), context)
    ffn = made.encoder.layer(0).ffn
    assert ffn is made.encoder.layer(2).ffn and isinstance(ffn.input, Grouped)
    assert [each.outputs for each in ffn.input.linears] == [8, 8]


def test_what_it_cannot_do_is_said(make_context: ContextMaker) -> None:
    context = make_context()
    for groups, said in ((5, "must divide the model's hidden width, 24, but is 5"), (12, "neurons, 32, but is 12")):
        with pytest.raises(Inapplicable, match=said):
            GroupedFfn(groups).apply(tiny_candidate(), context)
    with pytest.raises(Inapplicable, match="acts on layers, but the model has none"):
        GroupedFfn().apply(tiny_candidate(layers=()), context)
    with pytest.raises(Inapplicable, match="without gates"):
        GroupedFfn().apply(tiny_candidate(gated=True), context)
    blocks = (replace(LayerConfig(4, 6, 32), ffn_blocks=2),)
    with pytest.raises(Inapplicable, match="one feed-forward block"):
        GroupedFfn().apply(tiny_candidate(layers=blocks), context)
    pruned = SparseTraining(rounds=1, epochs=0.1)
    for step in (GroupedFfn(), Svd(share=0.5), KroneckerFactorization(), pruned):
        made = step.apply(copy.deepcopy(tiny_candidate()), context)
        with pytest.raises(Inapplicable, match="before what factorizes, groups or prunes"):
            GroupedFfn().apply(made, context)
