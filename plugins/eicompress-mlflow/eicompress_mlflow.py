"""Every trial as a run in MLflow: the recipe as parameters, the measurements as metrics, the outcome as tags.

`$MLFLOW_TRACKING_URI` and `$MLFLOW_EXPERIMENT_NAME` say where, as for all of MLflow.
"""

import os
import time
from collections.abc import Iterator

from eicompress import Record, hookimpl

EICOMPRESS_INTERFACE = 1
DEFAULT_STORE = "sqlite:///mlflow.db"
DEFAULT_EXPERIMENT = "eicompress"
LONGEST = 5000
"""Characters of a tag that every store of MLflow takes."""


@hookimpl
def trial_recorded(record: Record) -> None:
    # MLflow takes seconds to import: not before there is something to tell it.
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_STORE))
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    run = client.create_run(experiment, run_name=f"draw {record.draw}").info.run_id
    now = int(1000 * time.time())
    client.log_batch(
        run,
        metrics=[Metric(each.name, each.value, now, 0) for each in record.measurements],
        params=[Param(key, value) for key, value in parameters(record)],
        tags=[RunTag(key, value[:LONGEST]) for key, value in tags(record).items()],
    )
    client.set_terminated(run, "FAILED" if record.outcome == "failed" else "FINISHED")


def parameters(record: Record) -> Iterator[tuple[str, str]]:
    """Each knob as `<step>.<strategy>.<knob>`, since a strategy may stand twice in a recipe."""
    for number, step in enumerate(record.recipe):
        for knob, value in step.items():
            key = f"{number}.{step['strategy']}" + ("" if knob == "strategy" else f".{knob}")
            yield key, str(value)
    yield "fidelity", str(record.fidelity)
    yield "seed", str(record.seed)


def tags(record: Record) -> dict[str, str]:
    """What happened, which reuse key it has, and where the artifact lies."""
    found = {"outcome": record.outcome, "key": record.key, "artifact": record.files.get("artifact", "")}
    return {name: value for name, value in {**found, "reason": record.reason}.items() if value}
