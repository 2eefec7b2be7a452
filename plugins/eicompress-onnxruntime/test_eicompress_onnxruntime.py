from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from eicompress_onnxruntime import OnnxruntimeDynamic, OnnxruntimeStatic
from torch import nn

from eicompress import runtime
from eicompress.contracts import GraphStrategy
from eicompress.errors import Inapplicable
from eicompress.export import folder as artifacts
from eicompress.strategies.quantization import Quantization
from eicompress.testing import Claim, strategy_checks, tiny_artifact, tiny_candidate, tiny_context, tiny_examples

BOTH = (OnnxruntimeDynamic(), OnnxruntimeStatic(), OnnxruntimeStatic("percentile"))
CLAIMS = [
    claim
    for each in (OnnxruntimeDynamic, OnnxruntimeStatic)
    for claim in strategy_checks(each)
    if "composes" not in claim.text or "quantization" in claim.text or "vocabulary" in claim.text
]


class Foreign(nn.Module):
    """No encoder: the mean of word vectors, through two matrices."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.words, self.inner, self.outer = nn.Embedding(vocabulary, 64), nn.Linear(64, 256), nn.Linear(256, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        said = self.outer(torch.relu(self.inner(self.words(ids)))) * mask.unsqueeze(-1)
        return said.sum(dim=1) / mask.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_claim(claim: Claim) -> None:
    claim()


@pytest.mark.parametrize("step", BOTH, ids=repr)
def test_a_foreign_module_gets_a_smaller_file_that_says_nearly_the_same(step: GraphStrategy, tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Foreign(context.baseline.tokenizer.get_vocab_size()).eval()
    foreign = replace(tiny_candidate(), model=module)
    whole = artifacts.graph_of(foreign, pairs=False)
    made = step.apply(whole, context)
    assert len(made.SerializeToString()) < 0.8 * len(whole.SerializeToString())
    texts = tiny_examples(1).texts
    before, after = (
        runtime.load(tiny_artifact(tmp_path / name, foreign, graph=graph).folder).logits(texts)
        for name, graph in (("before", whole), ("after", made))
    )
    assert 0 < np.abs(before - after).max() < 0.1 * np.ptp(before)


@pytest.mark.parametrize("step", BOTH, ids=repr)
def test_a_quantized_graph_is_left_alone(step: GraphStrategy, tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    graph = artifacts.graph_of(Quantization().apply(tiny_candidate(), context), pairs=False)
    with pytest.raises(Inapplicable, match="is quantized already"):
        step.apply(graph, context)
