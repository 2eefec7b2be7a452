from pathlib import Path

import pytest
from mlflow import MlflowClient

from eicompress.plugins import discover
from eicompress.values import Measurement, Record

RECORD = Record(
    recipe=({"strategy": "thin_student", "layers": 2}, {"strategy": "quantization", "layer_bits": 4}),
    draw=7,
    outcome="complete",
    key="abc",
    fidelity=0.25,
    measurements=(Measurement("size_mb", 1.5, "MB"), Measurement("quality", 0.9, "")),
    files={"artifact": "studies/mine/artifacts/abc"},
)


@pytest.fixture(params=["sqlite:///{}/mlflow.db", "file://{}/mlruns"], ids=["sqlite", "files"])
def client(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    where = request.param.format(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return MlflowClient(where)


def runs(client: MlflowClient) -> list:
    return client.search_runs([client.get_experiment_by_name("mine").experiment_id])


def test_a_recorded_trial_is_a_run_with_its_recipe_and_measurements(client: MlflowClient) -> None:
    assert discover(only="eicompress-mlflow").tell(RECORD) == ()
    (run,) = runs(client)
    assert run.info.run_name == "draw 7" and run.info.status == "FINISHED"
    assert run.data.metrics == {"size_mb": 1.5, "quality": 0.9}
    assert {"0.thin_student.layers": "2", "1.quantization.layer_bits": "4", "fidelity": "0.25"}.items() <= (
        run.data.params.items()
    )
    assert run.data.tags["outcome"] == "complete" and run.data.tags["artifact"].endswith("abc")


def test_a_failed_trial_is_a_failed_run_with_its_reason(client: MlflowClient) -> None:
    failed = Record(recipe=(), draw=8, outcome="failed", reason="x" * 100_000)
    assert discover(only="eicompress-mlflow").tell(failed) == ()
    (run,) = runs(client)
    assert run.info.status == "FAILED" and run.data.tags["reason"].startswith("xxx")


def test_a_store_that_cannot_be_written_stops_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "no-such-scheme://here")
    (complaint,) = discover(only="eicompress-mlflow").tell(RECORD)
    assert "`trial_recorded` of `eicompress_mlflow` failed" in complaint
