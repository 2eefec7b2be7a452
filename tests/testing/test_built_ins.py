"""Built-ins keep every promise that is asked of a stranger's plug-in."""

import pytest

from eicompress.metrics import register_metrics
from eicompress.tasks import register_tasks
from eicompress.testing import Claim, built_in_steps, metric_checks, strategy_checks, task_checks

CLAIMS = [
    *(claim for step in built_in_steps() for claim in strategy_checks(type(step))),
    *(claim for task in register_tasks() for claim in task_checks(task)),
    *(claim for metric in register_metrics() for claim in metric_checks(metric)),
]


def _param(claim: Claim) -> object:
    """Claims about pairs are many: they take minutes."""
    return pytest.param(claim, id=str(claim), marks=[pytest.mark.slow] if "composes with" in str(claim) else [])


@pytest.mark.parametrize("claim", [_param(claim) for claim in CLAIMS])
def test_claim(claim: Claim) -> None:
    claim()
