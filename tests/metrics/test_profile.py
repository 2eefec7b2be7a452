from pathlib import Path

import onnx

from eicompress.answers import Labels
from eicompress.export import folder as artifacts
from eicompress.metrics.profile import milliseconds_by_operator
from tests.conftest import tiny_candidate


def test_milliseconds_are_reported_by_the_operators_of_the_graph(tmp_path: Path) -> None:
    artifact = artifacts.write(
        tiny_candidate(), Labels(("music", "weather")), tmp_path / "mine", pairs=False, manifest={}
    )
    found = milliseconds_by_operator(artifact, 8, runs=3)
    assert {"Gather", "MultiHeadAttention"} <= {*found} & {each.op_type for each in onnx.load(artifact.onnx).graph.node}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) > 0
    assert not list(Path.cwd().glob("profile*"))
