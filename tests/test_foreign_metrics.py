"""Metrics of a plug-in, measured in a real search as the built-in ones are."""

from pathlib import Path
from typing import Any

import pytest

import eicompress
from eicompress import cli
from eicompress.errors import BudgetError, PluginError, SpecError
from eicompress.plugins import discover
from eicompress.values import Artifact

METRICS = '''
import numpy as np

from eicompress.measures import Metric
from eicompress.errors import MeasureError
from eicompress.hookspecs import hookimpl


class Layers(Metric):
    """Nodes that multiply, counted in previews."""

    name, unit, direction, label, preview = "nodes", "", "minimize", "nodes", True

    def measure(self, subject):
        import onnx

        graph = onnx.load(subject.artifact.onnx).graph
        yield self.measurement(float(sum(node.op_type == "MatMul" for node in graph.node)))


class Margin(Metric):
    """How far the best answer is ahead, after training."""

    name, unit, direction, label = "margin", "", "maximize", "margin"

    def measure(self, subject):
        ordered = np.sort(subject.logits, axis=1)
        yield self.measurement(float((ordered[:, -1] - ordered[:, -2]).mean()), split=subject.split)


class Energy(Metric):
    """Cannot be taken."""

    name, unit, direction, preview, alone = "energy_mj", "mJ", "minimize", True, True

    def measure(self, subject):
        raise MeasureError("there is no meter on this machine")


class Crash(Metric):
    """Has a bug, and is measured of what is handed out alone."""

    name, unit, direction, promoted = "crash", "", "minimize", True

    def measure(self, subject):
        return [1 / 0]


@hookimpl
def register_metrics():
    return [Layers, Margin, Energy, Crash]
'''
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
def asked(tmp_path: Path, model_folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)
    Path("metrics.py").write_text(METRICS)
    asked = {"model": str(model_folder), "data": str(data_folder), "space": "space.toml", "plugin": "metrics.py"}
    return {**asked, "only_plugins": "", "workers": 0, "study": "mine"}


def test_foreign_metrics_are_limits_and_stand_in_every_table(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = eicompress.search(**asked, limit=["nodes=15", "margin=-1"], trials=2)
    records = list(result.records.values())
    assert {each.trained for each in records} == {True, False}
    for record in records:
        nodes = record.value("nodes")
        assert nodes is not None and record.trained == (nodes <= 15)
        assert (record.value("margin") is not None) == record.trained
        assert record.unmeasured["energy_mj"] == "there is no meter on this machine"
        assert record.value("crash") is None and "crash" not in record.unmeasured
    assert result.best is not None
    best = result.best[1]
    assert best.unmeasured["crash"] == "ZeroDivisionError: division by zero"
    assert best.value("latency_ms") is not None and best.value("quality_test") is not None
    card = Artifact(Path(best.files["artifact"])).card.read_text()
    assert "| nodes |" in card and "| margin |" in card
    report = Path("studies/mine/report.html").read_text()
    assert "Quality against bytes, milliseconds, nodes and margin" in report
    assert ", nodes at most 15, margin at least -1" in report
    # The plug-in is not needed to look at what it measured.
    Path("metrics.py").unlink()
    assert cli.run(["show", "mine"]) == 0
    table = capsys.readouterr().out
    assert "nodes" in table and "margin" in table
    assert [each.name for each in eicompress.show("mine").objective.extra] == ["nodes", "margin"]


@pytest.mark.slow
def test_a_limit_of_what_cannot_be_measured_is_met_by_nothing_and_says_why(asked: dict[str, Any]) -> None:
    with pytest.raises(BudgetError, match="energy_mj could not be measured"):
        eicompress.search(**asked, limit=["energy_mj=3"], trials=2)
    result = eicompress.show("mine")
    assert result.records and result.ended.startswith("the search space is exhausted")
    for record in result.records.values():
        assert (record.outcome, record.trained) == ("inapplicable", False)
        assert record.reason == "`energy_mj` could not be measured: there is no meter on this machine"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"limit": ["node=3"]}, "`--limit` must name a metric, but there is no metric `node`: did you mean `nodes`"),
        ({"objective": "margins"}, "`--objective` must be a metric, or `reward`, but .*: did you mean `margin`"),
        ({"objective": "pareto:quality,xyz"}, "there is no metric `xyz`: known: `crash`, `download_mb`"),
    ],
)
def test_an_unknown_metric_gets_one_message_with_the_nearest(asked: dict[str, Any], more: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        eicompress.search(**asked, **{"budget": "1MB", **more})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"minimize", "nodes", True', '"less", "nodes", True', "must have a `direction`: one of minimize, maximize"),
        ("preview, alone = ", "promoted, alone = ", "must be measured in previews if nothing else may run"),
        ('"margin", "", "maximize"', '"a,b", "", "maximize"', "must have none of `=`, `:` and `,`"),
    ],
)
def test_a_metric_that_does_not_say_what_it_is_is_broken(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert METRICS.count(old) == 1
    (tmp_path / "metrics.py").write_text(METRICS.replace(old, new))
    with pytest.raises(PluginError, match=said):
        discover(tmp_path / "metrics.py", "")
