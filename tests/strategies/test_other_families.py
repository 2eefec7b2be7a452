"""Every strategy works on the families whose attention is not BERT's, or says why not."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress import runtime
from eicompress.contracts import Candidate, Context, Examples, ModelStrategy
from eicompress.encoder.convert import load
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.export.folder import write
from eicompress.export.parity import check_parity
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.pruning import HeadPruning, LayerPruning, NeuronPruning
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.tasks.classification import Classification
from eicompress.testing import built_in_steps
from eicompress.trials import candidate as candidates
from eicompress.trials.inputs import whole_candidate
from tests.conftest import ContextMaker
from tests.encoder.test_families import ABC, CORPUS, save

FITTING: Mapping[str, ModelStrategy] = {
    "layer_pruning": LayerPruning(count=1, rounds=1),
    "layer_sharing": LayerSharing(shared="ffn"),
}
"""Knobs that fit models of this size, with layers that read differently."""
STEPS: Mapping[str, ModelStrategy] = {
    each.name: FITTING.get(each.name, each) for each in built_in_steps() if isinstance(each, ModelStrategy)
}
CHOOSING = ("ffn_super_network", "ffn_choice")
REFUSED: Mapping[tuple[str, str], str] = {
    **{(name, family): "layers without gates" for name in CHOOSING for family in ("modernbert", "nomic_bert")},
    **{(name, "convbert"): "before what shares layers, factorizes, groups" for name in CHOOSING},
    **{("grouped_ffn", family): "blocks without gates" for family in ("modernbert", "nomic_bert")},
    ("grouped_ffn", "convbert"): "before what factorizes, groups or prunes",
    ("mixed_attention", "convbert"): "layers without convolutions",
    **{(name, "convbert"): "before what shares, factorizes, groups" for name in ("super_network", "subnetwork")},
    ("grouped_ffn", "mobilebert"): "layers with one feed-forward block, but one has 3",
    ("grouped_ffn", "mobilebert, one block"): "layers without bottlenecks",
    **{("mixed_attention", family): "layers without bottlenecks" for family in ("mobilebert", "mobilebert, one block")},
    **{
        ("bottleneck", family): "normalize after each sum"
        for family in ("modernbert", "convbert", "mobilebert, one block")
    },
    **{
        ("reference", family): "without rotations, windows, distances, convolutions or bottlenecks"
        for family in ("mpnet", "mobilebert", "mobilebert, one block", "modernbert", "nomic_bert", "convbert")
    },
    ("swap_norm", "modernbert"): "grow from layer to layer",
    **{
        (name, "mobilebert"): "layers with one feed-forward block, but one has 3"
        for name in ("svd", "kronecker", "neuron_pruning", "super_network", "bottleneck", "subnetwork")
    },
    ("embedding_factorization", "convbert"): "but this one is factorized",
    ("embedding_factorization", "mobilebert"): "but this one is factorized",
    ("embedding_factorization", "mobilebert, one block"): "but this one is factorized",
    **{(name, "mobilebert"): "after attention and after all blocks" for name in CHOOSING},
}
"""Which strategies do not work on which families, and what they say."""
each_family = pytest.mark.parametrize(
    "family", ["mpnet", "mobilebert, one block", "modernbert", "nomic_bert", "convbert"]
)


@pytest.fixture
def context(make_context: ContextMaker, tmp_path: Path, family: str) -> Context:
    source = load(save(tmp_path / "model", family))
    context = make_context(whole_candidate(source.encoder, source.tokenizer), fidelity=0.0)
    examples = Examples(CORPUS, np.arange(len(CORPUS)) % 3)
    return replace(context, task=Classification(ABC.labels), train=examples)


def checked(candidate: Candidate, folder: Path) -> None:
    """Raises `ParityError` where the file does not answer as the model does."""
    model = candidate.model.eval()
    if isinstance(model, Encoder) and model.quantized:  # off-ramps round what they read when they are made
        model.round_floats()
    artifact = write(candidate, ABC, folder, pairs=False, manifest={})
    check_parity(candidate, CORPUS, runtime.load(artifact.folder).logits(CORPUS), ABC)


def applied(steps: Sequence[ModelStrategy], context: Context) -> Candidate:
    made = copy.deepcopy(context.baseline)
    for step in steps:
        made = step.apply(made, context)
    return made


@each_family
def test_a_model_is_pruned_quantized_stored_and_exported(tmp_path: Path, context: Context, family: str) -> None:
    layers = len(context.baseline.encoder.layers)
    pruning = (VocabularyPruning(100), HeadPruning(0.4, budget="uniform"), NeuronPruning(0.7, budget="uniform"))
    made = applied([*pruning, FITTING["layer_pruning"], Quantization()], context)
    assert [(each.heads, each.ffn) for each in made.encoder.config.layers] == [(2, 8)] * (layers - 1)
    checked(made, tmp_path / "artifact")
    candidates.save(made, tmp_path)
    again = candidates.load(tmp_path).encoder
    assert again.config == made.encoder.config
    assert {each: True for each in made.encoder.state_dict()} == {
        name: torch.equal(each, made.encoder.state_dict()[name]) for name, each in again.state_dict().items()
    }


@pytest.mark.parametrize("family", ["modernbert"])
@pytest.mark.parametrize("shared", ["all", "matrices", "attention"])
def test_layers_that_read_differently_share_no_attention(context: Context, family: str, shared: str) -> None:
    with pytest.raises(Inapplicable, match=r'reads differently.* Set `shared = "ffn"`'):
        applied([LayerSharing(shared=shared)], context)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", ["mpnet", "mobilebert", "mobilebert, one block", "modernbert", "nomic_bert", "convbert"]
)
@pytest.mark.parametrize("name", STEPS)
def test_a_strategy_works_alone_and_before_quantization(
    tmp_path: Path, context: Context, family: str, name: str
) -> None:
    if (name, family) in REFUSED:
        with pytest.raises(Inapplicable, match=REFUSED[name, family]):
            applied([STEPS[name]], context)
        return
    made = applied([STEPS[name]], context)
    checked(replace(made, model=copy.deepcopy(made.model)), tmp_path / "artifact")
    quantized = (
        Quantization().apply(made, context)
        if isinstance(made.model, Encoder)
        else applied([Quantization(), STEPS[name]], context)
    )
    checked(quantized, tmp_path / "artifact")
