"""The graph of an encoder with off-ramps exits where the torch model does, and skips what comes after."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from eicompress.answers import Labels
from eicompress.encoder.config import BigramConfig, LayerConfig
from eicompress.encoder.exits import EarlyExitEncoder, confidences, first_exits
from eicompress.encoder.linear import Linear
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.exits import emit_exits
from eicompress.export.folder import bytes_by_group, bytes_by_tensor, write
from eicompress.export.graph import constants_of
from eicompress.runtime import session
from eicompress.values import ExitRule
from tests.conftest import sampled, tiny_candidate, tiny_encoder

DEPTH = 4
TEXTS = 24
LARGE = 100
"""Bytes that only matrices have."""


def with_exits(criterion: str, threshold: float, spec: QuantSpec | None = None, **changes: object) -> EarlyExitEncoder:
    encoder = tiny_encoder(layers=(LayerConfig(2, 8, 20),) * DEPTH, outputs=5, **changes).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ramps = [Linear(encoder.config.hidden, 5) for _ in range(DEPTH - 1)]
    for each in ramps:
        each.weight.data *= 40
        each.set_quantization(spec)
    encoder.set_quantization(spec, spec)
    if spec:
        encoder.round_floats()
    rule = ExitRule((1, 2, 3), DEPTH, criterion, threshold)  # type: ignore[arg-type]
    return EarlyExitEncoder(encoder, ramps, rule).eval()


def texts(model: EarlyExitEncoder) -> list[torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    size = model.encoder.config.vocabulary
    return [torch.randint(0, size, (1, 3 + number % 9), generator=chance) for number in range(TEXTS)]


def run(opened: InferenceSession, ids: torch.Tensor, **more: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    feeds = {"input_ids": ids.numpy(), "attention_mask": np.ones_like(ids.numpy()), **more}
    logits, layers = opened.run(["logits", "layers"], feeds)
    return logits, int(layers)


def opened(model: EarlyExitEncoder) -> InferenceSession:
    made = emit_exits(model, pairs=False)
    onnx.checker.check_model(made)
    return session(made.SerializeToString())


@pytest.mark.parametrize(
    ("spec", "rule"),
    sampled(
        5,
        (None, QuantSpec(8), QuantSpec(4), QuantSpec(4, block=16)),
        (("entropy", 0.35), ("margin", 0.5), ("patience", 0.4)),
    ),
    ids=str,
)
def test_a_text_exits_where_the_torch_model_says(spec: QuantSpec | None, rule: tuple[str, float]) -> None:
    criterion, threshold = rule
    model = with_exits(criterion, threshold, spec)
    made, depths, worst = opened(model), [], []
    for ids in texts(model):
        with torch.no_grad():
            mask = torch.ones_like(ids)
            answers = model.answers(ids, mask, torch.zeros_like(ids))
            expected = model(ids, mask, torch.zeros_like(ids)).numpy()
        layers = 1 + int(first_exits(confidences(answers, criterion), threshold))
        logits, ran = run(made, ids)
        depths.append((layers, ran))
        worst.append(float(np.abs(logits - expected).max()))
    assert len({layers for layers, _ in depths}) > 1
    assert all(layers == ran for layers, ran in depths)
    assert np.median(worst) < 1e-4
    if spec is None:
        assert max(worst) < 1e-4


@pytest.mark.parametrize(
    "changes", [{"pooling": "mean"}, {"norm_first": True}, {"bigrams": BigramConfig(30, 8)}], ids=str
)
def test_shapes_of_the_encoder_are_kept(changes: dict[str, object]) -> None:
    model = with_exits("margin", 0.5, None, **changes)
    made = opened(model)
    for ids in texts(model)[:8]:
        with torch.no_grad():
            expected = model(ids, torch.ones_like(ids), torch.zeros_like(ids)).numpy()
        np.testing.assert_allclose(run(made, ids)[0], expected, atol=1e-4)


def test_the_threshold_may_be_given_at_a_run() -> None:
    model = with_exits("margin", 0.5)
    made, ids = opened(model), texts(model)[0]
    for threshold, layers in ((1.0, DEPTH), (0.0, 1)):
        assert run(made, ids, exit_threshold=np.array(threshold, np.float32))[1] == layers
    assert [each.name for each in made.get_inputs()] == ["input_ids", "attention_mask"]


def test_a_batch_goes_on_until_all_of_its_texts_exit() -> None:
    model = with_exits("margin", 0.5)
    made = opened(model)
    alike = [ids for ids in texts(model) if ids.shape[1] == 3]
    alone = [run(made, ids)[1] for ids in alike]
    together = run(made, torch.cat(alike))[1]
    assert min(alone) < max(alone) <= together


@pytest.mark.parametrize("spec", [None, QuantSpec(8), QuantSpec(4)], ids=str)
def test_each_matrix_stands_once_and_where_it_is_read(spec: QuantSpec | None) -> None:
    """onnxruntime packs it for its kernels only there: floats took half as long again otherwise."""
    made = emit_exits(with_exits("entropy", 0.5, spec), pairs=False).graph
    names = [each.name for each in constants_of(made)]
    assert len(names) == len(set(names))
    graphs = [made]
    for graph in graphs:
        graphs += [each.g for node in graph.node for each in node.attribute if each.HasField("g")]
    for graph in graphs:
        read = {name for node in graph.node for name in node.input}
        assert all(each.name in read for each in graph.initializer if len(each.raw_data) > LARGE)
    assert sum(any(len(each.raw_data) > LARGE for each in graph.initializer) for graph in graphs) == DEPTH


def test_bytes_in_branches_are_counted(tmp_path: Path) -> None:
    model = with_exits("margin", 0.5)
    candidate = replace(tiny_candidate(), model=model)
    artifact = write(candidate, Labels(tuple("abcde")), tmp_path / "a", pairs=False, manifest={})
    groups = bytes_by_group(artifact)
    assert sum(groups.values()) == artifact.size_bytes
    assert groups["layers"] > 4 * sum(each.numel() for each in model.encoder.layers.parameters() if each.ndim == 2) - 1
    assert sum(size for _, _, size in bytes_by_tensor(artifact)) == sum(
        groups[each] for each in ("embedding", "layers", "head")
    )
