import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from eicompress_macs import MacsMetric, counted
from onnx import TensorProto, helper

import eicompress
from eicompress import cli
from eicompress.errors import MeasureError
from eicompress.export.folder import write_files
from eicompress.measures import Conditions, Subject
from eicompress.plugins import discover
from eicompress.strategies.quantization import Quantization
from eicompress.testing import (
    Claim,
    metric_checks,
    tiny_artifact,
    tiny_candidate,
    tiny_context,
    tiny_examples,
    tiny_task,
    write_tiny_data,
    write_tiny_model,
)
from eicompress.trials.tfidf import fit_tfidf
from eicompress.values import Artifact

INTS = TensorProto.INT8


@pytest.mark.parametrize("claim", metric_checks(MacsMetric), ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def graph_of(nodes: Sequence[onnx.NodeProto], inputs: dict[str, Any], stored: dict[str, Any]) -> bytes:
    """A graph that answers `y`."""
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape)
        for name, each in inputs.items()
    ]
    kept = [onnx.numpy_helper.from_array(each, name) for name, each in stored.items()]
    graph = helper.make_graph(nodes, "g", given, [onnx.ValueInfoProto(name="y")], kept)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def floats(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def microsoft(operator: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, ["y"], domain="com.microsoft", **attributes)


SCALE, ZERO = np.float32(1), np.int8(0)
BY_HAND = {
    "MatMul": (helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": floats(1, 5, 3)}, {"w": floats(3, 7)}, 5 * 3 * 7),
    "MatMul of two inputs": (
        helper.make_node("MatMul", ["x", "z"], ["y"]), {"x": floats(2, 4, 5, 3), "z": floats(2, 4, 3, 6)}, {},
        2 * 4 * 5 * 3 * 6,
    ),
    "Gemm": (helper.make_node("Gemm", ["x", "w"], ["y"]), {"x": floats(5, 3)}, {"w": floats(3, 7)}, 5 * 3 * 7),
    "Gemm, both transposed": (
        helper.make_node("Gemm", ["x", "w"], ["y"], transA=1, transB=1), {"x": floats(3, 5)}, {"w": floats(7, 3)},
        5 * 3 * 7,
    ),
    "MatMulInteger": (
        helper.make_node("MatMulInteger", ["x", "w"], ["y"]), {"x": np.ones((1, 5, 3), np.uint8)},
        {"w": np.ones((3, 7), np.int8)}, 5 * 3 * 7,
    ),
    "DynamicQuantizeMatMul": (
        microsoft("DynamicQuantizeMatMul", ["x", "w", "s", "n"]), {"x": floats(1, 5, 3)},
        {"w": np.ones((3, 7), np.int8), "s": SCALE, "n": ZERO}, 5 * 3 * 7,
    ),
    "MatMulNBits": (
        microsoft("MatMulNBits", ["x", "w", "s"], K=32, N=7, bits=4, block_size=32), {"x": floats(1, 5, 32)},
        {"w": np.ones((7, 1, 16), np.uint8), "s": floats(7)}, 5 * 32 * 7,
    ),
    "Conv": (
        helper.make_node("Conv", ["x", "w"], ["y"], group=2), {"x": floats(1, 4, 9)}, {"w": floats(6, 2, 3)},
        6 * 7 * 2 * 3,
    ),
    "MultiHeadAttention": (
        microsoft("MultiHeadAttention", ["x", "z", "z"], num_heads=2), {"x": floats(1, 1, 8), "z": floats(1, 5, 8)}, {},
        1 * 5 * 8 + 1 * 5 * 8,
    ),
    "Attention": (
        microsoft("Attention", ["x", "w", "b"], num_heads=2), {"x": floats(1, 5, 6)},
        {"w": floats(6, 24), "b": floats(24)}, 5 * 6 * 24 + 2 * 5 * 5 * 8,
    ),
    "no product": (helper.make_node("Mul", ["x", "x"], ["y"]), {"x": floats(5, 3)}, {}, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_each_operator_is_counted_as_by_hand(name: str) -> None:
    node, inputs, stored, expected = BY_HAND[name]
    assert counted(graph_of([node], inputs, stored), inputs) == expected


@pytest.mark.parametrize(("taken", "expected"), [(True, 5 * 3 * 7), (False, 5 * 3 * 7 + 5 * 7 * 2)])
def test_of_a_subgraph_what_runs_is_counted(taken: bool, expected: int) -> None:
    once = helper.make_node("MatMul", ["x", "w"], ["m"])
    branches = {}
    for name, nodes in {
        "then_branch": [helper.make_node("Identity", ["m"], ["t"])],
        "else_branch": [helper.make_node("MatMul", ["m", "v"], ["t"])],
    }.items():
        branches[name] = helper.make_graph(nodes, name, [], [onnx.ValueInfoProto(name="t")])
    inputs = {"x": floats(5, 3), "c": np.array(taken)}
    stored = {"w": floats(3, 7), "v": floats(7, 2)}
    graph = graph_of([once, helper.make_node("If", ["c"], ["y"], **branches)], inputs, stored)
    assert counted(graph, inputs) == expected


def test_a_product_that_is_not_counted_is_refused_by_name() -> None:
    inputs = {"x": floats(5, 3), "z": floats(3, 7)}
    node = helper.make_node("Einsum", ["x", "z"], ["y"], equation="ij,jk->ik")
    with pytest.raises(MeasureError, match="but it has `Einsum`"):
        counted(graph_of([node], inputs, {}), inputs)


def macs(artifact: Artifact, **conditions: Any) -> float:
    subject = Subject(artifact, tiny_task(), tiny_examples(1), conditions=Conditions(**conditions))
    (found,) = MacsMetric().measure(subject)
    assert found.conditions == {"batch": 1, "sequence_length": subject.length}
    return found.value * 1e6


def test_an_encoder_is_counted_as_by_hand(tmp_path: Path) -> None:
    # Three layers of width 24 with 32 neurons; the last one answers for the first token alone.
    whole, tokens = macs(tiny_artifact(tmp_path / "a")), 16
    layer = tokens * (4 * 24 * 24 + 2 * 24 * 32) + 2 * tokens * tokens * 24
    last = (2 * tokens + 2) * 24 * 24 + 2 * 24 * 32 + 2 * tokens * 24
    assert whole == 2 * layer + last + 24 * 24 + 24 * 2


def test_of_a_graph_that_looks_words_up_those_of_real_texts_are_counted(tmp_path: Path) -> None:
    found = fit_tfidf(tiny_task(), tiny_examples(), 0, None)
    assert found is not None
    assert macs(write_files(found.files, tmp_path / "words", {})) > 0


def test_fewer_bits_take_as_many_and_more_tokens_take_more(tmp_path: Path) -> None:
    context = tiny_context(tmp_path / "context")
    rounded = Quantization(layer_bits=4, embedding_bits=4).apply(tiny_candidate(), context)
    floats, bits = (tiny_artifact(tmp_path / name, each) for name, each in (("a", tiny_candidate()), ("b", rounded)))
    assert macs(floats) == macs(bits) < macs(floats, seq_len=20)


SPACE = """
fidelity = 0.5
[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 3 }
[[slot]]
strategy = "distillation"
epochs = 2
distortions = 0
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A search in this process, with latencies that are taken in a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("eicompress.trials.measuring.CAREFUL_SECONDS", 0.01)
    monkeypatch.setattr("eicompress.trials.measuring.QUICK_SECONDS", 0.01)
    Path("space.toml").write_text(SPACE)
    model, data = write_tiny_model(Path("model")), write_tiny_data(Path("data"))
    given = {"model": str(model), "data": str(data), "space": "space.toml", "study": "mine", "workers": 0}
    return {**given, "only_plugins": "eicompress-macs", "teacher_training": "finetune"}


def test_a_limit_keeps_what_is_over_it_from_being_trained(asked: dict[str, Any], capsys: pytest.CaptureFixture) -> None:
    result = eicompress.search(**asked, limit=["macs_m=0.04"], trials=2)
    for record in result.records.values():
        value = record.value("macs_m")
        assert value is not None and record.trained == (value <= 0.04)
    assert any("macs_m" in each.reason for each in result.records.values() if each.outcome == "over budget")
    assert cli.run(["show", "mine"]) == 0
    assert "MACs M" in capsys.readouterr().out
    report = Path("studies/mine/report.html").read_text()
    assert "Quality against bytes, milliseconds and MACs" in report
    assert "macs_m=0.04" in report and "MACs, M" in report
    _, best = result.best or pytest.fail("nothing was found")
    assert "| MACs |" in Artifact(Path(best.files["artifact"])).card.read_text()


def test_it_is_an_objective_and_half_of_one(asked: dict[str, Any]) -> None:
    least = eicompress.search(**{**asked, "study": "least"}, objective="macs_m", budget="1MB", trials=3)
    found = [each.value("macs_m") for each in least.records.values() if each.outcome == "complete"]
    assert least.best_candidate is not None and least.best_candidate[1].value("macs_m") == min(found)
    front = eicompress.search(**{**asked, "study": "front"}, objective="pareto:quality,macs_m", trials=3).front
    values = [(each.value("quality"), each.value("macs_m")) for _, each in front]
    assert values == sorted(values, reverse=True)


def test_a_study_is_shown_without_the_plug_in_that_measured_it(asked: dict[str, Any]) -> None:
    eicompress.search(**asked, limit=["macs_m=1"], trials=1)
    assert "macs_m" not in discover(only="").metrics
    assert json.loads(json.dumps(eicompress.show("mine").to_json()))["budgets"] == {"macs_m": 1.0}
